# Every target but `clean` creates .venv first. Needed: python3 (3.11 or newer), pip and make.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: demo test docs lint clean

demo: $(INSTALLED)  ## repair three photographs, then train LPI-Net for about two minutes and print a table
	$(BIN)/python -m lit_inpaint.demo
	$(BIN)/python -m lit_inpaint.fit --experiment lpi_demo

test: $(INSTALLED)  ## run all tests, on the CPU, where results are exact
	CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadgroup

docs: $(INSTALLED)  ## build the API pages from the docstrings: build/docs/index.html
	CUDA_VISIBLE_DEVICES= $(BIN)/python .ci/docs/build.py

lint: $(INSTALLED)  ## run the checks of pre-commit
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy

# Some distributions ship python3 without ensurepip; then the outer pip installs pip into .venv.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv || { $(PYTHON) -m venv --clear --without-pip .venv && $(PYTHON) -m pip --python $(BIN)/python install pip; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:  ## remove the environment and the API pages, keep runs
	rm -rf .venv build
