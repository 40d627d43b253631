"""The house stays as docs/architecture.md draws it: dependencies point one way, and an op's files share its stem."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CSRC, PACKAGE = ROOT / "csrc", ROOT / "python" / "jadro"

# What each folder of csrc may include.
INCLUDES = {
    "core": {"core"},
    "kernels": {"kernels", "core"},
    "ops": {"ops", "core"},  # kernels are reached through core/kernel_table.h only
    "cuda": {"cuda", "kernels", "core"},
    "bindings": {"bindings", "ops", "core", "cuda"},
}

# Each module of the package imports from its own height or below.
HEIGHT = {
    "_core": 0, "_cuda": 0, "_version": 0,
    "backend": 1, "tensor": 1, "autograd": 1, "hooks": 1, "random": 1, "config": 1,
    "ops": 2,
    "nn": 3, "optim": 3, "testing": 3,
    "data": 4, "gradient_flow": 4, "text": 4, "serialization": 4, "train": 5, "onnx": 5,
}  # fmt: skip


@pytest.mark.parametrize("folder", sorted(INCLUDES))
def test_includes_point_down(folder):
    wrong = []
    for path in (CSRC / folder).rglob("*.[chCu]*"):
        for included in re.findall(r'^\s*#include "([^"]+)"', path.read_text(), re.MULTILINE):
            if included.split("/")[0] not in INCLUDES[folder]:
                wrong.append(f"{path.relative_to(ROOT)} includes {included}")
    assert not wrong


def test_every_folder_of_csrc_has_its_place():
    assert {path.name for path in CSRC.iterdir() if path.is_dir()} <= set(INCLUDES)


def imports(path):
    """First names, below jadro, of the modules that a file of the package imports when it runs."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for node in ast.walk(block)
    }
    package = ["jadro", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = [*base, *(node.module.split(".") if node.module else [])]
            names = [".".join(base)] if len(base) > 1 else [".".join([*base, alias.name]) for alias in node.names]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("jadro."))


def test_imports_point_down():
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if own in ("__init__", "__main__"):
            continue  # the front door sees every room
        for name in imports(path):
            if HEIGHT.get(name, 99) > HEIGHT[own]:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong


def test_the_package_imports_neither_tests_nor_benchmarks_nor_peers():
    foreign = {"tests", "benchmarks", "examples", "torch", "jax", "onnxruntime", "hypothesis", "pytest"}
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        names = {alias.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names}
        names |= {n.module.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module}
        assert not names & foreign, path


# The tape's files are no op's: they serve autograd.py and tensor.py.
BINDINGS = {
    p.stem for p in (CSRC / "bindings").glob("*.cpp") if p.stem.split("_")[0] not in ("module", "runtime", "tape")
}
# An op, not a second door to one, as rnn_stepper is to rnn.
STEMS = sorted(b for b in BINDINGS if not b.startswith(("cuda_", *(other + "_" for other in BINDINGS))))
# The matrix product is the Python op `linear`; the steps belong to the optimizers.
PYTHON = {"gemm": "ops/linear.py", "optim": "optim/optimizer.py"}


@pytest.mark.parametrize("stem", STEMS)
def test_same_stem_everywhere(stem):
    files = [
        CSRC / "kernels" / f"{stem}.h",
        CSRC / "ops" / f"{stem}.cpp",
        CSRC / "cuda" / f"{stem}.cu",
        CSRC / "bindings" / f"cuda_{stem}.cpp",
        PACKAGE / PYTHON.get(stem, f"ops/{stem}.py"),
        PACKAGE / "testing" / "reference" / f"{stem}.py",
        PACKAGE / "testing" / "cases" / f"{stem}.py",
        ROOT / "tests" / f"test_{stem}.py",
        ROOT / "benchmarks" / f"bench_{stem}.py",
    ]
    assert not [str(path.relative_to(ROOT)) for path in files if not path.exists()]


def test_files_stay_short():
    """Under 500 lines each: what no longer fits wants to be two."""
    files = [p for folder in ("csrc", "python", "tests", "benchmarks", "examples") for p in (ROOT / folder).rglob("*")]
    long = {
        str(p.relative_to(ROOT)): lines
        for p in files
        if p.suffix in (".h", ".cpp", ".cu", ".py", ".pyi") and (lines := len(p.read_text().splitlines())) >= 500
    }
    assert not long


def test_functions_stay_short():
    """Under 60 lines each, docstrings apart."""
    long = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
                lines = body[-1].end_lineno - body[0].lineno + 1
                if lines >= 60:
                    long[f"{path.relative_to(ROOT)}: {node.name}"] = lines
    assert not long
