#!/bin/sh
# Installs what building and testing supir needs and this machine lacks, by the
# machine's own package manager: a C++ compiler, pkg-config, git, make, ggml,
# and where they are to be had oneDNN (faster on x86-64) and ggml's Vulkan, BLAS
# and RPC backends. It says what it will do before doing it; with nothing to do
# it says so and touches nothing. Run it again after an interruption.
#
# GGML_DIR=/some/prefix names an installed ggml to use instead of a package.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=scripts/env.sh
. scripts/env.sh

say() { echo "setup: $*"; }
fail() {
	echo "setup: $1" >&2
	shift
	for line; do echo "       $line" >&2; done
	exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# --- what is here -----------------------------------------------------------

# Go is the one thing that is not installed: the user has chosen one.
check_go() {
	want=$(sed -n 's/^go //p' go.mod)
	have go || fail "Go is missing; supir wants $want or newer" \
		"see https://go.dev/doc/install, or your system's packages"
	# Asked outside the module, go tells of itself and fetches nothing.
	goversion=$(cd / && go env GOVERSION)
	toolchain=$(cd / && go env GOTOOLCHAIN)
	older "${goversion#go}" "$want" || return 0
	case $toolchain in
	auto* | *+auto) ;; # fetches the Go that go.mod asks for, by itself
	*) fail "$goversion is too old; supir wants $want or newer" \
		"install it (https://go.dev/doc/install), or with Go 1.21 or newer" \
		"set GOTOOLCHAIN=auto and go will fetch it" ;;
	esac
}

# older A B: is version A before version B? (1.26rc1 counts as 1.26.)
older() {
	awk -v a="$1" -v b="$2" 'BEGIN {
		split(a, x, "."); split(b, y, ".")
		for (i = 1; i <= 3; i++) if (x[i] + 0 != y[i] + 0) exit !(x[i] + 0 < y[i] + 0)
		exit 1
	}'
}

has_compiler() { have "${CXX:-c++}" || have g++ || have clang++; }
has_ggml() { have pkg-config && pkg-config --atleast-version="$SUPIR_GGML_MIN" ggml 2>/dev/null; }
has_onednn() { [ "$TAGS" = onednn ] || supir_onednn; }
is_x86() { case $(uname -m) in x86_64 | amd64) true ;; *) false ;; esac; }

# missing prints, in words, what must be here and is not.
missing() {
	{
		has_compiler || echo "a C++ compiler"
		have pkg-config || echo "pkg-config"
		have git || echo "git"
		have make || echo "make"
		has_ggml || echo "ggml $SUPIR_GGML_MIN or newer"
	} | paste -s -d , - | sed 's/,/, /g'
}

# ready prints what is here.
ready() {
	onednn="no oneDNN"
	if has_onednn; then onednn="oneDNN"; fi
	echo "$goversion, ggml $(pkg-config --modversion ggml)${GGML_DIR:+ from $GGML_DIR}, $onednn"
}

# no_package tells what to do where no package of ggml is known.
no_package() {
	fail "$1" \
		"Either name an installed copy (any \`cmake --install\` of ggml, or Homebrew's):" \
		"    make $goal GGML_DIR=/path/to/ggml" \
		"or build one from its source (https://github.com/ggml-org/ggml; wants cmake):" \
		"    make ggml GGML_SOURCE=/path/to/source" \
		"    make $goal GGML_DIR=build/ggml"
}
goal=${1:-test}

# --- Debian and Ubuntu ------------------------------------------------------

apt_get() {
	as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 \
		apt-get -q -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@" </dev/null
}

# apt_fits: could these be installed without costing the machine a package? One
# whose successor for Debian 13's 64-bit time (libpng16-16t64 for libpng16-16)
# comes in its place is not lost.
apt_fits() {
	plan=$(apt-get -s install --no-install-recommends "$@" 2>&1) || {
		echo "$plan" >&2
		return 1
	}
	for name in $(echo "$plan" | sed -n 's/^Remv \([^ ]*\).*/\1/p'); do
		echo "$plan" | grep -q "^Inst ${name%%:*}t64[ :]" || {
			say "$extra: apt-get would remove $name: not done" >&2
			return 1
		}
	done
}
extra=ggml # what is being installed, for messages

# apt_install installs what fits.
apt_install() {
	apt_fits "$@" && apt_get install -y --no-install-recommends \
		-o Dpkg::Options::=--force-confold -o Dpkg::Options::=--force-confdef "$@"
}
apt_update() {
	apt_get update || say "apt-get update met the errors above; going on with what it has"
}
apt_has() { dpkg-query -W -f '${Status}\n' "$1" 2>/dev/null | grep -q ' installed$'; }

# apt_tools prints the packages of the missing tools.
apt_tools() {
	has_compiler || echo "gcc g++ libc6-dev"
	have pkg-config || echo pkg-config
	have git || echo git
	have make || echo make
	[ -e /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
}

# may_install: can packages be installed without asking anyone anything?
may_install() { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }

# apt_extras prints those packages beyond ggml itself that are not installed:
# its backends (the processor's may be a package of its own or part of the
# library), Mesa's drivers, which also test the GPU path where no GPU is, and
# oneDNN.
apt_extras() {
	if [ -z "${GGML_DIR:-}" ]; then
		ls /usr/lib/*/ggml/*/libggml-cpu* >/dev/null 2>&1 || echo libggml0-backend-cpu
		for backend in blas vulkan rpc; do echo "libggml0-backend-$backend"; done
		echo mesa-vulkan-drivers
		ls /usr/lib/*/openblas-*/libblas.so.3 >/dev/null 2>&1 || echo libopenblas0-openmp # the reference BLAS is slow
	fi | while read -r name; do apt_has "$name" || echo "$name"; done
	if is_x86 && ! has_onednn; then echo libdnnl-dev; fi
}

# apt_entries lists the suites this machine's sources name, but for our own file.
apt_entries() {
	for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
		[ "$file" = "$trixie_sources" ] || [ ! -s "$file" ] || echo "$file"
	done | tr '\n' '\0' | xargs -0 awk -f scripts/apt-entries.awk /dev/null
}

# names SUITE: is it among them?
names() { printf '%s\n' "$entries" | cut -f 1 | grep -qx "$1"; }

# apt_stanza FROM ADD prints a deb822 stanza for the suites ADD at the
# address that the suite FROM has; nothing if there is none. Of several
# addresses the distribution's own is the one with FROM-updates beside it.
apt_stanza() {
	printf '%s\n' "$entries" | awk -F '\t' -v from="$1" -v add="$2" '
		$1 == from && !first { first = $2; options[$2] = $3 }
		$1 == from { seen[$2] = 1; options[$2] = $3 }
		$1 == from "-updates" { updates[$2] = 1 }
		END {
			for (u in updates) if (u in seen) first = u
			if (!first) exit
			gsub(/\001/, "\n", options[first])
			printf "Types: deb\nURIs: %s\nSuites: %s\nComponents: main\n%s\n", first, add, options[first]
		}'
}

trixie_sources=/etc/apt/sources.list.d/supir-trixie.sources
trixie_pin=/etc/apt/preferences.d/supir-trixie

# debian_suites adds to the machine's sources what Debian 12 and 13 lack to
# have ggml. On Debian 12 that is Debian 13 itself, pinned low: a package comes
# from there only if asked for, or if it came from there before (which is how it
# gets its updates); the next `apt upgrade` leaves the machine at Debian 12.
debian_suites() {
	add=
	for suite in $suites; do
		names "$suite" || add="$add $suite"
	done
	add=${add# }
	[ -n "$add" ] || return 0
	stanza=
	for from in "$codename" oldoldstable oldstable stable; do
		[ -n "$stanza" ] || stanza=$(apt_stanza "$from" "$add")
	done
	[ -n "$stanza" ] || fail "no Debian address found in this machine's apt sources to take $add from"
	security=
	if [ "$codename" = bookworm ] && ! names trixie-security; then
		security=$(apt_stanza bookworm-security trixie-security)
	fi
	# The pin first: should this be cut short, no machine is left with
	# Debian 13 at full weight.
	case " $add " in *" trixie "*)
		for suite in trixie trixie-security trixie-backports; do
			printf 'Package: *\nPin: release n=%s\nPin-Priority: 100\n\n' "$suite"
		done | put "$trixie_pin" "Debian 13 is here for ggml only. Remove when upgrading to it (supir's scripts/setup.sh)."
		;;
	esac
	note="For ggml; written by supir's scripts/setup.sh."
	printf '%s\n' "$stanza" ${security:+"" "$security"} | put "$trixie_sources" "$note"
	updated=yes
	if [ -n "$security" ]; then
		if apt_get update; then return 0; fi
		say "trying without trixie-security, which may not be at the address of bookworm-security"
		printf '%s\n' "$stanza" | put "$trixie_sources" "$note"
	fi
	apt_update
}

# put FILE COMMENT writes its input to a file of root's, in one step.
put() {
	{ printf '# %s\n' "$2"; cat; } >"$scratch/put"
	as_root install -m 644 "$scratch/put" "$1.new"
	as_root mv "$1.new" "$1"
}

setup_apt() {
	PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin # dpkg wants them; su leaves them out
	# shellcheck source=/dev/null
	. /etc/os-release
	codename=${DEBIAN_CODENAME:-${VERSION_CODENAME:-}}
	# Debian 13's C library brings Debian 13's name for the machine; what it
	# is, its sources tell.
	entries=$(apt_entries)
	if grep -qs '^Suites: trixie ' "$trixie_sources" || { ! names "$codename" && names bookworm; }; then
		codename=bookworm
	fi
	tools=$(apt_tools)
	ggml=
	if [ -z "${GGML_DIR:-}" ] && ! has_ggml; then ggml=libggml-dev; fi

	suites=
	case $codename in
	bookworm) suites="trixie trixie-backports" ;;
	trixie) suites=trixie-backports ;;
	esac
	[ -n "$ggml" ] || suites=

	# Our pin would keep apt from taking the C library that ggml needs: this
	# once, apt reads the machine's preferences without it.
	scratch=$(mktemp -d)
	trap 'rm -rf "$scratch"' EXIT
	mkdir "$scratch/preferences"
	for file in /etc/apt/preferences.d/*; do
		if [ -f "$file" ] && [ "$file" != "$trixie_pin" ]; then cp "$file" "$scratch/preferences/"; fi
	done
	chmod -R a+rX "$scratch"
	newer="-o Dir::Etc::PreferencesParts=$scratch/preferences"
	if [ -n "$suites" ] || [ -s "$trixie_sources" ] || names trixie-backports; then newer="-t trixie-backports $newer"; fi

	# Extras alone are installed only if that takes no network to find out
	# and no password, so that every later run is quick and silent.
	extras=$(apt_extras)
	if [ -z "$tools$ggml" ]; then
		# shellcheck disable=SC2086
		extras=$(for extra in $(apt_worthy "$extras"); do apt_fits $newer "$extra" 2>/dev/null && echo "$extra"; done) || :
		[ -n "$extras" ] || return 0
		if ! may_install; then
			# shellcheck disable=SC2086 # package names are words
			say "not needed, but of use: sudo apt-get install" $extras
			return 0
		fi
	fi

	# shellcheck disable=SC2086 # package names are words
	say "will install with apt-get:" $tools $ggml $extras "(the last few where they exist)"
	if [ -n "$suites" ]; then
		say "from $suites, added to this machine's apt sources in $trixie_sources"
	fi
	if [ -n "$suites" ] && [ "$codename" = bookworm ]; then
		say "Debian 12 has no ggml; Debian 13's brings Debian 13's C library along (and with it base-files: the machine will call itself Debian 13); the rest stays Debian 12 ($trixie_pin)"
	fi
	[ "$(id -u)" = 0 ] || have sudo || fail "neither root nor sudo: run scripts/setup.sh as root"

	as_root env DEBIAN_FRONTEND=noninteractive dpkg --configure -a </dev/null || : # an earlier run cut short
	updated=
	if [ -n "$suites" ]; then debian_suites; fi
	[ -n "$updated" ] || apt_update

	# The tools come from the machine's own release; only if it can no longer
	# give them, having a newer C library, with the rest below.
	# shellcheck disable=SC2086
	if [ -n "$tools" ] && apt_install $tools; then tools=; fi
	if [ -n "$ggml" ] && [ -z "$(apt_worthy libggml-dev)" ]; then
		no_package "${PRETTY_NAME:-this release} has no package libggml-dev of version $SUPIR_GGML_MIN or newer"
	fi
	extras=$(apt_worthy "$extras")

	[ -n "$tools$ggml$extras" ] || return 0
	# shellcheck disable=SC2086
	if apt_install $newer $tools $ggml $extras; then return 0; fi
	# shellcheck disable=SC2086
	if [ -n "$tools$ggml" ] && ! apt_install $newer $tools $ggml; then
		fail "apt-get could not install these packages, see above"
	fi
	# One by one, so that an extra which does not go with what the machine has
	# (newer Mesa with older debuggers, say) takes no other along.
	for extra in $extras; do
		# shellcheck disable=SC2086
		apt_install $newer $extra || say "going on without $extra"
	done
}

# apt_worthy NAMES prints those that the sources offer in a version of use.
apt_worthy() {
	[ -n "$1" ] || return 0
	# shellcheck disable=SC2086 # package names are words
	apt-cache madison $1 | tr -d ' ' | while IFS='|' read -r name version _; do
		case $name in
		libggml-dev) oldest=$SUPIR_GGML_MIN ;;
		libdnnl-dev) oldest=$((SUPIR_ONEDNN_MIN / 100)).$((SUPIR_ONEDNN_MIN % 100)) ;;
		*) oldest=0 ;;
		esac
		if dpkg --compare-versions "$version" ge "$oldest"; then echo "$name"; fi
	done | sort -u
}

# --- macOS and MSYS2 --------------------------------------------------------

setup_brew() {
	has_compiler || fail "no C++ compiler: run xcode-select --install, then make again"
	set --
	have pkg-config || set -- "$@" pkgconf
	if [ -z "${GGML_DIR:-}" ] && ! has_ggml; then set -- "$@" ggml; fi
	if is_x86 && ! has_onednn && ! brew list onednn >/dev/null 2>&1; then set -- "$@" onednn; fi
	[ $# -gt 0 ] || return 0
	say "will install with Homebrew: $*"
	brew install "$@"
}

setup_pacman() { # MSYS2, in the shell of one of its environments (UCRT64)
	[ -n "${MINGW_PACKAGE_PREFIX:-}" ] ||
		fail "this is MSYS2's own shell; open its UCRT64 (or CLANG64) shell and make again"
	tools=
	has_compiler || tools="$tools $MINGW_PACKAGE_PREFIX-cc"
	have pkg-config || tools="$tools $MINGW_PACKAGE_PREFIX-pkgconf"
	have git || tools="$tools git"
	have make || tools="$tools make"
	if [ -z "${GGML_DIR:-}" ] && ! has_ggml; then tools="$tools $MINGW_PACKAGE_PREFIX-ggml"; fi
	if is_x86 && ! has_onednn && pacman -Si "$MINGW_PACKAGE_PREFIX-onednn" >/dev/null 2>&1 &&
		! pacman -Q "$MINGW_PACKAGE_PREFIX-onednn" >/dev/null 2>&1; then
		tools="$tools $MINGW_PACKAGE_PREFIX-onednn"
	fi
	[ -n "$tools" ] || return 0
	say "will install with pacman:$tools"
	# shellcheck disable=SC2086
	pacman -S --needed --noconfirm $tools </dev/null
}

# ----------------------------------------------------------------------------

check_go
if [ -n "${GGML_DIR:-}" ] && have pkg-config && ! has_ggml; then
	fail "the ggml in $GGML_DIR is $(pkg-config --modversion ggml); supir wants $SUPIR_GGML_MIN or newer"
fi
before=$(missing)
case $(uname -s) in
Darwin)
	if have brew; then
		setup_brew
	elif [ -n "$before" ]; then
		fail "missing: $before" "they come with Homebrew (https://brew.sh): install that, then make again"
	fi
	;;
MINGW* | MSYS*) setup_pacman ;;
*)
	if have apt-get; then
		setup_apt
	elif ! has_ggml; then
		no_package "missing: $before; no package manager known here to install them with"
	elif [ -n "$before" ]; then
		fail "missing: $before; no package manager known here to install them with"
	fi
	;;
esac

# Look again: a package manager may succeed and yet leave something out.
hash -r 2>/dev/null || true
after=$(missing)
[ -z "$after" ] || fail "still missing after installing: $after"
say "ready: $(ready)"
