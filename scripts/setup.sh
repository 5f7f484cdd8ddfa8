#!/bin/sh
# Install what is missing for one purpose, and nothing else: Debian packages, and Python packages in .venv.
#
#   scripts/setup.sh build|test|bench|fuzz
#
# Packages are installed as root or through sudo without a prompt; where neither is possible the one command to run is
# printed and nothing has been changed. Running it again costs a fraction of a second.
set -eu
cd "$(dirname "$0")/.."
purpose=${1:?usage: scripts/setup.sh build|test|bench|fuzz}

packages="gcc pkg-config libcurl4-openssl-dev libjansson-dev liblz4-dev libpq-dev libseccomp-dev libsqlite3-dev libssl-dev libzstd-dev"
case $purpose in
build) requirements=requirements/build.txt ;;
test) requirements=requirements/test.txt packages="$packages g++ libcmocka-dev postgresql openssl clang-format clang-tidy" ;;
bench) requirements=requirements/build.txt packages="$packages postgresql openssl" ;;
fuzz) requirements=requirements/build.txt packages="$packages clang libclang-rt-dev" ;;
*) echo "scripts/setup.sh: unknown purpose '$purpose'" >&2 && exit 2 ;;
esac

# ---- an interpreter of 3.11 or later, with its headers and venv ----
find_python() {
    for name in "${PYTHON:-python3}" python3.13 python3.12 python3.11; do
        if command -v "$name" >/dev/null && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$name" && return
        fi
    done
}
python=$(find_python)
if [ -z "$python" ]; then
    packages="$packages python3 python3-dev python3-venv"
else
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    "$python" -c 'import os, sysconfig, sys; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' ||
        packages="$packages python$version-dev"
    "$python" -c 'import ensurepip, venv' 2>/dev/null || packages="$packages python$version-venv"
fi

# ---- Debian packages ----
installed() {
    case $1 in
    libclang-rt-dev) ls /usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-x86_64.a >/dev/null 2>&1 ||
        ls /usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-aarch64.a >/dev/null 2>&1 ;;
    *) [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ] ;;
    esac
}
if command -v dpkg-query >/dev/null; then
    missing=
    for package in $packages; do
        installed "$package" || missing="$missing $package"
    done
    # The fuzzer's run-time library is a package named after clang's version.
    case $missing in
    *libclang-rt-dev*)
        clang_version=$(apt-cache depends clang 2>/dev/null | sed -n 's/.*Depends: clang-\([0-9]*\).*/\1/p')
        missing=$(echo "$missing" | sed "s/libclang-rt-dev/libclang-rt-${clang_version:-14}-dev/")
        ;;
    esac
    if [ -n "$missing" ]; then
        if [ "$(id -u)" = 0 ]; then
            as_root=
        elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
            as_root="sudo -n"
        else
            echo "These packages are missing. Please run this once, then try again:" >&2
            echo "    sudo apt-get update && sudo apt-get install -y --no-install-recommends$missing" >&2
            exit 1
        fi
        echo "installing Debian packages, which takes a minute or two:$missing"
        $as_root apt-get update -q >/dev/null
        # shellcheck disable=SC2086 # a list of words
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing >/dev/null
    fi
    python=${python:-python3}
else
    echo "not a Debian system: these have to be there already: $packages" >&2
fi

# ---- Python packages, in .venv ----
stamp=.venv/.ready-$purpose
wanted=$(cat requirements/*.txt scripts/fetch_source.py | cksum)
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    echo "installing the Python packages of $requirements in .venv ..."
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -r "$requirements"
    .venv/bin/python scripts/fetch_source.py nanoarrow >/dev/null
    if [ "$purpose" = test ]; then
        rm -rf .venv/duckdb-delta
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --target .venv/duckdb-delta \
            -r requirements/duckdb_delta.txt ||
            echo "DuckDB's reader of Delta is not to be had here: its tests will be skipped" >&2
    fi
    echo "$wanted" >"$stamp"
fi
