#!/bin/sh
# Formatting and static checks. Prints what is wrong and exits non-zero; changes nothing. With --deep also clang-tidy over
# the whole C source, which takes about a minute.
set -eu
cd "$(dirname "$0")/.."
BIN=.venv/bin

# Files of ours below the folders named, whether or not this tree is a repository.
sources() {
    find "$@" -name '*.[ch]' ! -path '*/.*'
}

sources include src python examples tests fuzz bench | xargs clang-format --dry-run -Werror
$BIN/ruff check --quiet .
$BIN/ruff format --quiet --check .
$BIN/mypy
$BIN/python scripts/check_layers.py
$BIN/python scripts/check_headers.py
$BIN/python tests/trace.py --quiet
if [ "${1:-}" = --deep ]; then
    sources src python/ext | grep '\.c$' | xargs -P "$(nproc)" -n 6 clang-tidy -p build/dev --quiet 2>/dev/null
fi
