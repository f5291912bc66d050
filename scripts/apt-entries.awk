# Lists what apt's source files name: one line per package suite,
#
#     suite TAB address TAB options
#
# where options are the lines "Signed-By: ..." and "Trusted: ..." of the entry,
# their line ends written as \001 (a key may stand in the file itself).
# Reads both formats: one-line (sources.list, *.list) and deb822 (*.sources).

function emit(types, uris, suites, options,    u, s, n, i) {
	if ((" " types " ") !~ /[ \t]deb[ \t]/) return
	split(uris, u)
	n = split(suites, s)
	for (i = 1; i <= n; i++) print s[i] "\t" u[1] "\t" options
}

function endstanza() {
	if (tolower(f["enabled"]) !~ /^no|^false|^0/)
		emit(f["types"], f["uris"], f["suites"], \
			option("Signed-By", f["signed-by"]) option("Trusted", f["trusted"]))
	split("", f)
	field = ""
}

function option(name, value) {
	return value == "" ? "" : name ": " value "\001"
}

FNR == 1 { endstanza(); deb822 = FILENAME ~ /\.sources$/ }
{ sub(/\r$/, "") }

deb822 && /^#/ { next }
deb822 && /^[ \t]*$/ { endstanza(); next }
deb822 && /^[ \t]/ { # the field goes on
	f[field] = f[field] (field == "signed-by" ? "\001" : "") $0
	next
}
deb822 {
	field = tolower(substr($0, 1, index($0, ":") - 1))
	value = substr($0, index($0, ":") + 1)
	gsub(/^[ \t]+|[ \t]+$/, "", value)
	f[field] = value
	next
}

# deb [signed-by=/a/key.gpg arch=amd64] http://address/debian bookworm main
$1 == "deb" {
	sub(/#.*/, "")
	signed = trusted = ""
	if (match($0, /\[[^]]*\]/)) {
		n = split(substr($0, RSTART + 1, RLENGTH - 2), o)
		for (i = 1; i <= n; i++) {
			if (o[i] ~ /^signed-by=/) signed = substr(o[i], 11)
			if (o[i] ~ /^trusted=/) trusted = substr(o[i], 9)
		}
		gsub(/,/, " ", signed)
		$0 = substr($0, 1, RSTART - 1) " " substr($0, RSTART + RLENGTH)
	}
	emit("deb", $2, $3, option("Signed-By", signed) option("Trusted", trusted))
}

END { endstanza() }
