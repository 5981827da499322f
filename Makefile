# Everything runs in .venv. `make setup` fills it; the other targets call it automatically.
PYTHON ?= python3.11
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: help setup demo test test-fast test-oldest lint bench soak chaos golden images sbom test-containers clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 17

setup: $(STAMP) ## create .venv with exactly the versions of constraints.txt

$(STAMP): pyproject.toml constraints.txt
	@echo "Setting up .venv: downloads and installs for some minutes, once."
	@$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade-strategy only-if-needed -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP) ## run the whole chain once, on two simulated machines, into demo/
	$(BIN)/masd demo --out demo

# Three processes, a file at a time: much of a slow test is waiting for servers to start and to end.
test: $(STAMP) ## run lint and every test, also the slow ones
	$(MAKE) --no-print-directory lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test-fast: $(STAMP) ## run the tests that take seconds
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow"

# Lower bounds of pyproject.toml, which nobody would try otherwise. What they depend on is as new as it may be, and old
# packages warn of it: their warnings are no errors.
test-oldest: $(STAMP) ## the quick tests with the oldest dependencies that pyproject.toml allows, in .venv-oldest
	$(PYTHON) -m venv --clear .venv-oldest
	$(BIN)/uv pip install --quiet --python .venv-oldest/bin/python --resolution lowest-direct -e '.[dev]'
	OMP_NUM_THREADS=1 .venv-oldest/bin/python -m pytest -W default -m "not slow" $(TESTS)

lint: $(STAMP) ## ruff, spelling, declared dependencies, mypy, and the layers of docs/architecture.md
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/deptry . tests/support
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: $(STAMP) ## measure training, scoring, serving, drift checks and alarms here (RECORDINGS=folder: also on real recordings)
	$(BIN)/python -m bench
	$(BIN)/python -m bench.drift $(RECORDINGS)
	$(BIN)/python -m bench.alarms.rates $(RECORDINGS)
	$(BIN)/python -m bench.alarms.commissioning $(RECORDINGS)

soak: $(STAMP) ## serve 20,000 clips, some broken, with an upgrade, a rollback and a killed worker
	$(BIN)/python -m bench soak

chaos: $(STAMP) ## serve ten machines while workers, bucket, disk and server fail, for some ten minutes
	PYTHONPATH=tests/support $(BIN)/python -m bench.server.chaos

golden: $(STAMP) ## compile the pipelines again, for the test that compares them
	$(BIN)/python -m pipelines.compile

images: ## build the container images masd/pipeline and masd/serve
	tests/containers/images.sh

sbom: ## write the images' bills of materials (CycloneDX) into dist/
	tests/containers/sbom.sh dist

test-containers: $(STAMP) ## test images and pipelines on a Docker engine, and manifests (half an hour)
	PYTHON=$(BIN)/python OMP_NUM_THREADS=1 tests/containers/run.sh

clean: ## remove the environment and everything generated
	rm -rf .venv .venv-oldest build dist *.egg-info demo .mypy_cache .ruff_cache .pytest_cache
