# `make demo` and `make test` do all their own set-up: they need Python 3.11 or newer, make and the package registry.

PYTHON ?= $(shell for candidate in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$candidate -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$candidate && break; done)

VENV := .venv
INSTALLED := $(VENV)/.installed
BENCH_VENV := .venv-bench
BENCH_INSTALLED := $(BENCH_VENV)/.installed
CHARTS_VENV := .venv-charts
CHARTS_INSTALLED := $(CHARTS_VENV)/.installed
DOCS_VENV := .venv-docs
DOCS_INSTALLED := $(DOCS_VENV)/.installed
LOCK := $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make lock"

.PHONY: help install demo test coverage fuzz chaos soak bench flame check chart matrix docs lock clean

help:
	@echo "make demo     watch feedback go the whole way, fail in every way, and be replayed"
	@echo "make test     run every test"
	@echo "make coverage the same, with branch coverage, also of the processes that tests start; takes twice as long"
	@echo "make fuzz     send a worker thousands of odd messages, on each pool; MESSAGES=… and SEED=… say how many, and which"
	@echo "make chaos    hurt the system in every way, and count what is lost; 40 minutes"
	@echo "make soak     full load and a random fault every 20 s; for 20 minutes, or MINUTES=…"
	@echo "make bench    measure this beside its peers and beside the limits; ARGS=… says what of it, and how often"
	@echo "make flame    draw where the CPU of a worker goes; with perf, and Python 3.13 or newer"
	@echo "make check    lint, formatting, types, import contract"
	@echo "make chart    render the Helm chart in every way, check it against Kubernetes' and KEDA's schemas, and run it"
	@echo "make matrix   what touches redis-py, gevent and SQLAlchemy, with their oldest and newest allowed releases"
	@echo "make docs     the documentation as a site, in build/site; a broken link fails it"
	@echo "make install  only make $(VENV)"
	@echo "make lock     renew the locks in requirements/ from pyproject.toml"

# A virtual environment from nothing: $(1) is where, $(2) is its lock.
define install
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer with venv was found." \
		"Install one (on Debian: apt-get install python3 python3-venv), or name it: make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv --clear $(1)
	$(1)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(2)
	$(1)/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@
endef

install: $(INSTALLED)

$(INSTALLED): pyproject.toml requirements/dev.txt
	$(call install,$(VENV),requirements/dev.txt)

$(BENCH_INSTALLED): pyproject.toml requirements/bench.txt
	$(call install,$(BENCH_VENV),requirements/bench.txt)

$(DOCS_INSTALLED): pyproject.toml requirements/docs.txt
	$(call install,$(DOCS_VENV),requirements/docs.txt)

# Large files: links to uv's cache cost nothing. They render and check; no test is among them.
$(CHARTS_INSTALLED): requirements/charts.txt $(INSTALLED)
	$(VENV)/bin/uv venv --quiet --clear --python $(VENV)/bin/python $(CHARTS_VENV)
	$(VENV)/bin/uv pip install --quiet --python $(CHARTS_VENV)/bin/python --no-deps --require-hashes -r requirements/charts.txt
	@touch $@

demo: $(INSTALLED)
	@$(VENV)/bin/aquilax-feedback demo

ifdef ARGS
test: $(INSTALLED)
	$(VENV)/bin/python -m pytest $(COVER) $(ARGS)
else
# The files with the marker's name in them: importing the other 250 takes longer than most of these tests.
ALONE = $$(grep -rlw --include='test_*.py' --exclude-dir=chart alone tests examples)

# Much of a test is waiting: four at once keep two cores busy. Those that measure time come after them.
test: $(INSTALLED)
	@ended=0; \
	$(VENV)/bin/python -m pytest -m "not alone" -n 4 --dist loadfile --no-loadscope-reorder $(COVER) || ended=$$?; \
	$(VENV)/bin/python -m pytest -m alone $(COVER) $(ALONE) || ended=$$?; \
	exit $$ended
endif

# Python compiles what tests start a thousand times once, whatever the environment says.
test: export PYTHONDONTWRITEBYTECODE :=

# Not a part of `make test`: tracing doubles the CPU of what it sees.
coverage: $(INSTALLED)
	@$(VENV)/bin/coverage erase
	@ended=0; \
	$(MAKE) --no-print-directory test COVER="--cov --cov-append --cov-report=" || ended=$$?; \
	$(VENV)/bin/coverage report; \
	exit $$ended

fuzz: $(INSTALLED)
	ODD_MESSAGES=$(or $(MESSAGES),5000) ODD_SEED=$(or $(SEED),1) $(VENV)/bin/python -m pytest tests/acceptance/test_odd_messages.py $(ARGS)

chaos: $(INSTALLED)
	$(VENV)/bin/python -m tests.chaos --jobs 2 $(if $(ARGS),$(ARGS),--page)

soak: $(INSTALLED)
	$(VENV)/bin/python -m tests.chaos --soak $(or $(MINUTES),20) $(ARGS)

bench: $(BENCH_INSTALLED)
	$(BENCH_VENV)/bin/python -m benchmarks $(ARGS)

flame: $(BENCH_INSTALLED)
	$(BENCH_VENV)/bin/python -m benchmarks.flame $(ARGS)

check: $(INSTALLED)
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

# From nothing each time: what is left of an earlier build can hide a broken link.
docs: $(DOCS_INSTALLED)
	rm -rf build/site
	$(DOCS_VENV)/bin/python -m sphinx --quiet --fail-on-warning --keep-going --fresh-env -c docs -d build/doctrees . build/site
	@echo "build/site/index.html"

# With the tests of the chart, which `make test` leaves out: they need what is installed here alone.
chart: $(INSTALLED) $(CHARTS_INSTALLED)
	$(VENV)/bin/python -m pytest tests/chart -p no:cacheprovider $(ARGS)

chart: export PYTHONDONTWRITEBYTECODE :=

matrix: $(INSTALLED)
	tests/matrix.sh

matrix: export PYTHONDONTWRITEBYTECODE :=

lock: $(INSTALLED)
	$(LOCK) $(UPGRADE) --group dev --all-extras -o requirements/dev.txt pyproject.toml
	$(LOCK) $(UPGRADE) --extra worker --extra gateway --extra flower --extra postgresql --extra mysql --extra sandbox \
		--extra notify -c requirements/dev.txt -o requirements/worker.txt pyproject.toml
	$(LOCK) $(UPGRADE) --group bench --extra local --extra gateway --extra postgresql --extra mysql \
		-c requirements/dev.txt -o requirements/bench.txt pyproject.toml
	$(LOCK) $(UPGRADE) --group docs -c requirements/dev.txt -o requirements/docs.txt pyproject.toml
	$(LOCK) $(UPGRADE) --group charts -c requirements/dev.txt -o requirements/charts.txt pyproject.toml
	$(LOCK) $(UPGRADE) -c requirements/dev.txt -o requirements/build.txt requirements/build.in

clean:
	rm -rf $(VENV) $(BENCH_VENV) $(CHARTS_VENV) $(DOCS_VENV) build dist .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
