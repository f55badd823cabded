# halfsync: `make serve` and `make test` do everything from a fresh clone.
#
# Three builds of the same sources, each in a folder of its own:
#   release  installed in .venv                what `make serve` and `make bench` run
#   checks   installed in build/checks/site    owners asserted, native objects counted: what the tests run
#   asan     installed in build/asan/site      the checks build under AddressSanitizer

SHELL   := /bin/bash
VENV    := .venv
BIN     := $(VENV)/bin
PY      := $(BIN)/python
SOURCES := $(shell find src -name '*.py' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.pyi' -o -name '*.h' -o -name 'meson.build') \
           meson.build meson.options pyproject.toml
PIP     := PATH="$(CURDIR)/$(BIN):$$PATH" $(PY) -m pip --disable-pip-version-check -q
INSTALL := $(PIP) install --no-build-isolation --no-deps --force-reinstall
PYTEST  := $(PY) -m pytest
T       ?= tests

.PHONY: serve test stress test-asan stress-asan lint bench build docs clean

serve: build/release.stamp
	$(BIN)/halfsync serve --chdir examples/guestbook guestbook:app

test: build/checks.stamp build/release.stamp build/system.stamp
	PYTHONPATH=build/checks/site $(PYTEST) $(T)

# A hundred thousand requests, most of them from clients that behave badly.
stress: build/checks.stamp
	HALFSYNC_STRESS_REQUESTS=100000 PYTHONPATH=build/checks/site $(PYTEST) -s tests/faults/test_stress.py

test-asan: build/asan.stamp
	bash tools/asan.sh $(PYTEST) $(T)

stress-asan: build/asan.stamp
	HALFSYNC_STRESS_REQUESTS=100000 bash tools/asan.sh $(PYTEST) -s tests/faults/test_stress.py

lint: build/checks.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/cython-lint src  # it looks for pycodestyle on the path
	$(PY) tools/check_imports.py
	$(PY) tools/write_settings_page.py --check

bench: build/release.stamp
	$(PY) -m bench

docs: build/release.stamp
	$(PY) tools/write_settings_page.py

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
	$(INSTALL) -Cbuild-dir=build/checks/meson -Csetup-args=-Dchecks=true -Csetup-args=-Dbuildtype=debugoptimized \
		--upgrade --target build/checks/site .
	@touch $@

build/asan.stamp: build/venv.stamp $(SOURCES)
	@mkdir -p build/asan/meson
	$(INSTALL) -Cbuild-dir=build/asan/meson -Csetup-args=-Dchecks=true -Csetup-args=-Dbuildtype=debugoptimized \
		-Csetup-args=-Db_sanitize=address -Csetup-args=-Db_lundef=false --upgrade --target build/asan/site .
	@touch $@

clean:
	rm -rf build $(VENV)
