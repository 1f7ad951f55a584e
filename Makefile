# Everything a user does. `make` or `make help` lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/sh

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# What the commands are given; an empty value leaves it to them. OPTIONS is any further option.
PROTOCOL ?=
LV ?=
RV ?=
METHODS ?=
FOLDS ?=
RATES ?=
SEEDS ?=
JOBS ?=
RESULTS ?=
EXECUTOR ?=
TABLES ?=
DIFFERENCE ?=
OPTIONS ?=
export ADDRESS GPUS

SELECTION = $(if $(METHODS),--methods $(METHODS)) $(if $(FOLDS),--folds $(FOLDS)) $(if $(RATES),--rates $(RATES)) \
	$(if $(SEEDS),--seeds $(SEEDS))
SOURCES = $(if $(PROTOCOL),--protocol $(PROTOCOL)) $(if $(strip $(LV)$(RV)),--data $(if $(LV),"$(LV)") $(if $(RV),"$(RV)"))
DOING = $(if $(JOBS),--jobs $(JOBS)) $(if $(EXECUTOR),--executor $(EXECUTOR))
RUNS = $(SOURCES) $(if $(RESULTS),--results "$(RESULTS)") $(SELECTION) $(DOING) $(OPTIONS)
SHOWN = --results "$(or $(RESULTS),build/results)" $(SOURCES)
# The installation takes TensorFlow with CUDA where the machine shows an Nvidia driver.
EXTRAS := test,images,surface,report$(if $(shell command -v nvidia-smi 2>/dev/null),$(comma)gpu)
comma := ,

.PHONY: help setup test test-slow test-processors breakages lint data data-sunnybrook reproduce reproduce-table1 reproduce-table2 reproduce-table3 \
	reproduce-rho reproduce-family reproduce-cost reproduce-evidence reproduce-kolarik reproduce-dualnorm tables plan compare packaged coverage figures report bench faults \
	scale readme docs verify-gpu inspect clean

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

test: setup lint ## set up, lint, and run the tests (five minutes)
	$(PYTEST) -m "not slow"

test-slow: setup $(VENV)/ready-slow ## the tests that take processes, Ray, PyTorch, a browser, whole pipelines
	$(PYTEST) -m slow

test-processors: setup ## `make test` as lesser processors and other compilers would run it
	$(BIN)/python -m tests.processors

breakages: setup ## break the code in many small ways and see that a test notices each
	$(BIN)/python -m tests.breakages --output results/machinery/breakages.md

PYTEST = $(BIN)/python -m pytest -n auto --dist loadfile -rs

$(VENV)/ready-slow: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[cluster,bench,docs,notebook,onnx]"
	@touch $@

lint: setup ## check the style
	$(BIN)/ruff check .

data: setup ## make the phantom data sets (SYNTHETIC)
	$(BIN)/python -m experiments reproduce iln $(if $(PROTOCOL),--protocol $(PROTOCOL)) --only data

data-sunnybrook: setup ## make the Sunnybrook data set: SOURCE=file.npz or folder
	$(BIN)/python -m data_prep sunnybrook $(if $(SOURCE),--source "$(SOURCE)") --output build/data/sunnybrook-lv.h5

reproduce: setup ## Tables 1-3, cost, figures: on the phantoms, in 7 to 30 minutes
	$(BIN)/python -m experiments reproduce iln $(RUNS)

reproduce-table1 reproduce-table2 reproduce-table3: reproduce-table%: setup
	$(BIN)/python -m experiments reproduce iln --only data runs --tables $* $(RUNS)

reproduce-table1: ## Table 1: Clip, Sigmoid, Softmax
reproduce-table2: ## Table 2: without and with GN16 after the mix
reproduce-table3: ## Table 3: None, IN, LN, GN4, ILN

reproduce-rho: setup ## the curves of ρ over training (figure 3)
	$(BIN)/python -m experiments reproduce iln --only data runs figures --methods iln --folds 1 $(RUNS)

reproduce-family: setup ## every method of the table at batch 4 on one data set (9 minutes)
	$(BIN)/python -m experiments reproduce family $(RUNS)

reproduce-cost: setup ## seconds for 200 iterations and parameters, ILN against IN
	$(BIN)/python -m experiments cost --results "$(or $(RESULTS),build/results)"

reproduce-evidence: setup ## the runs that judge the paper's claims: STAGE=1 to 8; LV=FILE.h5, stage 5 RV=FILE.h5
	$(BIN)/python -m experiments evidence $(if $(STAGE),--stage $(STAGE)) $(SHOWN) $(DOING) $(OPTIONS)

reproduce-kolarik: setup ## Kolarik et al. 2020, 3-D: Tables 1 and 2, reduced; PROTOCOL=paper for full size
	$(BIN)/python -m experiments reproduce kolarik $(if $(SPINE),--data "$(SPINE)") $(RUNS)

reproduce-dualnorm: setup ## Xiao et al. 2021: Dice by site in three modes, reduced
	$(BIN)/python -m experiments reproduce dualnorm $(if $(TRAIN_SITES),--train-sites $(TRAIN_SITES)) $(RUNS)

tables: setup ## write the tables again, from run files alone
	$(BIN)/python -m experiments tables $(SHOWN) $(SELECTION) $(if $(TABLES),--tables $(TABLES)) $(OPTIONS)

plan: setup ## how many seeds and subjects would show a difference, from the runs in RESULTS: DIFFERENCE=0.5 points
	$(BIN)/python -m experiments plan $(SHOWN) $(if $(METHODS),--methods $(METHODS)) $(if $(DIFFERENCE),--difference $(DIFFERENCE)) $(OPTIONS)

compare: setup ## which methods are better on your data: LV=mine.h5 METHODS="in iln gn8" HOURS=2
	$(BIN)/ilnrepro compare "$(or $(LV),$(RV))" --methods $(METHODS) $(if $(HOURS),--hours $(HOURS)) \
		$(if $(RESULTS),--results "$(RESULTS)") $(if $(RATES),--rates $(RATES)) $(if $(JOBS),--jobs $(JOBS)) \
		$(if $(PROTOCOL),--protocol $(PROTOCOL)) $(OPTIONS)

packaged: setup ## train the network that comes with the package: LV=FILE.h5, ELSEWHERE=FILE.h5 to score it on (40 minutes)
	$(BIN)/python -m experiments packaged --data "$(LV)" --results "$(or $(RESULTS),results/sunnybrook-lite)" \
		$(if $(ELSEWHERE),--elsewhere "$(ELSEWHERE)") $(OPTIONS)

coverage: setup ## how often the intervals hold the truth: a sample of the simulated cells, in five minutes
	$(BIN)/python -m experiments coverage $(OPTIONS)

figures: setup ## draw the figures again, from run files alone
	$(BIN)/python -m figures $(SHOWN) $(OPTIONS)

report: setup ## write the report, one HTML file to look at; with LV=FILE.h5 its test cases show their images
	$(BIN)/python -m figures report $(SHOWN) $(OPTIONS)

faults: setup ## kill runs and grids, damage files, fill a disk, and count what that cost
	$(BIN)/python -m tests.faults

scale: setup ## what checkpoints, the grid and Ray cost, and what a full grid would on many machines
	$(BIN)/python -m experiments scale

bench: setup ## what each method costs, against none, the literal equations and other frameworks (hours)
	$(BIN)/python -m experiments bench

verify-gpu: setup ## on a machine with a GPU: parity with the CPU, cost, one run, and a verdict
	$(BIN)/python -m experiments verify-gpu

readme: setup ## insert the tables into README.md and docs/
	$(BIN)/python -m experiments readme

docs: setup $(VENV)/ready-docs ## build the documents as a site that can be searched, in build/site
	$(BIN)/python -m mkdocs build --strict --quiet

$(VENV)/ready-docs: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	@touch $@

inspect: setup ## print what a file holds: FILE=...
	$(BIN)/ilnrepro inspect $(if $(FILE),"$(FILE)")

clean: ## remove what was built, but for the results
	rm -rf build/data .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
