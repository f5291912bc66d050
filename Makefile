# supir's build. `make` alone lists what there is to make.
#
#   make demo      from nothing to a restored photograph
#   make test      from nothing to all tests
#
# Both install what is missing first, and say what (scripts/setup.sh).
#
# Variables, on the command line or in the environment:
#
#   GGML_DIR     an installed copy of ggml to use instead of the system's
#   TAGS         build tags; onednn where it is found. `make TAGS= test` tests
#                the portable code alone
#   PKGS         the packages to test, ./... by default
#   TESTFLAGS    more flags for go test, such as -run 'Zero.*' or -v
#   RACE         -race; empty where the race detector does not exist

PKGS      ?= ./...
TESTFLAGS ?=
RACE      ?= -race
PYTHON    ?= python3

# Recipes start with this: what the build needs may have been installed a
# moment ago, so the environment is worked out when a recipe runs.
ENV = . scripts/env.sh &&

.PHONY: help setup build demo paper train test test-csrc test-train lint fmt bench ggml clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile

setup: ## install what is missing (a compiler, ggml, oneDNN)
	@scripts/setup.sh $(or $(filter demo test build paper,$(MAKECMDGOALS)),test)

build: setup ## build bin/supir
	@mkdir -p bin
	$(ENV) go build -tags "$$TAGS" -o bin/ ./cmd/supir

demo: build ## restore a photograph with the embedded model, into demo/
	@$(ENV) scripts/demo.sh

# make paper PHOTOS=~/pictures [OUT=paper] [LABFLAGS="--pictures 4 --budget 1h"]
PHOTOS   ?=
OUT      ?= paper
LABFLAGS ?=
paper: setup ## repeat the paper's experiments on the folder PHOTOS, into OUT
	$(ENV) go run -tags "$$TAGS" ./cmd/supir-lab all $(if $(PHOTOS),--photos "$(PHOTOS)") --out "$(OUT)" $(LABFLAGS)

# Tests are built with the race detector and run in a random order, printed
# with failures. Vulkan is tested on Mesa's CPU device where Mesa is installed, if
# it is new enough for Vulkan 1.4 (older ones crash under ggml): ggml leaves it
# out unless it is named, by number. The race detector takes memory of its own, so that what
# measures memory runs without it.
test: setup lint test-csrc ## run all tests (but for train/)
	@$(ENV) if grep -qs '"api_version": "1\.[4-9]' /usr/share/vulkan/icd.d/lvp_icd*.json; then \
		export GGML_VK_VISIBLE_DEVICES="$${GGML_VK_VISIBLE_DEVICES-0}"; \
	fi; set -x; go test -tags "$$TAGS" $(RACE) -shuffle=on -timeout 30m $(TESTFLAGS) $(PKGS) && \
	go test -tags "$$TAGS" -run 'TestPeak$$' $(TESTFLAGS) .

# The kernels' own tests, where there are any and CMake is there to build them.
test-csrc: setup ## run the C++ kernels' own tests
	@if ! ls csrc/tests/*.cpp >/dev/null 2>&1; then exit 0; fi; \
	if ! command -v cmake >/dev/null; then echo "no cmake: leaving out csrc/tests"; exit 0; fi; \
	$(ENV) cmake -S . -B build/csrc && cmake --build build/csrc && \
	ctest --test-dir build/csrc --output-on-failure

# make train RUN=runs/one [HOURS=8] [TRAINFLAGS="--variants"], and again to go on
RUN        ?= train/runs/small
HOURS      ?= 8
TRAINFLAGS ?=
train: ## train the small model into RUN, in HOURS (wants PyTorch)
	@$(PYTHON) -c 'import torch, scipy, PIL, safetensors' || { \
		echo "train/ wants: $(PYTHON) -m pip install -r train/requirements.txt" >&2; exit 1; }
	$(PYTHON) -m train.all --run "$(RUN)" --hours $(HOURS) --bf16 $(TRAINFLAGS)

# Training is Python with PyTorch, which nothing else here needs.
test-train: ## run the tests of train/ (wants PyTorch and pytest)
	@$(PYTHON) -c 'import torch, pytest' || { \
		echo "train/ wants PyTorch and pytest: $(PYTHON) -m pip install torch pytest" >&2; exit 1; }
	$(PYTHON) -m pytest -q train

lint: setup ## gofmt, vet and staticcheck
	@$(ENV) out=$$("$$(go env GOROOT)/bin/gofmt" -l .) || exit 1; [ -z "$$out" ] || { \
		echo "not gofmt'ed (make fmt):"; echo "$$out"; exit 1; }
	$(ENV) go vet -tags "$$TAGS" $(PKGS)
	$(ENV) go tool staticcheck -tags "$$TAGS" $(PKGS)

fmt: ## format the Go code
	$(ENV) "$$(go env GOROOT)/bin/gofmt" -w .

bench: setup ## run the benchmarks
	$(ENV) go test -tags "$$TAGS" -run '^$$' -bench . -benchmem $(TESTFLAGS) $(PKGS)

# make ggml GGML_SOURCE=~/src/ggml CMAKEFLAGS="-DGGML_CUDA=ON"
# and then make demo GGML_DIR=build/ggml
CMAKEFLAGS ?=
ggml: ## build ggml from the source folder GGML_SOURCE, into build/ggml
	@[ -f "$(GGML_SOURCE)/include/ggml.h" ] || { \
		echo "make ggml GGML_SOURCE=/path/to/a/source/folder/of/ggml [CMAKEFLAGS=\"-DGGML_CUDA=ON\"]" >&2; exit 1; }
	@command -v cmake >/dev/null || { echo "make ggml wants cmake 3.20 or newer" >&2; exit 1; }
	cmake -S . -B build/ggml-build -DSUPIR_GGML_SOURCE="$(abspath $(GGML_SOURCE))" \
		-DSUPIR_GGML_PREFIX="$(CURDIR)/build/ggml" -DSUPIR_CSRC=OFF $(CMAKEFLAGS)
	CMAKE_BUILD_PARALLEL_LEVEL=$${CMAKE_BUILD_PARALLEL_LEVEL:-$$(getconf _NPROCESSORS_ONLN)} \
		cmake --build build/ggml-build
	@echo "ggml is built; use it with: make demo GGML_DIR=build/ggml"

clean: ## remove what was built: bin, build, demo (not paper)
	rm -rf bin build demo
