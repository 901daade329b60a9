#!/bin/sh
# Set up what `make demo` (runtime) or `make test` (dev) needs: a virtual environment, the locked
# dependencies, a Chromium. Quick when nothing changed; one clear sentence when something is missing.
set -eu
cd "$(dirname "$0")/.."
kind=${1:-runtime}
venv=${VENV:-.venv}

say() { printf 'raypool: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

case $kind in
    runtime) lock=requirements.lock ;;
    dev) lock=requirements-dev.lock ;;
    *) die "unknown set-up '$kind': use runtime or dev" ;;
esac

fits() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        fits "$PYTHON" || die "PYTHON=$PYTHON is not a Python 3.11 to 3.14; set PYTHON to one that is"
        echo "$PYTHON"
        return
    fi
    for name in python3 python3.13 python3.12 python3.14 python3.11 python; do
        if fits "$name"; then
            echo "$name"
            return
        fi
    done
    die "no Python 3.11 to 3.14 was found; install one (Debian: apt-get install python3 python3-venv) or set PYTHON=/path/to/python3"
}

python=$(find_python)
inputs="$("$python" --version) $(cat "$lock" scripts/uv.lock scripts/setup.sh pyproject.toml | cksum)"
stamp="$venv/.set-up-$kind"
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$inputs" ]; then
    exit 0
fi

if [ ! -x "$venv/bin/python" ]; then
    say "making a virtual environment in $venv with $("$python" --version) …"
    "$python" -m venv "$venv" || {
        rm -rf "$venv"
        die "the virtual environment could not be made; on Debian: apt-get install python3-venv"
    }
fi
if [ ! -x "$venv/bin/uv" ]; then
    say "installing the installer (uv) …"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes \
        -r scripts/uv.lock || die "the package index could not be reached; check the network and the proxy settings of pip, then run this again"
fi
say "installing the locked dependencies ($kind) …"
"$venv/bin/uv" pip install --python "$venv/bin/python" --require-hashes -r "$lock" ||
    die "the dependencies of $lock could not be installed; check the network and the free disk space, then run this again"
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation -e . ||
    die "raypool itself could not be installed into $venv"
say "looking for a Chromium …"
"$venv/bin/raypool" install-browser || exit 1
printf '%s' "$inputs" >"$stamp"
say "set up."
