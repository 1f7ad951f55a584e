# Everything a user does. `make` or `make help` lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/sh

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# Which runs. An empty value means the protocol's own.
PROTOCOL ?= quick
METHODS ?=
FOLDS ?=
RATES ?=
SEEDS ?=
JOBS ?=
RESULTS ?= build/results
OPTIONS ?=
EXECUTOR ?= local
export ADDRESS GPUS

PROTOCOLS := tiny quick lite paper kolarik-quick kolarik dualnorm-quick dualnorm
ifeq ($(filter $(PROTOCOL),$(PROTOCOLS)),)
$(error PROTOCOL: '$(PROTOCOL)' is unknown; choose one of $(PROTOCOLS))
endif

# Data set files. With neither given, the embedded phantoms (SYNTHETIC); with one given, the other's columns stay empty.
ifeq ($(strip $(LV)$(RV)),)
PHANTOM_SIZE := $(if $(filter tiny quick,$(PROTOCOL)),64,256)
DATA := build/data/phantom-lv-$(PHANTOM_SIZE).h5 build/data/phantom-rv-$(PHANTOM_SIZE).h5
PHANTOMS := $(DATA)
else
DATA := $(LV) $(RV)
endif

# Kolarik et al. 2020: the reduced protocol, or with PROTOCOL=paper the paper's; SPINE=FILE.h5 or the phantom (SYNTHETIC).
KOLARIK := $(if $(filter paper kolarik,$(PROTOCOL)),kolarik,kolarik-quick)
# The paper's methods, and LN: what its instance normalization is by default.
KOLARIK_METHODS := $(or $(METHODS),none bn gn2 gn4 gn8 gn16 gn32 in ln)
TIMED_SIZE := $(if $(filter kolarik,$(KOLARIK)),256,64)
SPINE ?= build/data/phantom-spine-$(if $(filter kolarik,$(KOLARIK)),256,32).h5

# Xiao et al. 2021: the same; LV=FILE.h5, a data set that tells sites, or phantoms of three sites (SYNTHETIC).
DUALNORM := $(if $(filter paper dualnorm,$(PROTOCOL)),dualnorm,dualnorm-quick)
SITES := build/data/phantom-sites-$(if $(filter dualnorm,$(DUALNORM)),256,64).h5
TRAIN_SITES ?=

GRID = $(BIN)/python -m experiments run --protocol $(PROTOCOL) --data $(DATA) --results $(RESULTS) $(SELECTION) \
	$(if $(JOBS),--jobs $(JOBS)) --executor $(EXECUTOR) $(OPTIONS)
SELECTION = $(if $(METHODS),--methods $(METHODS)) $(if $(FOLDS),--folds $(FOLDS)) $(if $(RATES),--rates $(RATES)) \
	$(if $(SEEDS),--seeds $(SEEDS))
# Tables and figures take what the results folder holds, unless told otherwise on the command line.
CHOSEN_PROTOCOL = $(if $(filter command% environment%,$(origin PROTOCOL)),--protocol $(PROTOCOL))
CHOSEN_DATA = $(if $(strip $(LV)$(RV)),--data $(LV) $(RV))
# What differs from the protocol's defaults, for commands that look at runs rather than do them.
VARIANT = $(shell printf '%s' '$(OPTIONS)' | sed -E 's/--(keep-weights|dry-run|tensorboard[ =]+[^ ]+)//g')
# Where OPTIONS has --dry-run, what measures and shows is left out too.
AFTER_RUNS = $(if $(filter --dry-run,$(OPTIONS)),@true,$(BIN)/python)
# The installation takes TensorFlow with CUDA where the machine shows an Nvidia driver.
EXTRAS := test,images,surface,report$(if $(shell command -v nvidia-smi 2>/dev/null),$(comma)gpu)
comma := ,

.PHONY: help setup test test-slow test-processors breakages lint data data-sunnybrook reproduce reproduce-table1 reproduce-table2 reproduce-table3 \
	reproduce-rho reproduce-family reproduce-cost reproduce-evidence reproduce-kolarik reproduce-dualnorm tables plan coverage figures report bench faults \
	scale readme verify-gpu inspect clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):[^#]*## ?/\1\t/' | expand -t 20
	@echo
	@echo "variables: PROTOCOL=tiny|quick|lite|paper LV=FILE.h5 RV=FILE.h5 METHODS= FOLDS= RATES= SEEDS= JOBS= RESULTS= EXECUTOR= OPTIONS="

setup: $(VENV)/ready ## make a virtual environment with everything needed

$(VENV)/ready: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[$(EXTRAS)]"
	$(BIN)/python -c "from ilnrepro.norms.kernels import native; native.available()"
	@touch $@

test: setup lint ## set up, lint, and run the tests (eight minutes)
	$(PYTEST) -m "not slow"

test-slow: setup $(VENV)/ready-slow ## the tests that take processes, Ray, PyTorch, a browser, whole pipelines
	$(PYTEST) -m slow

test-processors: setup ## `make test` as lesser processors and other compilers would run it
	$(BIN)/python -m tests.processors

breakages: setup ## break the code in many small ways and see that a test notices each
	$(BIN)/python -m tests.breakages

PYTEST = $(BIN)/python -m pytest -n auto --dist loadfile -rs

$(VENV)/ready-slow: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[cluster,bench]"
	@touch $@

lint: setup ## check the style
	$(BIN)/ruff check .

# At 64 pixels the heart would be a dozen wide, so the small phantoms keep two thirds of the field of view.
PHANTOM = $(BIN)/python -m data_prep phantom --size $* --crop $(if $(filter 64,$*),0.67,1) --output $@

build/data/phantom-lv-%.h5: | setup
	$(PHANTOM) --structure LV

build/data/phantom-rv-%.h5: | setup
	$(PHANTOM) --structure RV

build/data/phantom-spine-256.h5: | setup
	$(BIN)/python -m data_prep spine-phantom --output $@

build/data/phantom-sites-%.h5: | setup
	$(PHANTOM) --structure LV --sites 3

# At 32 pixels of 5 mm an arch would be one wide, so the small phantom keeps a part of the field of view.
build/data/phantom-spine-32.h5: | setup
	$(BIN)/python -m data_prep spine-phantom --size 32 --slices 40 --crop 0.6 --output $@

data: $(PHANTOMS) ## make the phantom data sets (SYNTHETIC)

data-sunnybrook: setup ## make the Sunnybrook data set: SOURCE=file.npz or folder
	@test -n "$(SOURCE)" || { echo "error: SOURCE: not given; name the .npz file or the folder" >&2; exit 2; }
	$(BIN)/python -m data_prep sunnybrook --source "$(SOURCE)" --output build/data/sunnybrook-lv.h5

reproduce: setup $(PHANTOMS) ## Tables 1-3, cost, figures: on the phantoms in under 10 minutes
	$(GRID) --quiet
	$(AFTER_RUNS) -m experiments cost --results $(RESULTS)
	$(AFTER_RUNS) -m figures --results $(RESULTS) --protocol $(PROTOCOL) --data $(DATA) $(VARIANT)
	$(AFTER_RUNS) -m experiments tables --results $(RESULTS) --protocol $(PROTOCOL) --data $(DATA) $(SELECTION) $(VARIANT)

reproduce-table1 reproduce-table2 reproduce-table3: reproduce-table%: setup $(PHANTOMS)
	$(GRID) --tables $*

reproduce-table1: ## Table 1: Clip, Sigmoid, Softmax
reproduce-table2: ## Table 2: without and with GN16 after the mix
reproduce-table3: ## Table 3: None, IN, LN, GN4, ILN

reproduce-rho: setup $(PHANTOMS) ## the curves of ρ over training (figure 3)
	$(BIN)/python -m experiments run --protocol $(PROTOCOL) --data $(DATA) --results $(RESULTS) --methods iln \
		--folds $(or $(FOLDS),1) $(if $(RATES),--rates $(RATES)) $(if $(SEEDS),--seeds $(SEEDS)) \
		$(if $(JOBS),--jobs $(JOBS)) --executor $(EXECUTOR) $(OPTIONS) --quiet
	$(AFTER_RUNS) -m figures --results $(RESULTS) --protocol $(PROTOCOL) --data $(DATA) $(VARIANT)

# Over one image batch statistics are instance statistics, so the methods that pool over the batch are compared at four.
# In the short protocol batch renormalization is BN for 100 steps, which its averages remember; in the longer ones for
# its paper's 5000.
reproduce-family: override OPTIONS := --batch 4 $(if $(filter tiny quick,$(PROTOCOL)),--renorm-steps 100) $(OPTIONS)
reproduce-family: RESULTS = build/family
reproduce-family: DATA = $(or $(LV),$(RV),build/data/phantom-lv-$(PHANTOM_SIZE).h5)
reproduce-family: setup $(firstword $(PHANTOMS)) ## every method of the table at batch 4 on one data set (9 minutes)
	$(GRID) --tables family
	$(AFTER_RUNS) -m figures --results $(RESULTS) --protocol $(PROTOCOL) --data $(DATA) $(VARIANT)

reproduce-cost: setup ## seconds for 200 iterations and parameters, ILN against IN
	$(BIN)/python -m experiments cost --results $(RESULTS)

reproduce-evidence: setup ## the runs that judge the paper's claims: STAGE=1, then 2, then 3; LV=FILE.h5
	@test -n "$(STAGE)" || { echo "error: STAGE: not given; do 1, then 2, then 3" >&2; exit 2; }
	@test -n "$(strip $(LV)$(RV))" || { echo "error: LV: not given; name the data set file" >&2; exit 2; }
	$(BIN)/python -m experiments evidence --stage $(STAGE) --data $(DATA) --results $(RESULTS) $(CHOSEN_PROTOCOL) \
		$(if $(JOBS),--jobs $(JOBS)) --executor $(EXECUTOR) $(OPTIONS)

reproduce-kolarik: RESULTS = build/kolarik
reproduce-kolarik: setup $(SPINE) ## Kolarik et al. 2020, 3-D: Tables 1 and 2, in under 15 minutes; PROTOCOL=paper for full size
	$(AFTER_RUNS) -m experiments time --protocol $(KOLARIK) --data $(SPINE) --results $(RESULTS) --size $(TIMED_SIZE) \
		--methods $(KOLARIK_METHODS)
	$(BIN)/python -m experiments run --protocol $(KOLARIK) --data $(SPINE) --results $(RESULTS) \
		--folds $(or $(FOLDS),1) --methods $(KOLARIK_METHODS) $(if $(RATES),--rates $(RATES)) \
		$(if $(SEEDS),--seeds $(SEEDS)) $(if $(JOBS),--jobs $(JOBS)) --executor $(EXECUTOR) $(OPTIONS) --quiet
	$(AFTER_RUNS) -m figures --results $(RESULTS) --protocol $(KOLARIK) --data $(SPINE) $(VARIANT)
	$(AFTER_RUNS) -m experiments tables --results $(RESULTS) --protocol $(KOLARIK) --data $(SPINE) $(VARIANT)

reproduce-dualnorm: RESULTS = build/dualnorm
reproduce-dualnorm: DATA = $(or $(LV),$(SITES))
reproduce-dualnorm: setup $(if $(LV),,$(SITES)) ## Xiao et al. 2021: Dice by site in three modes, in under 15 minutes
	$(BIN)/python -m experiments dualnorm --protocol $(DUALNORM) --data $(DATA) --results $(RESULTS) $(SELECTION) \
		$(if $(TRAIN_SITES),--train-sites $(TRAIN_SITES)) $(if $(JOBS),--jobs $(JOBS)) --executor $(EXECUTOR) $(OPTIONS)
	$(AFTER_RUNS) -m figures --results $(RESULTS) --protocol $(DUALNORM) --data $(DATA) $(VARIANT)

tables: setup ## write the tables again, from run files alone
	$(BIN)/python -m experiments tables --results $(RESULTS) $(CHOSEN_PROTOCOL) $(CHOSEN_DATA) $(SELECTION) $(VARIANT) \
		$(if $(TABLES),--tables $(TABLES))

plan: setup ## how many seeds and subjects would show a difference, from the runs in RESULTS: DIFFERENCE=0.5 points
	$(BIN)/python -m experiments plan --results $(RESULTS) $(CHOSEN_PROTOCOL) $(if $(DIFFERENCE),--difference $(DIFFERENCE)) \
		$(if $(METHODS),--methods $(METHODS))

coverage: setup ## how often the intervals hold the truth: a sample of the simulated cells, in five minutes
	$(BIN)/python -m experiments coverage

figures: setup ## draw the figures again, from run files alone
	$(BIN)/python -m figures --results $(RESULTS) $(CHOSEN_PROTOCOL) $(CHOSEN_DATA) $(VARIANT)

faults: setup ## kill runs and grids, damage files, fill a disk, and count what that cost
	$(BIN)/python -m tests.faults

scale: setup ## what checkpoints, the grid and Ray cost, and what a full grid would on many machines
	$(BIN)/python -m experiments.scale

report: setup ## write the report, one HTML file to look at; with LV=FILE.h5 its test cases show their images
	$(BIN)/python -m figures.report --results $(RESULTS) $(CHOSEN_PROTOCOL) $(CHOSEN_DATA) $(VARIANT)

bench: setup ## what each method costs, against none, the literal equations and other frameworks (45 minutes)
	$(BIN)/python -m experiments.bench

verify-gpu: setup ## on a machine with a GPU: parity with the CPU, cost, one run, and a verdict
	$(BIN)/python -m experiments.verify_gpu

readme: setup ## insert the tables into README.md
	$(BIN)/python -m experiments readme

inspect: setup ## print what a file holds: FILE=...
	@test -n "$(FILE)" || { echo "error: FILE: not given; name a run or data set file" >&2; exit 2; }
	$(BIN)/ilnrepro inspect "$(FILE)"

clean: ## remove what was built, but for the results
	rm -rf build/data .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
