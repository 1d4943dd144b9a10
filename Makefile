# QueueCTL. Two commands do all the set-up on a machine that has python3, pip and make:
#     make demo     the queue at work, on a few hundred real jobs
#     make test     everything the tests need, then everything tested
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# Further arguments for pytest: make test ARGS="-k smoke"
ARGS   ?=
# Tests that run at once, on two cores: most of the time they wait for processes. JOBS=0 is one after the other, for a debugger.
JOBS   ?= 3
# What people install, on whatever they have.
SHIPPED := queuectl plugins/queuectl-apprise/queuectl_apprise plugins/queuectl-docker/queuectl_docker \
	plugins/queuectl-example/queuectl_example.py plugins/queuectl-redis/queuectl_redis

.DEFAULT_GOAL := help
.PHONY: help demo test pytest lint bench faults mutants docs format dev clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

demo: .ready-run  ## the queue at work: several hundred real jobs, no server, under a minute
	@$(BIN)/python examples/demo/demo.py

test: lint pytest  ## all tests and linters

pytest: .ready-dev  ## the tests alone
	@$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

lint: .ready-dev  ## ruff, and mypy for Linux, macOS and Windows
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy --platform linux
	@$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin $(SHIPPED)
	@$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32 $(SHIPPED)

docs: .ready-dev  ## write the pages of docs/reference that the code can tell
	@$(BIN)/python tools/reference.py

format: .ready-dev  ## let ruff put the code in order
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: .ready-run  ## every benchmark, with its bars, beside its peers (twenty minutes; QUICK=1: a trial that judges nothing)
	@$(BIN)/python -m benchmarks --save .bench/result.json $(if $(QUICK),--quick) $(ARGS)

faults: .ready-dev  ## every fault to its full target, figures in .faults/report.jsonl (hours; some only as root)
	@mkdir -p .faults && rm -f .faults/report.jsonl
	@QUEUECTL_FAULTS=full QUEUECTL_FAULTS_REPORT=$(CURDIR)/.faults/report.jsonl $(BIN)/python -m pytest --timeout 14400 \
		tests/faults tests/simulation tests/contracts/test_sqlite.py tests/contracts/test_memory.py \
		plugins/queuectl-docker/tests plugins/queuectl-redis/tests $(ARGS)

mutants: .ready-dev  ## take each guard out of a copy and see whether the tests notice (a quarter of an hour)
	@$(BIN)/python tests/mutation/run.py $(ARGS)

dev: .ready-dev  ## .venv with all that the tests need, and no more

clean:  ## remove .venv and every cache
	@rm -rf $(VENV) .demo .faults .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Not files: the script has its own stamp and costs nothing when there is nothing to do.
.PHONY: .ready-run .ready-dev
.ready-run:
	@$(PYTHON) tools/setup.py --venv $(VENV)
.ready-dev:
	@$(PYTHON) tools/setup.py --dev --venv $(VENV)
