# `make` lists what there is. Everything lives in .venv and .local; nothing else on the machine is touched.
# Another interpreter: `make PYTHON=python3.12 setup`.

PYTHON = python3
ARGS =
BIN = .venv/bin
# Each is newer than the files that say what belongs into .venv: to run everything here, and to develop.
RUNNABLE = .venv/.runnable
INSTALLED = .venv/.installed
# Whatever the shell says: each of the many processes that a target starts would compile all modules anew.
export PYTHONDONTWRITEBYTECODE =

.PHONY: help setup run test faults soak brokers matrix containers check bench audit lock format clean distclean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

setup: $(INSTALLED) ## make .venv and install all that developing needs; done only when something changed

$(RUNNABLE): pyproject.toml locks/run.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else "Python 3.11 or later is needed; $(PYTHON) is %d.%d. Name another one: make PYTHON=python3.12 ..." % v[:2])'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make a virtual environment. On Debian and Ubuntu: apt install python3-venv (of its version)."; exit 1; }
	@test -x $(BIN)/python || echo "Making .venv; the first time this takes about a minute."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python devstack/install.py locks/run.txt
	@# Its own files have no hash, and what builds it is installed already.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(RUNNABLE)

$(INSTALLED): $(RUNNABLE) locks/dev.txt
	@$(BIN)/python devstack/install.py locks/dev.txt
	@touch $(INSTALLED)

run: $(RUNNABLE) ## start everything on this machine and print a sign-in link; Ctrl-C stops it
	@$(BIN)/python -m devstack.run

test: $(INSTALLED) ## run the whole test suite; ARGS goes to pytest: make test ARGS='-k retry'
	@$(BIN)/pytest -n auto $(ARGS)

faults: $(INSTALLED) ## inject every fault into the real processes, write docs/reliability.md; ARGS='--list', '--only NAME'
	@$(BIN)/python -m tests.faults $(ARGS)

soak: $(INSTALLED) ## run everything under load for an hour, with faults, and print what grew; minutes: ARGS=10
	@$(BIN)/python -m tests.soak $(ARGS)

brokers: $(INSTALLED) ## test on RabbitMQ 3.10, 4.0 and 4.3, classic and quorum queues; ARGS='--list', '--only 4.3-quorum', '--quick'
	@$(BIN)/python -m tests.brokers $(ARGS)

matrix: $(INSTALLED) ## test on each Python, PostgreSQL, Redis and Valkey; ARGS='--list', '--only postgresql-15', '--quick', '--full'
	@$(BIN)/python -m tests.matrix $(ARGS)

containers: $(INSTALLED) ## build the image and run docker-compose.yml by podman, without Docker; Debian, as root
	@$(BIN)/python -m tests.containers $(ARGS)

check: $(INSTALLED) ## format, lint, types, import contracts, migration drift, documents: what CI runs besides the tests
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m devstack.drift
	$(BIN)/python -m devstack.documents

bench: $(INSTALLED) ## measure this product beside its peers, into docs/performance.md; ARGS='--only ingest --quick'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r locks/bench.txt
	@$(BIN)/python -m bench $(or $(ARGS),--write)

audit: $(INSTALLED) ## look for known vulnerabilities in the pinned packages; asks a service on the network
	@$(BIN)/python -m devstack.audit

# Of constraints.txt, which a person writes, and for every platform and Python at once, which pip itself cannot.
LOCK = .local/lock/bin/uv pip compile pyproject.toml locks/build.in --universal --python-version 3.11 \
	--generate-hashes --no-annotate --no-header --quiet -c constraints.txt

lock: ## write locks/ anew, after a change of pyproject.toml or constraints.txt: versions and hashes of all that is installed
	@$(PYTHON) -m venv .local/lock && .local/lock/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	@$(LOCK) -o locks/production.txt
	@$(LOCK) --extra otel -o locks/otel.txt
	@$(LOCK) --extra demo -o locks/demo.txt
	@$(LOCK) --extra run -o locks/run.txt
	@$(LOCK) --extra dev -o locks/dev.txt
	@$(LOCK) --extra dev --extra bench -o locks/bench.txt

format: $(INSTALLED) ## format the code, and fix what the linter can fix
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix

clean: ## remove .local (the data of `make run`) and caches
	@if test -e .local && test -x $(BIN)/python; then $(BIN)/python -m devstack.run --clean; else rm -rf .local; fi
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist *.egg-info
	@find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean ## clean, and remove .venv too
	@rm -rf .venv
