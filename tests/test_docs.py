"""The documents name files, links and make targets that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
FOLDERS = (".ci", "benchmarks", "csrc", "docs", "examples", "python", "tests")
FILES = [p.relative_to(ROOT).as_posix() for folder in FOLDERS for p in (ROOT / folder).rglob("*.*")]
FILE_NAME = re.compile(r"`([\w./-]+\.(?:py|pyi|h|cpp|cu|cmake|md))`")


def test_documents_are_found():
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "architecture.md", "adding-an-op.md"} <= {
        p.name for p in DOCUMENTS
    }


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_files_that_are_named_exist(document):
    named = set(FILE_NAME.findall(document.read_text("utf-8")))
    assert not {name for name in named if not any(f"/{file}".endswith(f"/{name}") for file in FILES)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_links_to_files_lead_somewhere(document):
    links = re.findall(r"\]\(([^)#]+)\)", document.read_text("utf-8"))
    assert not {link for link in links if "://" not in link and not (document.parent / link).exists()}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_make_targets_exist(document):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)`", document.read_text("utf-8"))) <= targets


def test_the_walk_through_an_op_names_every_file_of_it():
    walk = (ROOT / "docs" / "adding-an-op.md").read_text("utf-8")
    files = [file for file in FILES if re.fullmatch(r"(.*[/_])?pool2d\.(py|h|cpp|cu)", file)]
    assert len(files) >= 12
    assert not [file for file in files if f"`{file}`" not in walk]


@pytest.mark.parametrize("name", ["convolution.md", "onnx.md", "recurrent.md"])
def test_the_code_of_a_guide_runs(name, tmp_path, monkeypatch):
    if name == "onnx.md":
        pytest.importorskip("onnx")
    monkeypatch.chdir(tmp_path)  # where it writes
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / name).read_text("utf-8"), re.DOTALL)
    assert len(blocks) > 1
    exec(compile("\n".join(blocks), name, "exec"), {})
