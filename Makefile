# Shortcuts. `make help` lists them.
PYTHON ?= python3
VENV ?= .venv
RUN ?= runs/quickstart

.PHONY: help install quickstart test golden address

help:  ## list these targets
	@sed -n 's/^\([a-z]*\):.*## /\1 - /p' $(MAKEFILE_LIST)

install: $(VENV)/installed  ## make a virtual environment in .venv

$(VENV)/installed: setup.py
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	touch $@

quickstart: install  ## train a small model and measure it, about six minutes
	$(VENV)/bin/python train.py --flagfile=configs/quickstart.cfg --save_dir=$(RUN)
	$(VENV)/bin/python evaluate.py --save_dir=$(RUN)
	@echo "samples: $$(ls $(RUN)/samples/*.png | tail -n 1)"

test: install  ## lint, format, all tests
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/python -m pytest

golden: install  ## compare with the official code; ON_GPU=1: on a GPU
	GOLDEN_ON_GPU=$(ON_GPU) $(VENV)/bin/python -m pytest -n 0 --noconftest tests/test_golden.py

address:  ## OWNER=name: set the address of the repository on GitHub, everywhere
	@test -n "$(OWNER)" || { echo "give the account, for example: make address OWNER=name"; exit 1; }
	sed -i -E 's|(github(\.com)?/)[^/ "]+(/pixel_cnn_pp)|\1$(OWNER)\3|g' $(ADDRESSED)

ADDRESSED = README.md docs/development.md notebooks/pixel_cnn_pp_colab.ipynb
