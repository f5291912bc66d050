# shellcheck shell=sh
# The build's environment, sourced by the Makefile's recipes and by setup.sh
# (and by you, if you call go yourself against a ggml of your own):
#
#     GGML_DIR=/opt/ggml; . scripts/env.sh; go build -tags "$TAGS" ./...
#
# It prints nothing unless something is wrong, and sets
#
#   TAGS               build tags: "onednn" where oneDNN compiles and links.
#                      Set it yourself, even to nothing, to overrule that.
#   PKG_CONFIG_PATH,   lead to the ggml in GGML_DIR, if that names one.
#   CGO_LDFLAGS, PATH
#   SUPIR_GGML_MIN,    the oldest versions that supir works with.
#   SUPIR_ONEDNN_MIN

SUPIR_GGML_MIN=0.22  # 0.21 has no ggml_prec_set_acc
SUPIR_ONEDNN_MIN=304 # 3.4, as major*100+minor
export SUPIR_GGML_MIN SUPIR_ONEDNN_MIN

# Go's own installer leaves the PATH to the user; so may a bare machine.
if ! command -v go >/dev/null 2>&1 && [ -x /usr/local/go/bin/go ]; then
	PATH=$PATH:/usr/local/go/bin
	export PATH
fi

# supir_ggml_dir points the build at an installed copy of ggml outside the
# system's folders.
supir_ggml_dir() {
	[ -n "${GGML_DIR:-}" ] || return 0
	dir=$(cd "$GGML_DIR" 2>/dev/null && pwd) || {
		echo "GGML_DIR=$GGML_DIR: no such folder" >&2
		return 1
	}
	pc=
	for lib in lib lib64 lib/*-linux-* share; do
		for found in "$dir"/$lib/pkgconfig/ggml.pc; do
			if [ -f "$found" ]; then pc=${found%/ggml.pc}; break 2; fi
		done
	done
	if [ -z "$pc" ] || [ ! -f "$dir/include/ggml.h" ]; then
		echo "GGML_DIR=$GGML_DIR: no installed ggml there: include/ggml.h and lib/pkgconfig/ggml.pc are wanted," >&2
		echo "as \`cmake --install\` leaves them (not the source folder: see \`make ggml\` for that)" >&2
		return 1
	fi
	if ! grep -q "^prefix=$dir\$" "$pc/ggml.pc"; then
		echo "GGML_DIR=$GGML_DIR: its ggml.pc names another prefix ($(sed -n 's/^prefix=//p' "$pc/ggml.pc")); install it where it is to stay" >&2
		return 1
	fi
	GGML_DIR=$dir
	PKG_CONFIG_PATH=$pc${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
	export GGML_DIR PKG_CONFIG_PATH
	# The program finds its libraries by the path linked into it; Windows
	# has no such path and looks in PATH.
	case $(uname -s) in
	MINGW* | MSYS*)
		PATH=$dir/bin:$PATH
		export PATH
		;;
	*)
		for lib in "$dir"/lib "$dir"/lib64 "$dir"/lib/*-linux-*; do
			if [ -d "$lib" ]; then CGO_LDFLAGS="${CGO_LDFLAGS:-} -Wl,-rpath,$lib"; fi
		done
		export CGO_LDFLAGS
		;;
	esac
}

# supir_onednn says whether programs can be built on oneDNN. Only on x86-64:
# elsewhere ggml's own kernels are the faster ones.
supir_onednn() {
	case $(uname -m) in
	x86_64 | amd64) ;;
	*) return 1 ;;
	esac
	tmp=$(mktemp -d) || return 1
	cat >"$tmp/try.c" <<-END
		#include <oneapi/dnnl/dnnl.h>
		#if DNNL_VERSION_MAJOR * 100 + DNNL_VERSION_MINOR < $SUPIR_ONEDNN_MIN
		#error too old
		#endif
		int main(void) { return dnnl_version() == 0; }
	END
	# shellcheck disable=SC2086 # flags are words
	${CC:-cc} ${CGO_CFLAGS:-} -o "$tmp/try" "$tmp/try.c" ${CGO_LDFLAGS:-} -ldnnl >/dev/null 2>&1
	status=$?
	rm -r "$tmp"
	return $status
}

supir_ggml_dir || return 1
if [ -z "${TAGS+set}" ]; then
	if supir_onednn; then TAGS=onednn; else TAGS=; fi
fi
export TAGS
