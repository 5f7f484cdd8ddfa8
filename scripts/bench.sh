#!/bin/sh
# Build qanat as a release, with the peers, into an environment of its own; build the floors; run bench/run.py (databases)
# with the arguments given, or bench/processor.py where the first is "processor"; without arguments both.
set -eu
cd "$(dirname "$0")/.."
venv=build/bench-venv
export PATH="$PWD/$venv/bin:$PATH"
[ -x $venv/bin/python ] || .venv/bin/python -m venv $venv
$venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/bench.txt
$venv/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --force-reinstall . \
    -Csetup-args=-Dbuildtype=release -Csetup-args=-Dtests=false
mkdir -p build/bench-floors
for floor in floor_postgres floor_sqlite; do
    # shellcheck disable=SC2046 # a list of flags
    gcc -O2 -D_GNU_SOURCE "bench/c/$floor.c" -o "build/bench-floors/$floor" $(pkg-config --cflags --libs libpq sqlite3)
done
if [ "${1:-}" = processor ]; then
    shift
    exec $venv/bin/python bench/processor.py "$@"
fi
$venv/bin/python bench/run.py "$@"
[ $# -gt 0 ] || exec $venv/bin/python bench/processor.py
