# What a newcomer needs. `make` alone lists it.

PORT ?= 8000
PYTHON ?= python3
RELEASE = target/release
DEMO_ENGINE = build/demo-engine
CLIENTS = .venv/installed

help:
	@echo 'make demo    build everything, serve the demo model, score two answers  (PORT=8000)'
	@echo 'make stop    stop the server that make demo left running'
	@echo 'make test    every test: Rust, C++, and real clients against a real server'
	@echo 'make test-mpirun  ranks of engines for GPUs under Open MPI  (needs mpirun)'
	@echo 'make test-monitoring  alerts and dashboard over a real Prometheus  (needs prometheus)'
	@echo 'make test-pages  the pages in headless Chromium  (needs chromium)'
	@echo 'make test-kills  a scoring run killed a hundred times'
	@echo 'make check-trtllm-headers TRTLLM_ROOT=DIR   compile against the headers of TensorRT-LLM there'
	@echo 'make lint    formatting and warnings, of Rust and C++'
	@echo 'make deny    licences and known faults of dependencies  (needs cargo-deny)'
	@echo 'make check-deploy  the Helm chart and the systemd unit  (needs helm)'
	@echo 'make check-docker  what the entry script of the images starts; shellcheck and hadolint where they are'
	@echo 'make accept  tests/gpu/accept.sh on the CPU: build, serve, compare with transformers, time, kill  (PYTHON with torch)'
	@echo 'make deps    install what is missing (Debian or Ubuntu)'

# Does nothing where nothing is missing.
deps:
	@tools/install-deps.sh

# --- The demo ---

demo: deps
	@$(MAKE) --no-print-directory $(DEMO_ENGINE)/engine.yaml $(CLIENTS)
	@tools/demo.sh $(RELEASE)/assay $(DEMO_ENGINE) $(PORT)

stop:
	@if [ -f build/demo.pid ] && kill "$$(cat build/demo.pid)" 2>/dev/null; \
	then echo 'stopped'; else echo 'no demo server is running'; fi; rm -f build/demo.pid

$(DEMO_ENGINE)/engine.yaml: $(wildcard engines/demo/*) $(RELEASE)/build-engine
	rm -rf $(DEMO_ENGINE)
	$(RELEASE)/build-engine --model engines/demo --target cpu --output $(DEMO_ENGINE) --name demo

# Cargo knows best what has changed; the file keeps its time where nothing has.
$(RELEASE)/build-engine: always
	cargo build --release --locked --bins

# The `openai` package, pytest and numpy, in an environment of their own.
$(CLIENTS): tests/wire/requirements.txt tests/trtllm_checkpoint/requirements.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check $(foreach file,$^,-r $(file))
	touch $@

# --- Tests ---

test: deps
	@$(MAKE) --no-print-directory test-rust test-cpp test-trtllm test-wire test-checkpoint

test-rust:
	cargo test --locked

test-cpp:
	cmake -S cpp -B build/cpp -DCMAKE_BUILD_TYPE=Release
	cmake --build build/cpp --parallel
	ctest --test-dir build/cpp --output-on-failure

# What drives TensorRT-LLM, over a library of our own in its place: in C++ alone, with sanitizers too, and
# behind the server.
STAND_IN = build/trtllm-stand-in
WITH_STAND_IN = TRTLLM_ROOT=$(CURDIR)/$(STAND_IN) cargo
test-trtllm: stand-in
	for sanitizer in '' address,undefined thread; do \
	    name=$${sanitizer%%,*} && build=build/trtllm-$${name:-plain} && \
	    cmake -S tests/trtllm -B $$build -DASSAY_SANITIZE=$$sanitizer && \
	    cmake --build $$build --parallel && ctest --test-dir $$build --output-on-failure || exit 1; \
	done
	$(WITH_STAND_IN) test --locked --features trtllm-stand-in --test trtllm
	@if command -v mpirun >/dev/null; then $(MAKE) --no-print-directory test-mpirun; \
	else echo 'no mpirun here: a script started the ranks in its place'; fi

# Its ranks under Open MPI's own launcher (Debian: apt-get install openmpi-bin).
test-mpirun: stand-in
	ASSAY_MPIRUN=mpirun $(WITH_STAND_IN) test --locked --features trtllm-stand-in --test trtllm -- --include-ignored ranks::

stand-in:
	cmake -S tests/trtllm -B build/trtllm-plain -DCMAKE_INSTALL_PREFIX=$(CURDIR)/$(STAND_IN)
	cmake --build build/trtllm-plain --parallel --target install

# Whether what drives TensorRT-LLM fits the headers of the library in TRTLLM_ROOT, without a GPU or the library
# itself: they need CUDA's too, in CUDA_INCLUDE (several folders: separated by spaces).
CUDA_INCLUDE ?= /usr/local/cuda/include
check-trtllm-headers:
	@test -f '$(TRTLLM_ROOT)/include/tensorrt_llm/executor/executor.h' || \
	    { echo 'TRTLLM_ROOT is to hold include/tensorrt_llm/executor/executor.h' >&2; exit 1; }
	for source in tests/trtllm/signatures.cc cpp/trtllm/executor.cc; do \
	    $(CXX) -std=c++20 -Wall -Wextra -Wpedantic -Werror -c -o /dev/null -Icpp \
	        -isystem $(TRTLLM_ROOT)/include $(addprefix -isystem ,$(CUDA_INCLUDE)) $$source || exit 1; \
	done

# With the binaries that `cargo test` has built already.
test-wire: $(CLIENTS)
	cargo build --locked --bins
	.venv/bin/python -m pytest tests/wire

# What build-engine writes for trtllm-build, against a reading of TensorRT-LLM's layout of its own.
test-checkpoint: $(CLIENTS)
	cargo build --locked --bins
	.venv/bin/python -m pytest tests/trtllm_checkpoint

# Alerts and dashboard over a real Prometheus (Debian: apt-get install prometheus).
test-monitoring: $(CLIENTS)
	cargo build --locked --bins
	.venv/bin/python -m pytest -q -p no:cacheprovider tests/monitoring

# The playground and the report in headless Chromium (Debian: apt-get install chromium).
test-pages: $(CLIENTS)
	cargo build --locked --bins
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -r tests/pages/requirements.txt
	.venv/bin/python -m pytest -q -p no:cacheprovider tests/pages

# A run of `assay score` killed a hundred times: some minutes.
test-kills: $(CLIENTS)
	cargo build --locked --bins
	ASSAY_KILLS=100 .venv/bin/python -m pytest tests/wire/test_score.py -k killed

# --- Style ---

CXX_FILES = $(shell git ls-files 'cpp/*.cc' 'cpp/*.h' 'tests/trtllm/*.cc' 'tests/trtllm/*.h')

# C++ warnings are errors wherever it is built: see cpp/CMakeLists.txt.
lint: deps stand-in
	cargo fmt --check
	clang-format --style=file:cpp/.clang-format --dry-run -Werror $(CXX_FILES)
	cargo clippy --locked --all-targets -- -D warnings
	$(WITH_STAND_IN) clippy --locked --all-targets --features trtllm-stand-in -- -D warnings

# Chart and unit, with the tools of their own; needs helm.
check-docker:
	docker/check.sh

# Takes minutes, and a Python with torch and transformers: PYTHON=... On a GPU it is run in the GPU image.
accept: $(RELEASE)/build-engine
	tests/gpu/accept.sh --target cpu --binaries $(RELEASE) --python $(PYTHON)

check-deploy:
	deploy/check.sh

deny:
	cargo deny --locked check

.PHONY: help deps demo stop test test-rust test-cpp test-trtllm stand-in test-mpirun check-trtllm-headers test-wire test-checkpoint test-pages test-monitoring test-kills lint check-docker accept deny check-deploy always
.DELETE_ON_ERROR:
