# `make` lists the targets. CLUSTER=current runs demo and e2e on the kubeconfig's current context
# instead of the local cluster, with the chart values of the file VALUES (docs/local-cluster.md).
# ONLY="client pack" runs some of the benchmarks, ROWS the memory benchmark on so many rows (docs/performance.md).

PYTHON ?= python3
CLUSTER ?= local
VALUES ?=
ROWS ?=
export CLUSTER VALUES ROWS

# What outlives a clone: the local cluster's programs and images, and what mypy knows of the code.
CACHE := $(or $(NPU_DISTILL_CACHE),$(HOME)/.cache/npu-distill)
VENV := .venv
RUN := $(VENV)/bin/python
export PYTHONPATH := operator:job_runtime:examples/arithmetic:.
# The tests start hundreds of processes; MindFormers alone takes six seconds more to import when nothing is compiled.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help venv generate check unit e2e test demo bench lock golden images cluster-up cluster-down cluster-status clean .FORCE

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z][a-z0-9-]*:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: ## Install the locked dependencies into .venv.
	@cmp -s requirements.lock $(VENV)/installed.lock || $(MAKE) --no-print-directory $(VENV)/installed.lock

$(VENV)/installed.lock: .FORCE
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "npu-distill needs Python 3.11: make PYTHON=python3.11 …")'
	@test ! -L $(VENV) || { echo "$(VENV) is a link, and what it leads to is not cleared: remove the link"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' requirements.lock)"
	$(VENV)/bin/uv pip install --python $(VENV) -r requirements.lock
	@cp requirements.lock $@

generate: venv ## Write crds/, the chart's copy and docs/reference.md from the API models.
	$(RUN) -m distill_operator.api .

golden: venv ## Rewrite the golden files of the tests, to be read in review.
	$(RUN) -m pytest tests/unit tests/e2e/test_chart.py --update-golden

check: venv ## Format, lint, types, import contracts, generated files.
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy --cache-dir $(CACHE)/mypy -p distill_operator -p distill_runtime -p tests.cluster -p tests.harness
	$(VENV)/bin/lint-imports
	$(RUN) -m distill_operator.api . --check

unit: venv ## Run the unit tests: no cluster; loopback only, once what reads our outputs is installed.
	$(RUN) -m pytest tests/unit --numprocesses 3 --dist loadfile --no-loadscope-reorder

e2e: venv ## Run the end-to-end tests on a real Kubernetes.
	$(RUN) -m pytest tests/e2e --numprocesses 2 --dist loadfile --no-loadscope-reorder

# Together: what waits for Pods leaves the processors to what does not.
test: check ## Everything that CI runs.
	$(RUN) -m pytest tests/unit tests/e2e --numprocesses 4 --dist loadfile --no-loadscope-reorder

demo: venv ## Distil a student on a real Kubernetes, from examples/arithmetic to its score.
	$(RUN) -m tests.harness.demo

bench: venv ## Measure against peers, side by side in the same run.
	$(RUN) -m bench $(ONLY)

lock: venv ## Resolve every dependency anew into requirements.lock.
	{ sed -n '/^#/p' requirements.lock; $(VENV)/bin/uv pip compile --quiet --no-header --no-annotate --upgrade \
	  --python-version 3.11 --python-platform x86_64-manylinux_2_28 --all-extras pyproject.toml; } > requirements.new
	mv requirements.new requirements.lock

images: venv ## Build the images and load them into the local cluster.
	$(RUN) -m tests.cluster images

cluster-up: venv ## Start the local Kubernetes: two nodes, DNS, Helm.
	$(RUN) -m tests.cluster up

cluster-down: venv ## Stop it, leaving nothing behind.
	$(RUN) -m tests.cluster down

cluster-status: venv ## Say how it is.
	$(RUN) -m tests.cluster status

clean: ## Remove what was built in the tree.
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
