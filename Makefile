# halfsync: `make serve` and `make test` do everything from a fresh clone.
#
# Four builds of the same sources, each in a folder of its own:
#   release  installed in .venv                what `make serve` and `make bench` run
#   checks   installed in build/checks/site    owners asserted, native objects counted: what the tests run
#   asan     installed in build/asan/site      the checks build under AddressSanitizer and UndefinedBehaviorSanitizer
#   fuzz     installed in build/fuzz/site      the same by clang, telling libFuzzer what it covers

SHELL   := /bin/bash
VENV    := .venv
BIN     := $(VENV)/bin
PY      := $(BIN)/python
SOURCES := $(shell find src -name '*.py' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.pyi' -o -name '*.h' -o -name 'meson.build' -o -path '*/admin/page/*.*') \
           meson.build meson.options pyproject.toml tools/translate.py
PIP     := PATH="$(CURDIR)/$(BIN):$$PATH" $(PY) -m pip --disable-pip-version-check -q
INSTALL := $(PIP) install --no-build-isolation --no-deps --force-reinstall
CHECKS  := -Csetup-args=-Dchecks=true -Csetup-args=-Dbuildtype=debugoptimized -Csetup-args=-Doptimization=1
PYTEST  := $(PY) -m pytest
T       ?= tests

# The suite, if no part of it is asked for: most of it on two processors at once, and then, one after another, the tests
# that watch the clock, load the machine or have it to themselves. Last, a part of the conformance suite over the difficult
# transport (testing/transports.pyx); HALFSYNC_DIFFICULT_TRANSPORT=seed make test T=tests/conformance runs all of it. Each
# part runs, whatever becomes of those before. $(1): what runs them.
ALONE   := $(patsubst %,tests/faults/test_%.py,bad_clients crowds deploys full_disk gil handoff_processes haproxy killed lanes \
           metrics large_bodies processes reload_chaos reloads request_timeout slowhttptest stress upgrade_chaos upgrades) \
           tests/bench tests/docs tests/lab
DIFFICULT := $(patsubst %,tests/conformance/test_%.py,framing connections sending wsgi_input)
suite    = failed=0; \
           $(1) $(PYTEST) -n 2 --dist worksteal $(ALONE:%=--ignore=%) tests || failed=1; \
           $(1) $(PYTEST) $(ALONE) || failed=1; \
           HALFSYNC_DIFFICULT_TRANSPORT=1 $(1) $(PYTEST) -n 2 $(DIFFICULT) || failed=1; \
           exit $$failed

.PHONY: serve test stress test-asan stress-asan fuzz fuzz-corpus lint bench build docs clean

serve: build/release.stamp
	$(BIN)/halfsync serve --chdir examples/guestbook guestbook:app

test: build/checks.stamp build/release.stamp build/system.stamp
ifeq ($(T),tests)
	$(call suite,PYTHONPATH=build/checks/site)
else
	PYTHONPATH=build/checks/site $(PYTEST) $(T)
endif

# What the suite does in small, in full: a hundred thousand requests, most of them from clients that behave badly; twenty
# thousand child processes; as many connections at one time as each model is meant for; hundreds of bad clients where the
# suite has eight; slowhttptest for a minute each way; bodies of two gigabytes, which lie in the temporary directory; a
# thousand reloads, and as many restarts behind HAProxy, of each model; five hundred reloads with random changes; two
# hundred upgrades, with any signal to either program; fifty reloads of each model while its metrics are read.
STRESS := HALFSYNC_STRESS_REQUESTS=100000 HALFSYNC_SHORT_CONNECTIONS=20000 HALFSYNC_CROWD=1 \
          HALFSYNC_BAD_CLIENTS=500 HALFSYNC_SLOW=1 HALFSYNC_LARGE_BYTES=2000000000 HALFSYNC_RELOADS=1000 \
          HALFSYNC_RELOAD_CHAOS=500 HALFSYNC_UPGRADES=200 \
          HALFSYNC_METRICS_RELOADS=50 HALFSYNC_HOLD=10
STRESS_TESTS := tests/faults/test_stress.py tests/faults/test_processes.py tests/faults/test_crowds.py \
                tests/faults/test_bad_clients.py tests/faults/test_slowhttptest.py tests/faults/test_large_bodies.py \
                tests/faults/test_reloads.py tests/faults/test_reload_chaos.py tests/faults/test_haproxy.py \
                tests/faults/test_upgrade_chaos.py tests/faults/test_metrics.py

stress: build/checks.stamp
	$(STRESS) PYTHONPATH=build/checks/site $(PYTEST) -s $(STRESS_TESTS)

test-asan: build/asan.stamp
ifeq ($(T),tests)
	$(call suite,bash tools/asan.sh)
else
	bash tools/asan.sh $(PYTEST) $(T)
endif

stress-asan: build/asan.stamp
	$(STRESS) bash tools/asan.sh $(PYTEST) -s $(STRESS_TESTS)

# Coverage-guided, for T seconds, from the inputs in tests/fuzz/corpus; what it finds is left in tests/fuzz/found.
# fuzz-corpus then keeps the fewest inputs that reach all that was reached.
fuzz: T = 600
fuzz: build/fuzz.stamp
	bash tools/fuzz.sh $(T)

fuzz-corpus: build/fuzz.stamp
	bash tools/fuzz.sh --keep

lint: build/checks.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/cython-lint src  # it looks for pycodestyle on the path
	$(PY) tools/check_imports.py
	$(PY) tools/check_sockets.py
	$(PY) -m tools.write_settings_page --check
	$(PY) -m tools.write_log_pages --check
	$(PY) -m tools.write_options --check
	$(PY) -m tools.write_migration_page --check
	$(PY) -m tools.draw_models --check
	$(PY) -m tools.draw_states --check
	$(PY) -m tools.write_metrics_page --check
	PYTHONPATH=build/checks/site $(PY) -m tools.write_lab_page --check

bench: build/release.stamp
	$(PY) -m bench

docs: build/release.stamp
	$(PY) -m tools.write_settings_page
	$(PY) -m tools.write_log_pages
	$(PY) -m tools.write_options
	$(PY) -m tools.write_migration_page
	$(PY) -m tools.draw_models
	$(PY) -m tools.draw_states
	$(PY) -m tools.write_metrics_page
	$(PY) -m tools.write_lab_page

build: build/release.stamp

# The machine: Python 3.11 or later with venv and headers. tools/setup.sh makes .venv or says what is missing.
build/venv.stamp: pyproject.toml tools/setup.sh
	bash tools/setup.sh $(VENV)
	@mkdir -p build && touch $@

build/system.stamp: build/venv.stamp tools/setup_system.sh
	bash tools/setup_system.sh
	@touch $@

build/release.stamp: build/venv.stamp $(SOURCES)
	@mkdir -p build/release
	$(INSTALL) -Cbuild-dir=build/release .
	@touch $@

build/checks.stamp: build/venv.stamp $(SOURCES)
	@mkdir -p build/checks/meson
	$(INSTALL) -Cbuild-dir=build/checks/meson $(CHECKS) \
		--upgrade --target build/checks/site .
	@touch $@

build/asan.stamp: build/venv.stamp $(SOURCES)
	@mkdir -p build/asan/meson
	$(INSTALL) -Cbuild-dir=build/asan/meson $(CHECKS) \
		-Csetup-args=-Db_sanitize=address,undefined -Csetup-args=-Db_lundef=false --upgrade --target build/asan/site .
	@touch $@

build/fuzz-tools.stamp: build/venv.stamp tools/setup_fuzz.sh
	bash tools/setup_fuzz.sh $(VENV) build/fuzz/tools
	@touch $@

build/fuzz.stamp: build/fuzz-tools.stamp tools/ubsan_cython.txt $(SOURCES)
	@mkdir -p build/fuzz/meson
	CC=clang $(INSTALL) -Cbuild-dir=build/fuzz/meson $(CHECKS) \
		-Csetup-args=-Dc_args='-fsanitize=address,undefined,fuzzer-no-link -fsanitize-ignorelist=$(CURDIR)/tools/ubsan_cython.txt' \
		-Csetup-args=-Db_lundef=false --upgrade --target build/fuzz/site .
	@touch $@

clean:
	rm -rf build $(VENV)
