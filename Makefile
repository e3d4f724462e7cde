# Each target works alone on a fresh clone.
PYTHON ?= python3
BIN := .venv/bin

# A folder with one folder of benchmark files for each data set; without it accuracy is not measured.
DATA ?= ../shared/data

.PHONY: setup demo test test-fast test-versions coverage lint docs bench profile chaos clean

setup: .venv/ready

.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

demo: setup
	$(BIN)/kgrec demo

# Two files of tests side by side, one thread each: on two cores that takes half the time of one after the other.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# Unit tests: no server, no text model to train, no other process.
test-fast: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

# Lines of the engine that the unit tests run; fails below the floor of pyproject.toml.
coverage: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow" --cov --cov-report=term:skip-covered

# The lowest versions that pyproject.toml allows, and another Python; downloads packages.
test-versions:
	scripts/try_versions.sh lowest python3.11
	scripts/try_versions.sh highest python3.13

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: setup
	$(BIN)/python benchmarks/bulk_load.py
	$(BIN)/python benchmarks/guarded_reads.py
	$(BIN)/python benchmarks/top_k.py
	$(BIN)/python benchmarks/encode.py
	$(BIN)/python benchmarks/main_job.py
	$(BIN)/python benchmarks/scale.py
	$(BIN)/python benchmarks/rdf_graph.py
	$(BIN)/python benchmarks/planted_leaks.py
	test -z "$$NEO4J_URI" || $(BIN)/python benchmarks/server_graph.py
	test ! -d $(DATA)/ml-100k || $(BIN)/python benchmarks/gnn_alone.py $(DATA)/ml-100k
	test ! -d $(DATA)/ml-1m-kg || ! nvidia-smi -L || $(BIN)/python benchmarks/gnn_on_gpu.py $(DATA)/ml-1m-kg
	test ! -d $(DATA)/ml-100k || $(BIN)/python benchmarks/serve.py $(DATA)/ml-100k
	test ! -d $(DATA) || $(BIN)/python benchmarks/accuracy.py $(DATA)
	test ! -d $(DATA)/ml-1m-kg || $(BIN)/python benchmarks/cold_items.py $(DATA)/ml-1m-kg
	test ! -d $(DATA)/amazon-art-office || $(BIN)/python benchmarks/no_links.py $(DATA)/amazon-art-office/cold
	test ! -d $(DATA)/ml-1m-kg || $(BIN)/python benchmarks/refresh.py $(DATA)/ml-1m-kg
	test ! -d $(DATA)/ml-1m-kg || $(BIN)/python benchmarks/forget.py $(DATA)
	test ! -d $(DATA)/amazon-art-office/warm || $(BIN)/python benchmarks/two_domains.py $(DATA)/amazon-art-office/warm
	test ! -d $(DATA)/amazon-art-office/warm || $(BIN)/python benchmarks/tune.py $(DATA)/amazon-art-office/warm
	test ! -d $(DATA)/amazon-art-office/warm || $(BIN)/python benchmarks/balance.py $(DATA)/amazon-art-office/warm
	test ! -d $(DATA)/amazon-art-office/cold || $(BIN)/python benchmarks/rerank.py $(DATA)/amazon-art-office/cold \
		--set signals=popularity,item_knn,embeddings,tfidf,cross_domain_ae --set budget=60s \
		--set rerank.top=20 --set rerank.steps=100 --set rerank.max_tokens=128
	$(BIN)/python benchmarks/make_tables.py

profile: setup
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/cost.py $(DATA)

chaos: setup
	$(BIN)/python benchmarks/chaos.py

clean:
	rm -rf .venv build dist demo
