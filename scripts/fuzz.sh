#!/bin/sh
# Every fuzz target for FUZZ_SECONDS (60) from its corpus, with libFuzzer and the sanitizers. What it finds new stays in
# build/fuzz-found, the input that crashes is printed with its path.
set -eu
cd "$(dirname "$0")/.."
[ -f build/fuzz/build.ninja ] ||
    CC=clang .venv/bin/meson setup build/fuzz -Dfuzz=true -Dtests=false -Dpython=disabled \
        -Db_sanitize=address,undefined -Db_lundef=false >/dev/null
.venv/bin/ninja -C build/fuzz --quiet
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
for folder in fuzz/corpus/*/; do
    name=$(basename "$folder")
    found="build/fuzz-found/$name"
    mkdir -p "$found"
    echo "== fuzz_$name, ${FUZZ_SECONDS:-60} s"
    log="build/fuzz-found/$name.log"
    if ! "build/fuzz/fuzz/fuzz_$name" -max_total_time="${FUZZ_SECONDS:-60}" -artifact_prefix="$found/" \
        -print_final_stats=1 "$found" "$folder" >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        echo "fuzz_$name failed: see $log and $found" >&2
        exit 1
    fi
    grep 'stat::number_of_executed_units' "$log"
done
