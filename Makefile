# Every target but `clean` creates .venv first. Needed: python3 (3.11 or newer), pip and make.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: demo test benchmark docs lint clean

demo: $(INSTALLED)  ## repair three photographs, then train LPI-Net for about two minutes and print a table
	$(BIN)/python -m lit_inpaint.demo
	$(BIN)/python -m lit_inpaint.fit --experiment lpi_demo

test: $(INSTALLED)  ## run all tests, on the CPU, where results are exact
	CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadgroup

# Stopped and started again, it goes on where it was. Needed: Tiny ImageNet in DATA, Oxford's VGG-16 for pconv (its file's head says how
# to do without), FID's Inception. OPTIONS go to each training: make benchmark OPTIONS='--trainer.precision bf16-mixed'
DATA ?= data/tiny_imagenet
OPTIONS ?=
NAMES := $(filter-out %defaults %shipped,$(patsubst experiments/benchmark/%.yaml,%,$(wildcard experiments/benchmark/*.yaml experiments/benchmark/networks/*.yaml)))
LAST = $(patsubst %,runs/benchmark/%/checkpoints/last.ckpt,$(filter $(1),$(NAMES)))
EVALUATE = $(BIN)/python -m lit_inpaint.evaluate --protocol lpi --metrics $(METRICS) --data.root $(DATA)
METRICS ?= lpips_squeeze fid
WRITE = --output runs/benchmark/$(1).json runs/benchmark/$(1).md --grid runs/benchmark/$(1).png

benchmark: $(INSTALLED)  ## train all networks and papers of experiments/benchmark, print their tables (days on a CPU)
	for name in $(NAMES); do $(BIN)/python -m lit_inpaint.fit --experiment benchmark/$$name --run_dir runs/benchmark/$$name \
		--data.root $(DATA) $(OPTIONS) || exit; done
	$(BIN)/python -m lit_inpaint.report $(patsubst %,runs/benchmark/%,$(NAMES)) --grids 2 --output runs/benchmark/curves.html
	$(EVALUATE) --checkpoint $(call LAST,networks/%) shipped --baselines all --experiment benchmark/unet $(call WRITE,networks)
	$(EVALUATE) --checkpoint $(filter-out %/context_encoder/checkpoints/last.ckpt,$(filter-out runs/benchmark/networks/%,$(call LAST,%))) --baselines all \
		--experiment benchmark/unet $(call WRITE,published)
	$(EVALUATE) --checkpoint $(call LAST,%) shipped --baselines all --experiment benchmark/context_encoder $(call WRITE,center)

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
