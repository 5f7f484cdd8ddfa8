#!/bin/sh
# The runtime `standard` in build/runtimes, which the tests of statements use: made once, from the package registry. Where
# this machine has no CPython 3.11 that is said, and those tests are skipped.
set -eu
cd "$(dirname "$0")/.."
export QANAT_RUNTIMES="$PWD/build/runtimes"
[ -f build/runtimes/standard/runtime.json ] || .venv/bin/python -m qanat runtime create standard ||
    echo "without the runtime standard: its tests will be skipped or say the same" >&2
