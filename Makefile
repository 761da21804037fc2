# Each target makes the virtual environment by itself when it is missing.
#   make demo                    the main job on the sample corpus
#   make test                    the tests
#   make check                   what has to pass before a commit: lint, types, rooms, tests
#   make site                    the documentation as web pages, in site/
#   make lock                    pin the requirements anew
# PYTHON=python3.12 VENV=.venv-3.12 chooses another interpreter.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test check lint site lock clean

demo: $(VENV)/.ready
	$(BIN)/python examples/demo.py

test: $(VENV)/.ready-dev
	$(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

check: lint test

lint: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

site: $(VENV)/.ready-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

lock: $(VENV)/.ready-dev
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.10 --generate-hashes \
		--extra parquet --extra serve --extra train --group bert4keras --no-annotate --upgrade --quiet \
		--custom-compile-command "make lock" --output-file requirements.txt
	$(BIN)/uv pip compile --group dev --universal --python-version 3.10 --generate-hashes \
		--constraints requirements.txt --no-annotate --upgrade --quiet \
		--custom-compile-command "make lock" --output-file requirements-dev.txt
	$(BIN)/uv pip compile --group docs --universal --python-version 3.10 --generate-hashes \
		--constraints requirements.txt --no-annotate --upgrade --quiet \
		--custom-compile-command "make lock" --output-file requirements-docs.txt

clean:
	rm -rf $(VENV)

# --no-deps because bert4keras asks for a Keras of 2019; the files name every dependency themselves.
$(VENV)/.ready: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

$(VENV)/.ready-dev: $(VENV)/.ready requirements-dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements-dev.txt
	touch $@

$(VENV)/.ready-docs: $(VENV)/.ready requirements-docs.txt
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements-docs.txt
	touch $@
