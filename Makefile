# The commands that a person types. `make demo` and `make test` install what they need.
.PHONY: help setup demo demo-pod programs standin ansible test unit lint man proto rpms molecule conformance collection bench soak clean

# Tools of the venv first; iptables and runc may be in sbin, which not every root has in its PATH.
export PATH := $(CURDIR)/.venv/bin:$(PATH):/usr/sbin:/sbin

PYTHON := $(CURDIR)/.venv/bin/python
# Further arguments: make test ARGS='-k storage -x'
ARGS ?=

help: ## Show the targets
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 10

setup: ## Install what the other targets need (they do it by themselves)
	@scripts/setup

demo: setup ## Packages, a fresh host, the playbook, a kubelet, a pod; removed again (root; ARGS=--keep)
	@scripts/demo $(ARGS)

demo-pod: setup ## Run a pod without all that: a registry, an image, a pod, and nothing left
	@scripts/demo-pod

programs: setup ## Build the programs of Kubernetes that tests run (three minutes, once)
	@$(PYTHON) -m tests.support.kubernetes >/dev/null

standin: setup ## Make the stand-in for Rawhide and our packages that tests install (minutes, once)
	@$(PYTHON) -m tests.support.standin --for-tests >/dev/null

ansible: setup ## Have Ansible and Molecule in a venv of their own
	@scripts/molecule --install

test: programs standin ansible ## Run the whole test suite (root; twenty minutes)
	@$(PYTHON) -m pytest --durations=15 $(ARGS)

unit: setup ## Run the tests that need neither root nor other programs
	@$(PYTHON) -m pytest --durations=5 tests/unit $(ARGS)

lint: setup ## Check the code: ruff, mypy --strict, codespell, and the layers
	@$(PYTHON) -m pytest -q tests/unit/test_linters.py tests/unit/test_layers.py tests/unit/test_project.py $(ARGS)

man: setup ## Write the man pages into docs/man
	@$(PYTHON) -m trilby.cli.manpage docs/man

proto: setup ## Write the messages' Python modules from the .proto files beside them
	@$(PYTHON) -m grpc_tools.protoc -Isrc --python_out=src --pyi_out=src \
		src/trilby/cri/proto/*.proto src/trilby/cri/nri/proto/*.proto

rpms: setup ## Build signed packages for Fedora Rawhide and a repository of them: build/rpms
	@scripts/rpms $(ARGS)

soak: setup ## 500 pods one after the other: what the daemon holds must not grow
	@$(PYTHON) -m tests.bench --only soak $(ARGS)

molecule: programs ## Make nodes of fresh hosts by Ansible, and look at them (root; ARGS=SCENARIO)
	@scripts/molecule $(ARGS)

conformance: setup ## Run Kubernetes' conformance suite on a cluster of fresh hosts (root; an hour)
	@scripts/conformance $(ARGS)

collection: setup ## Check the Ansible collection, and build it: build/trilby-node-*.tar.gz
	@scripts/molecule --collection

bench: setup ## Compare with podman and skopeo (see tests/bench); JSON in build/bench.json
	@$(PYTHON) -m tests.bench $(ARGS)

clean: ## Remove the venv, caches and build files
	@rm -rf .venv build .mypy_cache .ruff_cache .pytest_cache .hypothesis src/*.egg-info
	@find src tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
