# make demo: train, judge and use a detector on built-in data. make test, make check: what .ci/run runs.
PY := .venv/bin/python
PYTHON ?= python3
STAMP := .venv/.installed

.PHONY: demo test check docs bench lock clean install

install: $(STAMP)

# uv installs in under a minute what pip takes minutes for; where it isn't on the PATH, pip puts it into .venv.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "veriscope needs Python 3.11 or newer; name one: make PYTHON=python3.12" >&2; exit 2; }
	@test -x $(PY) || $(PYTHON) -m venv .venv
	@command -v uv >/dev/null || test -x .venv/bin/uv || .venv/bin/python -m pip install --quiet uv
	@uv=$$(command -v uv || echo .venv/bin/uv); \
	$$uv pip install --quiet --python $(PY) --require-hashes -r requirements.lock && \
	$$uv pip install --quiet --python $(PY) --no-deps -e .
	@# uv leaves compiling to the first import. Where that may not write, every start would take 15 s longer, for ever.
	@# Files for newer Pythons than this one don't compile, and are never imported.
	@test -z "$$PYTHONDONTWRITEBYTECODE" || $(PY) -m compileall -qq -j 0 .venv/lib || true
	@touch $@

# Three commands that anybody could type; the folder's name is the only thing added.
DEMO = runs/demo_$(shell date +%Y-%m-%d_%H-%M-%S)
demo: $(STAMP)
	@run=$(DEMO); \
	$(PY) train.py experiment=demo paths.run_dir=$$run && \
	$(PY) evaluate.py bundle=$$run/bundle data=synthetic paths.run_dir=$$run/evaluation && \
	.venv/bin/veriscope predict $$run/bundle $$(ls -dt .cache/synthetic/*/test | head -1)/*/00000[0-2].jpg && \
	printf '%s\n' "" "The demo is done. Open, and type next:" \
	  "  report:  $$run/evaluation/report.html" \
	  "  bundle:  $$run/bundle  (its MODEL_CARD.md says what it can and can't do)" \
	  "  source .venv/bin/activate" \
	  "  veriscope predict $$run/bundle YOUR_PICTURE_OR_FOLDER" \
	  "  python train.py --help" \
	  "  python train.py model=xception_texture data=folder data.root=YOUR_FOLDER"

test: $(STAMP)
	@$(PY) -m pytest -n 2 --dist worksteal

check: $(STAMP)
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports

docs: $(STAMP)
	@.venv/bin/mkdocs build --strict --quiet

bench: $(STAMP)
	@.venv/bin/veriscope bench step
	@.venv/bin/veriscope bench predict

# What predict, explain and serve of an exported .onnx file need: no torch among them (docs/onnx.md).
ONNX_NEEDS = numpy pillow pydantic pyyaml rich safetensors onnxruntime fastapi uvicorn python-multipart prometheus-client jinja2

# Names, versions and hashes; no address of any index. The short list takes its versions from the long one.
lock: $(STAMP)
	@uv=$$(command -v uv || echo .venv/bin/uv); \
	$$uv pip compile pyproject.toml --extra dev --extra docs --extra sweep --extra cluster --extra hub --extra export --extra serve --extra video --extra faces --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --no-annotate --quiet --upgrade -o requirements.lock; \
	printf '%s\n' $(ONNX_NEEDS) | $$uv pip compile - --constraints requirements.lock --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --no-annotate --quiet --upgrade -o requirements-onnx.lock

clean:
	rm -rf .venv build dist site .cache .mypy_cache .ruff_cache .import_linter_cache
