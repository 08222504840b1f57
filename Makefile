# make demo   the whole line on bundled prices, about a minute after installation
# make test   lint, types and tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
RUN := runs/daily

.PHONY: demo test lint bench

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mqc-jax needs Python 3.11 or newer; name one with make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(STAMP)
	@if [ -f $(RUN)/config.json ]; then $(BIN)/python train.py --resume --out $(RUN); else $(BIN)/python train.py --out $(RUN); fi
	$(BIN)/python evaluate.py --checkpoint $(RUN) --json $(RUN)/report.json
	$(BIN)/python sample.py --checkpoint $(RUN) --num_generate 20 --num_samples 3
	$(BIN)/mqc forecast --checkpoint $(RUN) --as_of 2018-11-30 --plot $(RUN)/forecast.png
	@echo "look at $(RUN)/forecast.png and $(RUN)/report.json"

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

test: lint
	$(BIN)/python -m pytest -q --numprocesses auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

bench: $(STAMP)
	@$(BIN)/python -c 'import torch' 2>/dev/null || { echo "make bench compares with PyTorch: $(BIN)/pip install torch"; exit 2; }
	$(BIN)/python -m benchmarks.train_step --config daily --batch_size 32
	$(BIN)/python -m benchmarks.train_step --config reference --batch_size 8 --steps 3
	$(BIN)/python -m benchmarks.train_step --config seed --batch_size 256
	$(BIN)/python -m benchmarks.time_to_loss
	$(BIN)/python -m benchmarks.start_up
	$(BIN)/python -m benchmarks.kill_loop --kills 30
	$(BIN)/python -m benchmarks.kill_loop --processes 2 --kills 5
