# One-command loops for work on jadro. `make dev` builds the native modules in place; nothing here is needed to install it.
PYTHON ?= python3
BUILD ?= build/dev
PREFIX ?= python
CMAKE_ARGS ?=

.PHONY: dev test lint format bench sanitize clean

dev: ## build the native modules into python/jadro
	@cmake -S . -B $(BUILD) -G Ninja -Dpybind11_DIR=$$($(PYTHON) -m pybind11 --cmakedir) \
	  -DPython_EXECUTABLE=$$(command -v $(PYTHON)) -DJADRO_WERROR=ON -DSKBUILD_PROJECT_VERSION=0.1.0 $(CMAKE_ARGS) >/dev/null
	@cmake --build $(BUILD)
	@rm -f $(PREFIX)/jadro/_core*.so $(PREFIX)/jadro/_cuda*.so # a running Python keeps the file that it has mapped
	@cmake --install $(BUILD) --prefix $(PREFIX) >/dev/null

test: dev
	PYTHONPATH=$(CURDIR)/python $(PYTHON) -m pytest -q

lint:
	ruff check .
	ruff format --check .
	mypy
	clang-format --dry-run --Werror $$(git ls-files 'csrc/*.h' 'csrc/*.cpp' 'csrc/*.cu')

format:
	ruff check --fix .
	ruff format .
	clang-format -i $$(git ls-files 'csrc/*.h' 'csrc/*.cpp' 'csrc/*.cu')

bench: dev
	PYTHONPATH=$(CURDIR)/python $(PYTHON) -m benchmarks

sanitize: ## the native module under the address and undefined-behaviour sanitizers, into PREFIX
	$(MAKE) dev BUILD=build/sanitize \
	  CMAKE_ARGS="-DJADRO_SANITIZE=address,undefined -DJADRO_CUDA=OFF -DCMAKE_CXX_FLAGS_RELEASE=-O1"

clean:
	rm -rf build python/jadro/_core*.so python/jadro/_cuda*.so
