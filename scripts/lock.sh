#!/bin/sh
# Make the lock files again from pyproject.toml: `make lock`. They carry hashes and no index address.
set -eu
cd "$(dirname "$0")/.."
compile() {
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
        --custom-compile-command "make lock" "$@"
}
echo "uv>=0.9" | compile - -o scripts/uv.lock
compile pyproject.toml --group build -o requirements.lock
compile pyproject.toml --group build --group dev -c requirements.lock -o requirements-dev.lock
