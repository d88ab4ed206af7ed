# `make help` lists the targets. MODEL is all, a recipe's name, or the path of a recipe file of your own.
#   make train MODEL=cnn      make load MODEL=cnn RATE=100 DURATION=20s

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
CONCH := $(VENV)/bin/conch
# A recipe line that says $(MAKE) is run even by `make -n`; the one that starts a server must not be.
PLAIN_MAKE := $(MAKE) --no-print-directory
INSTALLED := $(VENV)/installed-$(ACCEL)

.DEFAULT_GOAL := help
.PHONY: help demo networks test test-quick setup train export serve call load report tune bench bench-clients bench-compare bench-export bench-gpu bench-growth bench-hostile bench-memory bench-overload bench-serving bench-size bench-training headline studies lint load-capacity load-profile load-soak load-mix bench-load clean clean-all test-gpu test-baseline test-long test-wheel

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The Pythons of pyproject.toml's requires-python, the one that constraints.txt was made with first.
PYTHONS := 3.11 3.12 3.13
version_of = $(shell $(1) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
PYTHON_VERSION = $(call version_of,$(PYTHON))
# Nothing where .venv is broken: its interpreter or its pip is gone, or it was made elsewhere, which its scripts name.
VENV_VERSION := $(shell grep -qsF -e "$$(pwd -P)/$(VENV)/bin/python" -e "$$(realpath $(VENV))/bin/python" $(VENV)/bin/pip \
	&& $(PY) -c 'import pip, sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
# Where nobody asked for a PYTHON, every .venv of one of PYTHONS is kept.
ASKED := $(if $(filter file,$(origin PYTHON)),$(PYTHONS),$(PYTHON_VERSION))
VENV_SUITS := $(filter $(PYTHONS),$(filter $(ASKED),$(VENV_VERSION)))
suited_here = $(firstword $(foreach one,$(PYTHONS),$(if $(filter $(one),$(call version_of,python$(one))),python$(one))))
PYTHON_IS = $(PYTHON) $(if $(PYTHON_VERSION),is Python $(PYTHON_VERSION),does not run)
ifeq ($(VENV_SUITS),)
.PHONY: $(INSTALLED)
endif
OLD_VENV_IS = $(or $(VENV_VERSION:%=of Python %),broken or was made elsewhere)
TRY = $(if $(suited_here),PYTHON=$(suited_here) make setup,install one of them; then: PYTHON=python3.11 make setup)

setup: $(INSTALLED)  ## make .venv, from pyproject.toml with the versions of constraints.txt
$(INSTALLED): pyproject.toml constraints.txt
ifeq ($(VENV_SUITS),)
	$(if $(filter $(PYTHONS),$(PYTHON_VERSION)),,$(error $(PYTHON_IS), Conch needs one of $(PYTHONS): $(TRY)))
	@echo "1/3 a new $(VENV) with Python $(PYTHON_VERSION)$(if $(wildcard $(VENV)),; the old one is $(OLD_VENV_IS))"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
else
	@echo "1/3 $(VENV) is there, of Python $(VENV_VERSION)"
endif
	@# The two ONNX Runtime packages install the same module: never both.
	@$(PY) -m pip uninstall -qqq --yes $(if $(filter gpu,$(ACCEL)),onnxruntime,onnxruntime-gpu)
	@echo "2/3 pip installs the kit for $(ACCEL): minutes the first time, and silent while it unpacks"
	@$(PY) -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[$(ACCEL),dev]'
	@rm -f $(VENV)/installed-* && touch $@
	@echo "3/3 done; next: source $(VENV)/bin/activate, conch --help"

demo: setup  ## train, export, serve, call and load-test five models, and write the report
	$(CONCH) train all --if-changed
	$(CONCH) export all --if-changed
	$(CONCH) serve --http-port 0 --grpc-port 0 --metrics-port 0 -- $(PLAIN_MAKE) prove-served
	$(CONCH) report

# What the demo does against the running server.
.PHONY: prove-served
prove-served:
	$(CONCH) report score all --if-changed
	$(MAKE) --no-print-directory call
	$(CONCH) load run all --protocol both --duration 8s --if-changed || test $$? -le 2  # BROKEN, INVALID: the report tells
	$(CONCH) load mix tests/load/scenarios/lstm_stream.yaml --if-changed || test $$? -le 2

# All networks beyond the five, or MODEL; cnn judges some of them, and style reads vgg.
NETWORK = $(MODEL:all=networks)
# Those that are streams and nothing else, and all streams: loaded in sequences.
ONLY_STREAMS = echo_state liquid_state turing_machine
STREAMS = $(ONLY_STREAMS) gru_stream rnn_stream
networks: setup  ## the other networks, or MODEL: train, export, serve, score, load-test, report, docs/networks.md
	$(CONCH) train cnn --if-changed
	$(if $(filter style,$(MODEL)),$(CONCH) train vgg --if-changed)
	$(CONCH) train $(NETWORK) --if-changed
	$(CONCH) export $(NETWORK) --if-changed
	$(CONCH) serve --http-port 0 --grpc-port 0 --metrics-port 0 -- $(PLAIN_MAKE) prove-networks MODEL=$(MODEL)
	$(CONCH) report
	$(PY) -m tests.bench.networks $(NETWORK)

.PHONY: prove-networks
prove-networks:
	$(CONCH) report score $(NETWORK) --if-changed
	$(if $(filter $(MODEL),$(ONLY_STREAMS)),,$(CONCH) load run $(MODEL) --protocol both --duration 8s --if-changed || test $$? -le 2)
	@for stream in $(if $(filter all,$(MODEL)),$(STREAMS),$(filter $(MODEL) $(MODEL)_stream,$(STREAMS))); do \
		$(CONCH) load mix tests/load/scenarios/$$stream.yaml --if-changed || test $$? -le 2 || exit 1; \
	done

train: setup  ## train MODEL
	$(CONCH) train $(MODEL)

export: setup  ## export, prove and publish MODEL
	$(CONCH) export $(MODEL)

serve: setup  ## run a real Triton over artifacts/models until Ctrl-C
	$(CONCH) serve

call: setup  ## call all five models of a running server
	$(CONCH) report samples $(CONCH_ARTIFACTS)/calls
	$(CONCH) call status
	$(CONCH) call classify $(CONCH_ARTIFACTS)/calls/digit.png --model cnn
	$(CONCH) call classify $(CONCH_ARTIFACTS)/calls/digit.png --model resnet --protocol grpc
	$(CONCH) call denoise $(CONCH_ARTIFACTS)/calls/noisy.png --out $(CONCH_ARTIFACTS)/calls/clean.png
	$(CONCH) call generate --count 64 --seed 7 --out $(CONCH_ARTIFACTS)/calls/grid.png
	$(CONCH) call complete "The "
	$(CONCH) call complete "The " --stream

load: setup  ## load-test MODEL at RATE for DURATION, with a running server
	$(CONCH) load run $(MODEL) --rate $(RATE) --duration $(DURATION)

# All that trains nothing, in rounds; `make bench BENCHES="load clients"` for some.
BENCHES ?=
bench: setup  ## all benchmarks without training, and a page with a verdict for each floor; 20 minutes
	$(PY) -m tests.bench $(BENCHES)

# A working tree beside a commit; BENCH_FLAGS="--rounds 8 --minutes 5 --groups start serving" for a part.
BASE ?= main
BENCH_FLAGS ?=
bench-compare: setup  ## this working tree beside BASE: slower, faster or no difference shown; 20 minutes
	$(PY) -m tests.bench.compare $(BASE) $(BENCH_FLAGS)

# Four ways to run each model, side by side; about five minutes, on a machine that does nothing else.
bench-export: setup  ## PyTorch eager, torch.compile and ONNX Runtime side by side
	$(CONCH) export all --if-changed
	$(CONCH) export all --precision int8 --if-changed --even-if-slower
	$(PY) -m tests.bench.export

# Conch, PyTriton, FastAPI, LitServe and BentoML over the same files; a quarter of an hour, on a machine that does nothing
# else. The peers have an environment of their own, for they pin much. Needs wrk.
BENCH_VENV := .venv-bench
bench-serving: setup $(BENCH_VENV)/installed  ## beside PyTriton, FastAPI, LitServe and BentoML; needs wrk
	$(CONCH) export cnn --if-changed
	$(CONCH) export resnet --if-changed
	$(CONCH) export resnet --precision int8 --if-changed
	$(PY) -m tests.bench.serving

$(BENCH_VENV)/installed: tests/bench/serving/requirements.txt
	$(PY) -m venv --clear $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --disable-pip-version-check --requirement $<
	@touch $@

# The highest rate that keeps PROMISE; latency against rate; the server's memory over DURATION. With a running server.
PROMISE ?= p99<50ms
load-capacity: setup  ## the highest rate of MODEL that keeps PROMISE, with a running server
	$(CONCH) load capacity $(MODEL) --promise "$(PROMISE)"

load-profile: setup  ## latency of MODEL against its rate, with a running server
	$(CONCH) load profile $(MODEL)

load-soak: setup  ## the server's memory over DURATION, with a running server
	$(CONCH) load soak $(MODEL) --rate $(RATE) --duration $(DURATION)

# All models at once, as a scenario file says; with a running server.
SCENARIO ?= tests/load/scenarios/mix.yaml
load-mix: setup  ## all models at once, as SCENARIO says, with a running server
	$(CONCH) load mix $(SCENARIO)

# What serves the most on this machine; `make tune MODEL=resnet WRITE=--write` also writes it into config.pbtxt.
TUNE_PROMISE ?=
TIME ?= 5m
tune: setup  ## what serves MODEL best on this machine within TUNE_PROMISE
	$(CONCH) tune $(MODEL) --time $(TIME) $(if $(TUNE_PROMISE),--promise $(TUNE_PROMISE)) $(WRITE)

# Models, rows, pixels, steps, connections and held-out examples; ten minutes, on a machine that does nothing else. Needs
# wrk and 12 GB of memory. GROWTH="larger clients" shows parts and writes nothing.
GROWTH ?=
bench-growth: setup  ## how the cost of a start, a command, a request and an export grows; needs wrk
	$(PY) -m tests.bench.growth $(GROWTH)

# The server's resident size over 100,000 requests of mixed batch sizes; a minute. Needs wrk.
bench-memory: setup  ## the server's memory over 100,000 requests; needs wrk
	$(CONCH) export cnn --if-changed
	$(PY) -m tests.bench.serving.memory

# Five trainings on public data, timed, judged and written into docs/training.md; two hours on a machine that does nothing
# else. RUN=all|lenet|resnet|lstm|autoencoder|gan, the gan after the lenet that judges it.
RUN ?= all
headline: setup  ## five trainings on public data, judged; two hours
	$(PY) -m tests.bench.training.headline $(RUN)

# Textbook results on depth, computed, drawn and written into docs/training.md; ten minutes on two cores. The exit code is 1
# where one does not come out.
studies: setup  ## textbook results on depth, reproduced; ten minutes
	$(PY) -m tests.bench.training.studies

# LeNet-5 and ResNet-20 trained as ever, and by the bare loop over one batch in memory; some minutes, on a machine that
# does nothing else.
bench-training: setup  ## the training loop beside a bare one
	$(PY) -m tests.bench.training.loop

# What one core of load generator can do; starts a server of its own.
bench-load: setup  ## what one core of load generator can do
	$(PY) -m tests.bench.load

# The client beside tritonclient, and its map beside wrk; three minutes. gRPC's handlers of forks break it when wrk starts.
bench-clients: setup  ## the client beside tritonclient, its map beside wrk
	GRPC_ENABLE_FORK_SUPPORT=0 $(PY) -m tests.bench.clients

# Each kind of hostile request at the embedded server without its guard, which most of them kill; ten minutes.
bench-hostile: setup  ## hostile requests at the server without its guard; ten minutes
	$(PY) -m tests.bench.hostile

# On a GPU: everything of docs/benchmarks-gpu.md. In parts that add up, as in make bench-gpu GPU_BENCH="--models resnet50
# --part in-process --minutes 9"; GPU_BENCH=--dry-run is for a machine without one.
GPU_BENCH ?=
bench-gpu: setup  ## everything of docs/benchmarks-gpu.md
	$(CONCH) train all --if-changed
	$(PY) -m tests.bench.gpu $(GPU_BENCH)

# The proofs of tests/gpu; skipped where there is no GPU.
test-gpu: setup  ## the proofs that need a GPU
	$(PY) -m pytest tests/gpu

# The tests that a processor's arithmetic could decide, on an emulated one that has AVX2 and neither AVX-512 nor VNNI;
# some minutes. PyTorch's oneDNN is held to SSE4.1: what it compiles for AVX2 crashes in the emulator.
BASELINE_TESTS := tests/unit/export/test_budget.py tests/unit/export/test_precision_graphs.py
test-baseline: setup  ## the numeric tests on an emulated processor without AVX-512; needs qemu-user
	@command -v qemu-x86_64 >/dev/null || { echo "qemu-x86_64 is missing: apt-get install qemu-user" >&2; exit 1; }
	ONEDNN_MAX_CPU_ISA=SSE41 qemu-x86_64 -cpu Haswell $(PY) -m pytest $(BASELINE_TESTS)

# A minute at several times what a server answers; on a machine that does nothing else.
bench-overload: setup  ## several times what a server answers: what it serves, what it refuses
	$(PY) -m tests.bench.serving.overload

# One and two servers behind HAProxy beside what `conch size` says of them; a quarter of an hour, on a machine that does
# nothing else. Needs haproxy.
bench-size: setup  ## what conch size predicts beside what one and two servers do
	$(CONCH) export cnn --if-changed
	$(PY) -m tests.bench.size

report: setup  ## put all proofs on one page
	$(CONCH) report

test: setup lint  ## set up, lint and test: what CI runs
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || echo "without Chromium, tests of conch page are skipped: apt-get install chromium"
	@PATH="$$PATH:/usr/sbin" command -v nginx >/dev/null || echo "without nginx, tests of TLS in front of Triton are skipped: apt-get install nginx"
	$(PY) -m pytest tests/unit -m "not long" --numprocesses 3 --dist worksteal
	@# A worker a core: with three, searches and promises of the load tests fail for want of it now and then.
	$(PY) -m pytest tests/live -m "not timing and not long" --numprocesses 2 --dist loadfile
	$(PY) -m pytest tests/live -m "timing and not long"

test-quick: setup  ## style, and the unit tests that take no seconds: most faults, in about a minute
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(PY) -m pytest tests/unit -m "not slow and not long" --numprocesses 3 --dist worksteal

lint: setup  ## formatting, lint, types and import rules
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	@# The backend's files import each other by their bare names, as in Triton's stub, whose module path is their folder.
	MYPYPATH=serving/backends/onnxruntime $(VENV)/bin/mypy --explicit-package-bases serving/backends/onnxruntime/*.py
	MYPYPATH=serving/backends/tokenizer $(VENV)/bin/mypy --explicit-package-bases serving/backends/tokenizer/*.py
	$(VENV)/bin/lint-imports

# For a recipe: the size and the name of each of its "$$@" that is there.
SAY := for path; do [ -e "$$path" ] || [ -L "$$path" ] && du -sh "$$path"; done
CACHES := .pytest_cache .mypy_cache .ruff_cache .import_linter_cache build dist *.egg-info
MADE_BY_RUNS := bench bench-gpu calls checkpoints exporter-failures headline models report server tensorboard trainings tune

clean:  ## remove caches and what a build left, and say so
	@echo "removing caches and what builds left:"
	@set -- $(CACHES); $(SAY); rm -rf "$$@"
	@find . -path './.?*' -prune -o -name __pycache__ -prune -exec rm -rf {} + -print | sed -n '$$='  | sed 's/$$/	folders __pycache__/'

clean-all: clean  ## also remove .venv and what runs left in artifacts; asks first
	@set -- $(VENV) $(BENCH_VENV); for name in $(MADE_BY_RUNS); do set -- "$$@" "$(CONCH_ARTIFACTS)/$$name"; done; \
	echo "removing environments and all that runs made:"; $(SAY); \
	if [ -t 0 ]; then printf 'Really? [y/N] '; read answer; [ "$$answer" = y ] || { echo "kept"; exit 0; }; fi; \
	rm -rf "$$@"; rmdir "$(CONCH_ARTIFACTS)" 2>/dev/null || true

# The ONNX files of others that make test leaves out, and a load by `tune` of each model that the live tests publish, one
# after the other.
test-long: setup  ## what takes too long for make test: all foreign ONNX files, tune on every model
	$(PY) -m pytest tests/unit tests/live -m long

# The wheel, built, installed into new environments and used in an empty folder; some minutes, most of them pip's.
test-wheel: setup  ## the wheel, used in an empty folder; minutes, most of them pip's
	tests/support/wheel.sh $(ACCEL)
