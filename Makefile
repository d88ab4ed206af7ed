# make demo    set up, train, export, serve, call, load-test all five models, and write the report
# make test    set up, check and test
#
# Single steps, MODEL=cnn|resnet|lstm|autoencoder|gan|all or the path of a recipe file of your own:
#   make train MODEL=cnn      make export MODEL=cnn      make serve      make call
#   make load MODEL=cnn RATE=100 DURATION=20s            make report     make lint     make clean

MODEL ?= all
RATE ?= 60
DURATION ?= 20s
# gpu where there is one; `make setup ACCEL=cpu` overrides.
ACCEL ?= $(shell nvidia-smi >/dev/null 2>&1 && echo gpu || echo cpu)
PYTHON ?= python3

export ORT_DISABLE_TELEMETRY = 1
export CONCH_ARTIFACTS ?= artifacts

VENV := .venv
PY := $(VENV)/bin/python
# A recipe line that says $(MAKE) is run even by `make -n`; the one that starts a server must not be.
PLAIN_MAKE := $(MAKE) --no-print-directory
INSTALLED := $(VENV)/installed-$(ACCEL)

.PHONY: demo test setup train export serve call load report tune bench-export bench-gpu bench-memory bench-serving bench-training headline studies lint clean test-gpu test-baseline test-wheel

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	@# The two ONNX Runtime packages install the same module: never both.
	$(PY) -m pip uninstall -qqq --yes $(if $(filter gpu,$(ACCEL)),onnxruntime,onnxruntime-gpu)
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$(ACCEL),dev]'
	@rm -f $(VENV)/installed-* && touch $@

demo: setup
	$(PY) -m training all --if-changed
	$(PY) -m export all --if-changed
	$(PY) -m serving up --http-port 0 --grpc-port 0 --metrics-port 0 -- $(PLAIN_MAKE) prove-served
	$(PY) -m conch.report

# What the demo does against the running server.
.PHONY: prove-served
prove-served:
	$(PY) -m conch.report.score all
	$(MAKE) --no-print-directory call
	$(PY) -m loadtest run all --protocol both --duration 8s || test $$? -le 2  # BROKEN and INVALID are the report's to tell
	$(PY) -m loadtest mix tests/load/scenarios/lstm_stream.yaml || test $$? -le 2

train: setup
	$(PY) -m training $(MODEL)

export: setup
	$(PY) -m export $(MODEL)

serve: setup
	$(PY) -m serving up

call: setup
	$(PY) -m conch.report.samples $(CONCH_ARTIFACTS)/calls
	$(PY) -m clients status
	$(PY) -m clients classify $(CONCH_ARTIFACTS)/calls/digit.png --model cnn
	$(PY) -m clients classify $(CONCH_ARTIFACTS)/calls/digit.png --model resnet --protocol grpc
	$(PY) -m clients denoise $(CONCH_ARTIFACTS)/calls/noisy.png --out $(CONCH_ARTIFACTS)/calls/clean.png
	$(PY) -m clients generate --count 64 --seed 7 --out $(CONCH_ARTIFACTS)/calls/grid.png
	$(PY) -m clients complete "The "
	$(PY) -m clients complete "The " --stream

load: setup
	$(PY) -m loadtest run $(MODEL) --rate $(RATE) --duration $(DURATION)

# Four ways to run each model, side by side; about five minutes, on a machine that does nothing else.
bench-export: setup
	$(PY) -m export all --if-changed
	$(PY) -m export all --precision int8 --if-changed
	$(PY) -m tests.bench.export

# Conch, PyTriton, FastAPI, LitServe and BentoML over the same files; a quarter of an hour, on a machine that does nothing
# else. The peers have an environment of their own, for they pin much. Needs wrk.
BENCH_VENV := .venv-bench
bench-serving: setup $(BENCH_VENV)/installed
	$(PY) -m export cnn --if-changed
	$(PY) -m export resnet --if-changed
	$(PY) -m export resnet --precision int8 --if-changed
	$(PY) -m tests.bench.serving

$(BENCH_VENV)/installed: tests/bench/serving/requirements.txt
	$(PYTHON) -m venv --clear $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

# The highest rate that keeps PROMISE; latency against rate; the server's memory over DURATION. With a running server.
PROMISE ?= p99<50ms
load-capacity: setup
	$(PY) -m loadtest capacity $(MODEL) --promise "$(PROMISE)"

load-profile: setup
	$(PY) -m loadtest profile $(MODEL)

load-soak: setup
	$(PY) -m loadtest soak $(MODEL) --rate $(RATE) --duration $(DURATION)

# All models at once, as a scenario file says; with a running server.
SCENARIO ?= tests/load/scenarios/mix.yaml
load-mix: setup
	$(PY) -m loadtest mix $(SCENARIO)

# What serves the most on this machine; `make tune MODEL=resnet WRITE=--write` also writes it into config.pbtxt.
TUNE_PROMISE ?=
TIME ?= 5m
tune: setup
	$(PY) -m serving tune $(MODEL) --time $(TIME) $(if $(TUNE_PROMISE),--promise $(TUNE_PROMISE)) $(WRITE)

# The server's resident size over 100,000 requests of mixed batch sizes; a minute. Needs wrk.
bench-memory: setup
	$(PY) -m export cnn --if-changed
	$(PY) -m tests.bench.serving.memory

# Five trainings on public data, timed, judged and written into docs/training.md; two hours on a machine that does nothing
# else. RUN=all|lenet|resnet|lstm|autoencoder|gan, the gan after the lenet that judges it.
RUN ?= all
headline: setup
	$(PY) -m tests.bench.training.headline $(RUN)

# Textbook results on depth, computed, drawn and written into docs/training.md; ten minutes on two cores. The exit code is 1
# where one does not come out.
studies: setup
	$(PY) -m tests.bench.training.studies

# LeNet-5 and ResNet-20 trained as ever, and by the bare loop over one batch in memory; some minutes, on a machine that
# does nothing else.
bench-training: setup
	$(PY) -m tests.bench.training.loop

# What one core of load generator can do; starts a server of its own.
bench-load: setup
	$(PY) -m tests.bench.load

# On a GPU: everything of docs/benchmarks-gpu.md. In parts that add up, as in make bench-gpu GPU_BENCH="--models resnet50
# --part in-process --minutes 9"; GPU_BENCH=--dry-run is for a machine without one.
GPU_BENCH ?=
bench-gpu: setup
	$(PY) -m training all --if-changed
	$(PY) -m tests.bench.gpu $(GPU_BENCH)

# The proofs of tests/gpu; skipped where there is no GPU.
test-gpu: setup
	$(PY) -m pytest tests/gpu

# The tests that a processor's arithmetic could decide, on an emulated one that has AVX2 and neither AVX-512 nor VNNI;
# some minutes. PyTorch's oneDNN is held to SSE4.1: what it compiles for AVX2 crashes in the emulator.
BASELINE_TESTS := tests/unit/export/test_budget.py tests/unit/export/test_precision_graphs.py
test-baseline: setup
	@command -v qemu-x86_64 >/dev/null || { echo "qemu-x86_64 is missing: apt-get install qemu-user" >&2; exit 1; }
	ONEDNN_MAX_CPU_ISA=SSE41 qemu-x86_64 -cpu Haswell $(PY) -m pytest $(BASELINE_TESTS)

report: setup
	$(PY) -m conch.report

test: setup lint
	$(PY) -m pytest tests/unit --numprocesses 2 --dist worksteal
	$(PY) -m pytest tests/live -m "not timing" --numprocesses 2 --dist loadfile
	$(PY) -m pytest tests/live -m timing

lint: setup
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	@# The backend's files import each other by their bare names, as in Triton's stub, whose module path is their folder.
	MYPYPATH=serving/backends/onnxruntime $(VENV)/bin/mypy --explicit-package-bases serving/backends/onnxruntime/*.py
	$(VENV)/bin/lint-imports

clean:
	rm -rf $(addprefix $(CONCH_ARTIFACTS)/,checkpoints models report calls server tune tensorboard)
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

# The wheel, built, installed into new environments and used in an empty folder; some minutes, most of them pip's.
test-wheel: setup
	tests/support/wheel.sh $(ACCEL)
