# Two commands do everything on a machine with Python 3.11+ and make: `make demo` and `make test`.

PYTHON ?= python3
UV_VERSION := 0.13.9
PORT ?= 3000
VENV := .venv
UV := .uv/bin/uv
BIN := $(VENV)/bin
DATA := $(or $(DATA_DIRECTORY),.data)
export UV_COMPILE_BYTECODE := 1
export UV_PYTHON_DOWNLOADS := never
export DAGSTER_DISABLE_TELEMETRY := 1
# Behind a proxy that inspects TLS its certificate is among the system's; uv took its own before it knew these names.
export UV_SYSTEM_CERTS ?= true
export UV_NATIVE_TLS ?= true
ifdef SSL_CERT_FILE
export PIP_CERT ?= $(SSL_CERT_FILE)
endif
unexport VIRTUAL_ENV

.DEFAULT_GOAL := help
.PHONY: help install demo dev psql stop test docs migration data-dictionary lint types contracts unit integration end-to-end end-to-end-dagster end-to-end-demo end-to-end-sync coverage long chromium redis pgbouncer clean

help:  ## Show what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 24

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 15) else 1)' || \
	  { echo "make: Python 3.11 to 3.14 is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another: make PYTHON=python3.12 …" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "make: $(PYTHON) has no venv. Debian and Ubuntu: apt install python3-venv" >&2; exit 2; }
	@echo "Installing uv into .uv …"
	@$(PYTHON) -m venv .uv
	@.uv/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(VENV)/installed: $(UV) pyproject.toml uv.lock
	@echo "Installing the locked environment into .venv (1.4 GB; about a minute with a fast network) …"
	@$(UV) sync --frozen --all-extras --python $(PYTHON) $(if $(shell test -t 2 && echo tty),,--quiet)
	@touch $@

# dbt needs older versions of some packages, so it has a separate environment.
.dbt/installed: $(UV) pyproject.toml uv.lock
	@UV_PROJECT_ENVIRONMENT=.dbt $(UV) sync --frozen --quiet --only-group dbt --python $(PYTHON) && touch $@ || \
	  echo "make: dbt cannot be installed: its test will be skipped" >&2

install: $(VENV)/installed  ## Install the locked environment into .venv

demo: install  ## See it work: embedded Postgres, simulated API with real nights, the job, the averages
	@$(BIN)/asleep-sync demo

dev: install  ## Open Dagster's UI and daemon on http://127.0.0.1:3000 (PORT=… for another); without a key: simulated API
	@$(BIN)/asleep-sync dev --port $(PORT)

psql: install  ## Open psql on the development database
	@$(BIN)/python -m pipelines.cli.development.database psql --directory $(DATA)/postgres

stop:  ## Stop the development database
	@if test -x $(BIN)/python; then $(BIN)/python -m pipelines.cli.development.database stop --directory $(DATA)/postgres; \
	  else echo "Nothing runs: nothing is installed"; fi

test: lint types contracts unit integration end-to-end  ## Everything that must hold

lint: install  ## Style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/sqlfluff lint --processes 0 --disable-progress-bar assets resources tools
	$(BIN)/codespell

types: install  ## Types
	$(BIN)/mypy

contracts: install  ## Which package may import which
	$(BIN)/lint-imports

unit: install  ## Pure parts and architecture
	$(BIN)/pytest tests/unit tests/architecture

integration: install  ## Real Postgres, real HTTP
	$(BIN)/pytest tests/integration -m "not long" -n 2 --dist loadfile

end-to-end: install chromium  ## The whole program, and Dagster's UI in Chromium
	@$(MAKE) --no-print-directory -j 3 end-to-end-dagster end-to-end-demo end-to-end-sync

# Side by side on two cores, each in one process whose tests share a deployment: half of their time is spent waiting for
# Dagster's daemon, which looks for backfills twice a minute.
end-to-end-dagster end-to-end-demo end-to-end-sync: end-to-end-%:
	$(BIN)/pytest tests/end_to_end/$* -m "not long"

# Not part of `make test`: on CPython 3.11 a thread that starts while another one installs coverage's trace function fails.
coverage: install  ## Unit and integration tests with coverage; fails below the floor in pyproject.toml
	$(BIN)/pytest tests/unit tests/architecture tests/integration -m "not long" -n 2 --dist loadfile --cov \
	  -W ignore::pytest.PytestUnraisableExceptionWarning

long: install chromium redis pgbouncer .dbt/installed  ## Minutes of faults: kill -9, restarts, outages with many seeds
	$(BIN)/pytest tests -m long

chromium:  ## Install Chromium from the distribution's packages, where that is possible
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; \
	  else echo "make: no Chromium and no right to install it: the tests of the UI will be skipped" >&2; fi; }

docs: install  ## Build the documentation as a site in site/; fails on a link that leads nowhere
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict && echo "Open site/index.html"

data-dictionary: install  ## Write docs/reference/data-dictionary.md and dbt's sources from the comments in the database
	@$(BIN)/asleep-sync migrate >/dev/null
	@$(BIN)/python -m pipelines.cli.development.database url --directory $(DATA)/postgres | \
	  $(BIN)/python -m tools.data_dictionary .

migration: install  ## Write a migration from resources/database/schema: make migration m="Add a column"
	@test -n "$(m)" || { echo 'make: name what it does: make migration m="Add a column"' >&2; exit 2; }
	@$(BIN)/python -m pipelines.cli.development.database url --directory $(DATA)/postgres | \
	  $(BIN)/python -m tools.new_migration "$(m)"
	@$(BIN)/ruff check -q --fix resources/database/migrations/versions && $(BIN)/ruff format -q resources/database/migrations/versions

redis:  ## Install Redis from the distribution's packages, where that is possible
	@command -v redis-server >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq redis-server >/dev/null; \
	  else echo "make: no Redis and no right to install it: the test of Celery workers will be skipped" >&2; fi; }

pgbouncer:  ## Install PgBouncer from the distribution's packages, where that is possible
	@command -v pgbouncer >/dev/null || test -x /usr/sbin/pgbouncer || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq pgbouncer >/dev/null; \
	  else echo "make: no PgBouncer and no right to install it: its tests will be skipped" >&2; fi; }

clean:  ## Remove environment and development data
	-@test -x $(BIN)/python && $(BIN)/python -m pipelines.cli.development.database destroy --directory $(DATA)/postgres
	rm -rf $(VENV) .dbt .uv $(DATA) artefacts site *.egg-info
