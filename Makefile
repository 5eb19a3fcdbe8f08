# `make demo` and `make test` set .venv up by themselves; python3 (3.11 or newer), pip and make are all they need.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: demo test lint clean

demo: $(INSTALLED)  ## train LPI-Net on photographs for about two minutes and print a table
	$(BIN)/python -m lit_inpaint.fit --experiment lpi_demo

test: $(INSTALLED)  ## all tests, on the CPU, where results are exact
	CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadgroup

lint: $(INSTALLED)  ## what pre-commit checks
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy

# Some distributions ship python3 without ensurepip; the pip outside then puts one inside.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv || { $(PYTHON) -m venv --clear --without-pip .venv && $(PYTHON) -m pip --python $(BIN)/python install pip; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:  ## remove the environment; runs stay
	rm -rf .venv
