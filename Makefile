# Two commands for a fresh machine: `make quickstart` and `make test`.
PYTHON ?= python3
VENV ?= .venv
RUN ?= runs/quickstart

.PHONY: install quickstart test

install: $(VENV)/installed

$(VENV)/installed: setup.py
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	touch $@

quickstart: install
	rm -rf $(RUN)
	$(VENV)/bin/python train.py --flagfile=configs/quickstart.cfg --save_dir=$(RUN)
	$(VENV)/bin/python evaluate.py --save_dir=$(RUN)
	@echo "samples: $$(ls $(RUN)/samples/*.png | tail -n 1)"

test: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/python -m pytest
