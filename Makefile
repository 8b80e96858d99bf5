# make demo         install into .venv, then build, encode, train, evaluate, predict: offline, on what ships here
# make test         install, then the tests
# make check        ruff and mypy --strict
# make test-shared  the tests that need ../shared, the stand-in sources
# make bench        this library beside PyKEEN and the official VL-KGE code on WN9-IMG, about twelve minutes on two cores:
#                   OFFICIAL=CLONE of github.com/thefth/vl-kge, DATA=FOLDER of the files where the clone has none
# TORCH=cuda        leave the choice of the PyTorch build to pip (default: the CPU build)

.DEFAULT_GOAL := demo
.PHONY: demo install test check test-shared bench clean
.SUFFIXES:

VENV ?= .venv
TORCH ?= cpu
WORK ?= workspace
OFFICIAL ?=
DATA ?=
BENCH ?=
BIN := $(VENV)/bin
PYTHON ?= $(firstword $(foreach v,3.11 3.12 3.13 3.14,$(shell command -v python$(v))) python3)
CPU_INDEX := https://download.pytorch.org/whl/cpu

RELEASE = $(WORK)/releases/demo-1.0.0
FEATURES = $(WORK)/features/demo-1.0.0
RUN = $(WORK)/runs/demo

install: $(VENV)/.installed

# Where the PyTorch project's own index can be reached it offers the CPU build; elsewhere pip's settings decide.
$(VENV)/.installed: pyproject.toml constraints-cpu.txt Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
ifeq ($(TORCH),cuda)
	$(BIN)/pip install --quiet --editable '.[test]'
else
	@index=$$($(PYTHON) -c 'import urllib.request as r; r.urlopen("$(CPU_INDEX)/torch/", timeout=5); print("--extra-index-url $(CPU_INDEX)")' 2>/dev/null); \
	set -x; $(BIN)/pip install --quiet $$index --constraint constraints-cpu.txt --editable '.[test]'
endif
	@touch $@

demo: install
	$(BIN)/mkgb build demo --workspace $(WORK)
	$(BIN)/vlkge encode $(RELEASE) --out $(FEATURES)
	$(BIN)/vlkge train --dataset $(RELEASE) --features $(FEATURES) --out $(RUN) --overwrite
	$(BIN)/vlkge evaluate $(RUN) --split test
	$(BIN)/mkgb picture $(RELEASE) --split test --out $(WORK)/held-out.png
	$(BIN)/vlkge predict $(RUN) --image $(WORK)/held-out.png --relation isCreatedByArtist --top 5
	@echo "release:  $(RELEASE)"
	@echo "features: $(FEATURES)"
	@echo "run:      $(RUN)"

test: install
	$(BIN)/pytest --numprocesses auto --dist worksteal

check: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

test-shared: install
	$(BIN)/pytest --shared -m shared

bench: install
	$(BIN)/python benchmarks/peers.py --workspace $(WORK)/bench $(if $(OFFICIAL),--official $(OFFICIAL)) $(if $(DATA),--data $(DATA)) $(BENCH)

clean:
	rm -rf $(VENV) $(WORK)
