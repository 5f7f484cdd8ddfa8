#!/bin/sh
# The development build in build/dev, installed editable into .venv: C tests and Python run from the same build. Fault
# points are compiled in. Quick where nothing has changed. With CI set, warnings are errors.
set -eu
cd "$(dirname "$0")/.."
if [ ! -f build/dev/build.ninja ] || [ ! -f .venv/.editable ] || [ pyproject.toml -nt .venv/.editable ]; then
    echo "building qanat in build/dev, which takes some minutes the first time ..."
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e . \
        -Cbuild-dir=build/dev -Csetup-args=-Dtests=true -Csetup-args=-Dfaults=true -Csetup-args=-Dbuildtype=debugoptimized \
        ${CI:+-Csetup-args=-Dwerror=true}
    touch .venv/.editable
fi
# The SDK of connectors: a distribution of its own.
if [ ! -f .venv/.editable-sdk ] || [ sdk/python/pyproject.toml -nt .venv/.editable-sdk ]; then
    echo "installing the SDK of connectors ..."
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e sdk/python
    touch .venv/.editable-sdk
fi
# The C tests need cmocka: a build that was configured without it is configured again once it is there.
if [ -f .venv/.ready-test ] && [ ! -f .venv/.configured-test ]; then
    .venv/bin/meson setup --reconfigure build/dev >/dev/null
    touch .venv/.configured-test
fi
.venv/bin/ninja -C build/dev --quiet
