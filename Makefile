# Each target makes and uses .venv here, and works from any state of it.
#   make quickstart   a ViT by name -> fine-tuned -> exported to three formats, each verified
#   make test         the default tests
#   make parity       the comparisons with timm (installs torch and timm)
#   make slow         the long sweeps
#   make lint         format, lint and types
#   make clean        removes .venv and what the quickstart wrote
PYTHON ?= python3
export PYTHON
py := .venv/bin/python
# Two workers a core pair: TensorFlow's start-up, not its threads, is what tests wait for.
pytest := $(py) -m pytest --numprocesses=2 --dist=loadscope --durations=25

.PHONY: quickstart test parity slow lint clean
.DEFAULT_GOAL := test

quickstart:
	@echo "Quickstart: fine-tune a ViT on real handwritten digits and export it, in out/quickstart"
	@tools/venv data
	@$(py) tools/quickstart.py out/quickstart

test:
	@echo "Tests: everything but the slow sweeps and the comparisons with timm"
	@tools/venv test
	@$(pytest) -m "not slow and not parity"

parity:
	@echo "Parity: every architecture against timm, on the TensorFlow, JAX and PyTorch backends"
	@tools/venv parity
	@$(pytest) -m parity

slow:
	@echo "Slow tests: the long sweeps"
	@tools/venv test
	@$(pytest) -m "slow and not parity"

lint:
	@tools/venv lint
	@$(py) -m ruff format --check .
	@$(py) -m ruff check .
	@echo "Types, of an installed copy, where export and zoo lie inside the package"
	@$(py) -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target .venv/copy .
	@cd .venv/copy && ../bin/python -m mypy --config-file ../../pyproject.toml -p keras_vit

clean:
	rm -rf .venv out
