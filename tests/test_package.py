"""What a user of the package gets: version, types, stubs and names, and an import that brings nothing else along."""

import ast
import importlib
import importlib.metadata
import json
import operator
import re
import subprocess
import sys
from pathlib import Path

import pytest

import jadro
from jadro import _core

ROOT = Path(__file__).parent.parent
PACKAGE = Path(jadro.__file__).parent
USED_LATER = ("safetensors", "tqdm", "matplotlib", "cupy", "sklearn", "onnx", "torch", "jadro._cuda", "jadro.train")


def in_child(code: str) -> str:
    """stdout of a fresh interpreter."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_brings_numpy_and_nothing_else():
    loaded = json.loads(in_child("import sys, json, jadro; print(json.dumps(sorted(sys.modules)))"))
    assert "numpy" in loaded
    assert not set(USED_LATER) & set(loaded)


@pytest.mark.parametrize(
    "use",
    [
        "jadro.save, jadro.load",
        "jadro.optim.Adam, jadro.optim.lr_scheduler.StepLR",
        "jadro.text.Vocabulary, jadro.data.DataLoader, jadro.train.Trainer",
        "jadro.nn.functional.relu, jadro.nn.init.zeros_, jadro.nn.utils.clip_grad_norm_",
        "jadro.testing.gradcheck",
    ],
)
def test_one_import_reaches_every_part(use):
    in_child(f"import jadro; {use}")


def test_no_part_has_names_that_it_lacks():
    for name in ("", ".nn", ".nn.functional", ".nn.init", ".nn.utils", ".optim", ".optim.lr_scheduler", ".testing"):
        module = importlib.import_module(f"jadro{name}")
        missing = [public for public in getattr(module, "__all__", []) if not hasattr(module, public)]
        assert not missing, name
    with pytest.raises(AttributeError, match="module 'jadro' has no attribute 'nowhere'"):
        jadro.nowhere  # noqa: B018


def test_version():
    """One number, in the package, in its native module and in what pip knows where it is installed."""
    assert re.fullmatch(r"\d+\.\d+\.\d+", jadro.__version__)
    assert _core.__version__ == jadro.__version__
    try:
        known = importlib.metadata.version("jadro")
    except importlib.metadata.PackageNotFoundError:  # run from the working tree, PYTHONPATH=python
        known = jadro.__version__
    assert known == jadro.__version__


def test_the_changelog_begins_with_this_version():
    assert re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M).group(1) == jadro.__version__


def test_types_are_shipped():
    for name in ("py.typed", "_core.pyi", "_cuda.pyi"):
        assert (PACKAGE / name).is_file(), name


# --- the stub of the native module -----------------------------------------------------------------------------------
def stub() -> dict[str, ast.arguments]:
    """Functions, and methods as Class.method."""
    found = {}
    for node in ast.parse((PACKAGE / "_core.pyi").read_text("utf-8")).body:
        for function, prefix in (
            [(f, f"{node.name}.") for f in node.body] if isinstance(node, ast.ClassDef) else [(node, "")]
        ):
            if isinstance(function, ast.FunctionDef):
                found[prefix + function.name] = function.args
    return found


def signature_of(name: str) -> str:
    return operator.attrgetter(name)(_core).__doc__.splitlines()[0]


def built(name: str) -> tuple[list[str], list[str]]:
    """Names of the arguments that pybind11 prints in the docstring: by place or name, and by name alone."""
    signature = signature_of(name)
    by_place, star, by_name = signature.partition("*, ")
    names = [re.findall(r"[(,] ?(\w+): ", f", {part}" if part is by_name else part) for part in (by_place, by_name)]
    return names[0], names[1] if star else []


def test_the_stub_lists_every_function():
    assert {name for name in dir(_core) if not name.startswith("_")} == {name.split(".")[0] for name in stub()}


@pytest.mark.parametrize("name", sorted(stub()))
def test_the_stub_has_the_arguments_of_the_function(name):
    arguments = stub()[name]
    assert built(name) == ([a.arg for a in arguments.args], [a.arg for a in arguments.kwonlyargs])


@pytest.mark.parametrize("name", sorted(stub()))
def test_the_stub_has_the_defaults_of_the_function(name):
    arguments = stub()[name]
    defaults = [ast.literal_eval(d) for d in [*arguments.defaults, *arguments.kw_defaults] if d is not None]
    signature = signature_of(name)
    assert [ast.literal_eval(d) for d in re.findall(r" = ([^,)]+)", signature)] == defaults


# --- the command ----------------------------------------------------------------------------------------------------
def test_the_package_run_as_a_program_tells_what_it_found():
    done = subprocess.run([sys.executable, "-m", "jadro"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stderr
    for word in (jadro.__version__, "instruction set", _core.available_isas()[0], "threads", "CUDA", "optional parts"):
        assert word in done.stdout
