#!/bin/sh
# Restores one photograph with the embedded model and leaves, in demo/, the
# result and a picture of before and after side by side. `make demo` builds
# bin/supir first and then runs this.
#
# DEMO_PHOTO names another photograph, DEMO_FLAGS other flags of supir restore
# than --upscale 4 --preset fidelity.
set -eu
cd "$(dirname "$0")/.."

supir=bin/supir$(go env GOEXE)
photo=${DEMO_PHOTO:-}
if [ -z "$photo" ]; then
	for photo in examples/photos/*.jpg examples/photos/*.png; do
		[ ! -f "$photo" ] || break
	done
fi
[ -f "$photo" ] || { echo "demo: no photograph $photo" >&2; exit 1; }

mkdir -p demo
rm -f demo/after.png demo/before-after.png

echo "demo: restoring $photo with the embedded model"
started=$(date +%s)
# shellcheck disable=SC2086 # flags are words
"$supir" restore "$photo" -o demo/after.png ${DEMO_FLAGS:---upscale 4 --preset fidelity}
go run ./examples/beforeafter "$photo" demo/after.png demo/before-after.png
took=$(($(date +%s) - started))

cat <<END

Done in $took s. Look at

    demo/before-after.png   the photograph as it was, and restored
    demo/after.png          the restored one alone

The embedded model is small, there to show that everything works; the full one
restores far more. Next:

    $supir restore YOUR.jpg -o restored.png
        a photograph of your own
    $supir help
        all commands, and how to get the full model
    $supir doctor
        what this machine computes with
    make test
        that all is well here
    go doc supir
        the same from your own Go program
END
