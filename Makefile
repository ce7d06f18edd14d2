# Everything runs in .venv, which is made on first use and renewed when pyproject.toml or constraints.txt change.
# PYTHON=... chooses the interpreter (3.11 to 3.13) that makes it.

SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
	$$python -c '$(SUPPORTED)' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
WORKERS ?= 2

.PHONY: demo test thorough validate verify check docs format bench clean

demo: .venv/.imaging
	$(BIN)/twinjax

# By files: what a module shares is made and compiled once.
test: .venv/.dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

# What every commit is held to besides.
thorough: .venv/.dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "thorough and not slow"

validate: .venv/.dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "slow or thorough"

# Every published and closed-form value, expected and obtained, in one table.
verify: .venv/.dev
	$(BIN)/python experiments/verification/table.py

check: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

# The documentation as a site, in build/site.
docs: .venv/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict -f .ci/mkdocs.yml

format: .venv/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Side by side with the peer's way and the physical limit: about 15 minutes, on an idle machine.
bench: .venv/.bench
	$(BIN)/python benchmarks/all.py

clean:
	rm -rf build dist .cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find twinjax tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "twinjax needs Python 3.11 to 3.13; name one with PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv .venv

# The stamps say which extras are there; the larger environment serves for the smaller.
.venv/.imaging: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[imaging,dicom]'
	touch $@

.venv/.bench: pyproject.toml constraints.txt | .venv/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[imaging,dicom,skull,dev,bench]'
	touch $@

.venv/.docs: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

.venv/.dev: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[imaging,dicom,skull,dev]'
	touch .venv/.imaging $@
