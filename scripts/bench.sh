#!/bin/sh
# Build qanat as a release, with the peers, into an environment of its own; build the floors; run bench/run.py (databases)
# with the arguments given, or bench/processor.py or bench/connectors.py where the first is "processor" or "connectors", or
# bench/c/bench_bundle.c where it is "bundle_log"; without arguments all but the last.
set -eu
cd "$(dirname "$0")/.."
venv=build/bench-venv
export PATH="$PWD/$venv/bin:$PATH"
[ -x $venv/bin/python ] || .venv/bin/python -m venv $venv
$venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/bench.txt
$venv/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps sdk/python
$venv/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --force-reinstall . \
    -Csetup-args=-Dbuildtype=release -Csetup-args=-Dtests=false
mkdir -p build/bench-floors
for floor in floor_postgres floor_sqlite; do
    # shellcheck disable=SC2046 # a list of flags
    gcc -O2 -D_GNU_SOURCE "bench/c/$floor.c" -o "build/bench-floors/$floor" $(pkg-config --cflags --libs libpq sqlite3)
done
case ${1:-} in
bundle_log) # opening a log of 100,000 commits, and one commit more
    [ -f build/bench-c/build.ninja ] ||
        .venv/bin/meson setup build/bench-c -Dbuildtype=release -Dpython=disabled -Dtests=false >/dev/null
    .venv/bin/ninja -C build/bench-c --quiet bench/c/bench_bundle
    folder=$(mktemp -d -p /dev/shm) # in memory: an fsync is free there, so that the figures are what a commit costs besides
    trap 'rm -rf "$folder"' EXIT
    build/bench-c/bench/c/bench_bundle "$folder/bundle" "${2:-100000}"
    exit
    ;;
processor | connectors)
    script=bench/$1.py
    shift
    exec $venv/bin/python "$script" "$@"
    ;;
esac
$venv/bin/python bench/run.py "$@"
[ $# -gt 0 ] || { $venv/bin/python bench/processor.py && exec $venv/bin/python bench/connectors.py; }
