#!/bin/sh
# What takes longer than `make test` should: the C and Python suites under the address and undefined-behaviour sanitizers,
# the C suite under the thread sanitizer, and the kill loops at full length.
set -eu
cd "$(dirname "$0")/.."
BIN=$PWD/.venv/bin
python=$BIN/python
export PATH="$BIN:$PATH"

echo "== C suite, address and undefined-behaviour sanitizers"
[ -f build/asan/build.ninja ] ||
    meson setup build/asan -Db_sanitize=address,undefined -Db_lundef=false -Dfaults=true -Dpython=disabled >/dev/null
ninja -C build/asan --quiet
$python scripts/postgres_server.py -- meson test -C build/asan --no-rebuild --print-errorlogs --timeout-multiplier 5

echo "== C suite, thread sanitizer"
[ -f build/tsan/build.ninja ] ||
    meson setup build/tsan -Db_sanitize=thread -Db_lundef=false -Dfaults=true -Dpython=disabled >/dev/null
ninja -C build/tsan --quiet
$python scripts/postgres_server.py -- meson test -C build/tsan --no-rebuild --print-errorlogs --timeout-multiplier 5 \
    --suite unit

echo "== Python suite, address and undefined-behaviour sanitizers"
scripts/python_asan.sh

echo "== bundles: writers for a minute each"
QANAT_TORTURE=1 build/asan/tests/unit/bundle_test_bundle_crash

echo "== kill loops at full length"
QANAT_TORTURE=1 $python -m pytest -q tests/python/test_task.py tests/python/test_task_process.py \
    tests/python/test_task_locations.py -k kills
QANAT_TORTURE=1 $python -m pytest -q tests/python/processor/test_many_runs.py

echo "== connectors: gigabytes through a process of a fixed size"
QANAT_TORTURE=1 $python -m pytest -q sdk/python/tests/test_memory.py tests/python/connector/test_pages.py \
    tests/python/connector/test_languages.py

echo "== connectors: 6 GiB, the longest frame of version 1, 10 million locations"
python3=$(command -v python3)
for name in test_memory test_ipc; do
    QANAT_TORTURE=1 build/dev/tests/unit/connector_$name "$python3" tests/unit/connector/hostile_connector.py
done

echo "== connectors: every fault that the conformance kit finds"
QANAT_TORTURE=1 $python -m pytest -q tests/python/connector/test_kit.py

echo "== bundles: 6 GiB fetched, as Arrow and as Parquet"
QANAT_TORTURE=1 $python -m pytest -q tests/python/bundle/test_fetch_memory.py

echo "== bundles: a fetch at every allocation"
QANAT_TORTURE=1 build/dev/tests/unit/bundle_test_fetch_faults

echo "== bundles: every pair of types; every bad kind of connector"
QANAT_TORTURE=1 $python -m pytest -q tests/python/bundle/test_types.py tests/python/bundle/test_hostile.py
