# Each target sets itself up in .venv from nothing but Python (3.11 or later) and pip.
#   make demo    segment the sample picture and say where the overlay is
#   make test    what every change must keep (about ten minutes on two cores)
#   make test-slow  the same on full-size models, many processes and many images (about an hour)
#   make test-tools  with napari and Label Studio's SDK, which are set up in .venv-tools; needs xvfb-run
#   make lint    formatting, linter, types
#   make leaderboard DATA=DIR   remake docs/leaderboard.md
#   make bench DATA=DIR TRAIN=DIR   all other benchmarks (an hour on two cores)
#   make gpu-pack TRAIN=DIR, make gpu   on a GPU machine without network: see docs/gpu.md
# DATA: a folder of data sets to test on, as docs/leaderboard.md lists them. TRAIN: one of data sets to train on,
# BUSI and USGRA-seg among them.
# TEST_PROCESSES: how many processes share `make test` (default 2); each takes up to 2.5 GB and a core.
# SLOW_PROCESSES: how many share `make test-slow` (default 1); each takes up to 6 GB.
# TORCH_INDEX: address of another index for PyTorch, such as PyTorch's CPU-only one.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH_INDEX ?=
DATA ?=
TRAIN ?=
TEST_PROCESSES ?= 2
SLOW_PROCESSES ?= 1
TORCH := $(shell grep '^torch==' constraints.txt)
PIP := $(BIN)/python -m pip install --disable-pip-version-check -q

.PHONY: demo test test-slow test-tools lint leaderboard bench gpu-pack gpu gpu-dry format clean

demo: $(VENV)/.base
	$(BIN)/ultrasam predict examples/phantom.png \
		--box 192,58,534,402 --box 567,53,840,407 --out demo-out --overwrite

# One thread each: the processes are the parallelism, and threads that wait for a core spin.
test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" --numprocesses $(TEST_PROCESSES) --dist loadscope

# By default one after another: a full-size model takes up to 6 GB.
test-slow: $(VENV)/.dev
	$(if $(filter-out 1,$(SLOW_PROCESSES)),OMP_NUM_THREADS=1) $(BIN)/python -m pytest -m slow --numprocesses $(SLOW_PROCESSES) --dist loadscope

# Qt alone cannot draw napari without a display, as that needs OpenGL. npe2 checks the manifest.
test-tools: .venv-tools/.ready
	.venv-tools/bin/npe2 validate ultrasam
	OMP_NUM_THREADS=1 PYTHONPATH=src xvfb-run -a .venv-tools/bin/python -m pytest \
		tests/napari tests/annotate/protocols/test_brush_rle.py tests/annotate/protocols/test_label_studio.py

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

leaderboard: $(VENV)/.dev
	@test -d "$(DATA)" || { echo 'Say where the data sets are: make leaderboard DATA=DIR'; exit 2; }
	$(BIN)/python benchmarks/leaderboard.py --data $(DATA)

bench: $(VENV)/.dev
	@test -d "$(DATA)" -a -d "$(TRAIN)" || { echo 'Say where the data sets are: make bench DATA=DIR TRAIN=DIR'; exit 2; }
	$(BIN)/python benchmarks/encoder.py
	$(BIN)/python benchmarks/decoder.py
	$(BIN)/python benchmarks/runtimes.py
	$(BIN)/python benchmarks/quality.py --data $(DATA)
	$(BIN)/python benchmarks/store.py --data $(TRAIN)
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/batch.py
	$(BIN)/python benchmarks/batch.py --memory 10000
	$(BIN)/python benchmarks/stragglers.py
	$(BIN)/python benchmarks/serve.py
	$(BIN)/python benchmarks/regions.py
	$(BIN)/python benchmarks/instances.py --data $(TRAIN)/USGRA-seg $(DATA)/USGRA-seg
	$(BIN)/python benchmarks/initialization.py --data $(TRAIN)/BUSI

# What a GPU machine needs, in .gpu: packages that it may lack, and training data.
gpu-pack: $(VENV)/.dev
	@test -d "$(TRAIN)" || { echo 'Say where the training data are: make gpu-pack TRAIN=DIR'; exit 2; }
	$(BIN)/python benchmarks/gpu/pack.py --data $(TRAIN)

# PYTHON needs PyTorch, Lightning and transformers; GPU_OPTIONS: such as --minutes 5 --train scratch,continued.
GPU_OPTIONS ?=
gpu:
	$(PYTHON) benchmarks/gpu/kit.py $(GPU_OPTIONS)

gpu-dry: $(VENV)/.dev
	$(BIN)/python benchmarks/gpu/kit.py --device cpu --dry-run --minutes 8 $(GPU_OPTIONS)

clean:
	rm -rf $(VENV) .venv-tools demo-out

# torch comes first and alone, so that nothing else chooses its build.
$(VENV)/.torch: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) '$(TORCH)'
	touch $@

$(VENV)/.base: $(VENV)/.torch pyproject.toml
	$(PIP) -c constraints.txt -e .
	touch $@

$(VENV)/.dev: $(VENV)/.base
	$(PIP) -c constraints.txt -e '.[dev]'
	touch $@

# The packages of .venv stay there; on top lie napari with a Qt binding, and Label Studio's SDK, which asks for an
# older OpenCV than ours.
.venv-tools/.ready: $(VENV)/.dev
	$(BIN)/python -m venv .venv-tools
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> "$$(.venv-tools/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/below.pth"
	.venv-tools/bin/python -m pip install --disable-pip-version-check -q \
		'napari>=0.6' PySide6 pytest-qt label-studio-sdk
	touch $@
