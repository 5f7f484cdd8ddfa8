#!/bin/sh
# Formatting and static checks. Prints what is wrong and exits non-zero; changes nothing.
set -eu
cd "$(dirname "$0")/.."
BIN=.venv/bin
git ls-files '*.c' '*.h' | xargs clang-format --dry-run -Werror
$BIN/ruff check --quiet .
$BIN/ruff format --quiet --check .
$BIN/mypy
$BIN/python scripts/check_layers.py
$BIN/python scripts/check_headers.py
$BIN/python tests/trace.py --quiet
