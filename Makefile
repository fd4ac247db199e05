# make demo   set everything up and run the first program in a container
# make test   set everything up and run the tests
# make quick  the same for the tests of the processor, which take less than a minute; CONTRIBUTING.md says what else there is
# Needs Python 3.11 or later, and nothing else: no root, no compiler.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet
TESTS  ?= tests
PYTEST_FLAGS ?= -n 2
QUICK  := $(addprefix tests/,emu mmu mmu_model pku loader)

.PHONY: demo test quick images debug-images lint docs notebooks wheel clean
.DELETE_ON_ERROR:

demo: images
	$(BIN)/paracell run --stats hello

test: debug-images $(VENV)/.test
	$(BIN)/python -m pytest $(PYTEST_FLAGS) $(TESTS)

quick: $(VENV)/.test
	$(BIN)/python -m pytest -q $(PYTEST_FLAGS) $(QUICK)

images: $(VENV)/.base
	$(BIN)/python guest/build.py

debug-images: images
	$(BIN)/python guest/build.py --debug

lint: $(VENV)/.lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# The report of a comparison is a page of the manual: measured from these sources, once for each change of them.
COMPARED := null,fork,cold,refault,sleep,grow
docs: images $(VENV)/.docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	$(BIN)/paracell compare --quick --rows $(COMPARED) --out docs/_build/compared --html docs/_build/html/compare-report.html >/dev/null

notebooks: images $(VENV)/.test
	$(BIN)/python docs/execute.py

wheel: $(VENV)/.base
	$(BIN)/python -m hatchling build -t wheel

# The editable install builds in the environment that the wheel's builder and the images share: one compiler, fetched once.
$(VENV)/.base: pyproject.toml hatch_build.py
	@test -n "$(PYTHON)" || { echo "paracell: Python 3.11 or later is needed: set PYTHON" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install "hatchling>=1.27" "editables>=0.5" "attrs>=24.2" "ziglang==0.17.1"
	$(PIP) install --no-build-isolation --editable .
	touch $@

$(VENV)/.test $(VENV)/.lint $(VENV)/.docs: $(VENV)/.%: $(VENV)/.base
	$(PIP) install --no-build-isolation --editable ".[$*]"
	touch $@

clean:
	rm -rf $(VENV) guest/images docs/_build dist
