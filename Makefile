# Two commands do everything on a fresh machine: `make demo` and `make test`. Each sets .venv up first.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
JOBS   ?= 2

.PHONY: demo test lint bench claims clean

demo: $(READY)
	$(BIN)/sparring demo

test: $(READY)
	$(BIN)/python -m pytest -n $(JOBS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/mypy

# The peers come without their dependencies: two of them ask for torchvision, which would replace torch.
bench: $(READY)
	$(BIN)/pip install --quiet --no-deps torchattacks==3.5.1 foolbox==3.3.4 adversarial-robustness-toolbox==1.20.1 adv-lib==0.2.8
	$(BIN)/pip install --quiet --constraint constraints.txt eagerpy==0.30.0 gitpython==3.2.1 requests==2.34.2 six==1.17.0 tqdm==4.70.1
	$(BIN)/python -m benchmarks

# torch first and alone, so that its CPU build is the one every later requirement finds already there.
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[video,dev]'
	touch $(READY)

# Makes the figures of the pages again, those that fit into twenty minutes, and says what differs.
claims: $(READY)
	$(BIN)/python -m benchmarks.claims

clean:
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
