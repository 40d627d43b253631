"""save and load: what goes in comes out, a failed save leaves the old file, a damaged file is a clear error."""

import json
import math
import os
import subprocess
import sys
from collections import OrderedDict

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import jadro
from jadro import nn

ARRAYS = [
    np.arange(12, dtype=np.float32).reshape(3, 4),
    np.arange(12.0).reshape(3, 4).T,
    np.arange(12.0)[::-3],
    np.zeros((0, 5), np.float32),
    np.array(3, np.int64),
    np.array([True, False]),
    np.arange(3, dtype=">f8"),
    np.array([np.nan, -0.0, np.inf]),
    np.arange(4, dtype=np.uint8),
    np.arange(4, dtype=np.int32),
    np.arange(4, dtype=np.float16),
]


def assert_same(a, b):
    assert type(a) is type(b), (a, b)
    if isinstance(a, dict):
        assert list(a) == list(b)
        assert [type(k) for k in a] == [type(k) for k in b]
        for x, y in zip(a.values(), b.values(), strict=True):
            assert_same(x, y)
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    elif isinstance(a, (jadro.Tensor, np.ndarray, np.generic)):
        x, y = np.asarray(a), np.asarray(b)
        assert (x.shape, x.dtype.newbyteorder("=")) == (y.shape, y.dtype.newbyteorder("="))
        np.testing.assert_array_equal(x, y)
    else:
        assert a == b or (math.isnan(a) and math.isnan(b))


NESTED = {
    "model": {"fc.weight": jadro.tensor([[1.0, 2.0]]), "fc": {"weight": jadro.tensor([3])}},
    "tuple": (1, [2, (3,), ()], {}),
    "numbers": [0, -1, 2**80, 1.5, 1e-320, -0.0, math.inf, -math.inf, math.nan, True, False, None],
    "text": ["", "příliš žluťoučký", "\ud800", 'q"\\', "\0"],
    "scalars": [np.float32(0.1), np.int64(5), np.bool_(True), np.float64(0.1)],
    3: {2.5: "float key", None: 1, True: 2, -7: np.arange(3), math.inf: 4},
    "": [],
    "__metadata__": np.arange(2),
    "a'": np.arange(1),
    "dict": {"tensor": "x", "dict": []},
}


def test_nested_structures_survive(tmp_path):
    jadro.save(NESTED, tmp_path / "x")
    assert_same(jadro.load(tmp_path / "x"), NESTED)


def test_bfloat16(tmp_path):
    dtype = pytest.importorskip("ml_dtypes").bfloat16
    jadro.save({"w": np.arange(3).astype(dtype)}, tmp_path / "own")
    assert jadro.load(tmp_path / "own")["w"].dtype == dtype
    torch, others = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch")
    others.save_file({"weight": torch.tensor([[1.0, 2.5]]).bfloat16()}, tmp_path / "theirs")
    layer = nn.Linear(2, 1, bias=False)
    layer.load_state_dict(jadro.load(tmp_path / "theirs"))
    assert layer.weight.tolist() == [[1.0, 2.5]]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype.str}{a.shape}")
def test_arrays_survive(array, tmp_path):
    path = tmp_path / "x"
    for obj in (array, [array], {"a": jadro.tensor(array)} if array.dtype.isnative and array.dtype != "f2" else array):
        jadro.save(obj, path)
        assert_same(jadro.load(path), obj)
    loaded = jadro.load(path)
    leaf = loaded["a"].data if isinstance(loaded, dict) else loaded
    assert leaf.flags.writeable


@pytest.mark.parametrize("obj", [None, 1, "text", [], {}, (), 2.5, math.nan, np.float32(2)], ids=repr)
def test_a_structure_may_be_anything(obj, tmp_path):
    jadro.save(obj, tmp_path / "x")
    assert_same(jadro.load(tmp_path / "x"), obj)


def test_a_graph_is_left_behind(tmp_path):
    w = nn.Parameter(np.ones(2))
    jadro.save([w, w * 2, OrderedDict(a=1)], tmp_path / "x")
    p, q, d = jadro.load(tmp_path / "x")
    assert type(p) is jadro.Tensor
    assert not (p.requires_grad or q.requires_grad)
    assert (q.numpy() == 2).all()
    assert d == {"a": 1}


def test_a_module_survives(tmp_path):
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    jadro.save(net.state_dict(), tmp_path / "x")
    twin = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    twin.load_state_dict(jadro.load(tmp_path / "x"))
    for a, b in zip(net.state_dict().values(), twin.state_dict().values(), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_other_readers_see_the_arrays_by_their_place(tmp_path):
    jadro.save({"model": {"w": jadro.tensor([1.0])}, "list": [np.arange(2)]}, tmp_path / "x")
    with safe_open(tmp_path / "x", framework="np") as file:
        assert sorted(file.keys()) == ["list.0", "model.w"]


def test_files_of_other_writers_load_as_a_dict(tmp_path):
    save_file({"w": np.ones((2, 3), np.float32), "b": np.zeros(3)}, tmp_path / "x", {"format": "pt"})
    loaded = jadro.load(tmp_path / "x")
    assert {name: t.shape for name, t in loaded.items()} == {"w": (2, 3), "b": (3,)}
    assert all(type(t) is jadro.Tensor for t in loaded.values())


def test_a_file_of_pytorch_loads(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file as save_torch

    net = torch.nn.LSTM(3, 4)
    save_torch(net.state_dict(), str(tmp_path / "x"))
    nn.LSTM(3, 4).load_state_dict(jadro.load(tmp_path / "x"))


# --- what cannot be saved ---------------------------------------------------------------------------------------------
def looped():
    loop = []
    loop.append({"again": loop})
    return loop


BAD = [
    (TypeError, {"a": [{1, 2}]}, "a.0"),
    (TypeError, {"a": {"b": object()}}, "a.b"),
    (TypeError, [lambda: 0], "0"),
    (TypeError, {(1, 2): 3}, "tuple"),
    (TypeError, {"a": np.array(["x"])}, "a"),
    (TypeError, {"a": np.array([object()])}, "a"),
    (TypeError, {"a": np.zeros(2, np.complex128)}, "complex128"),
    (TypeError, b"bytes", "bytes"),
    (ValueError, looped(), "itself"),
]


@pytest.mark.parametrize(("error", "obj", "words"), BAD, ids=[b[2] + str(i) for i, b in enumerate(BAD)])
def test_what_cannot_be_saved(error, obj, words, tmp_path):
    path = tmp_path / "x"
    jadro.save({"old": 1}, path)
    with pytest.raises(error, match=f"save: .*{words}"):
        jadro.save(obj, path)
    assert jadro.load(path) == {"old": 1}
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("where", ["os.replace", "os.fsync"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=["disk full", "interrupt"])
def test_a_failed_save_leaves_the_old_file_and_no_other(error, where, tmp_path, monkeypatch):
    path = tmp_path / "x"
    jadro.save({"old": 1}, path)

    def fail(*args):
        raise error

    with monkeypatch.context() as patch, pytest.raises(type(error)):
        patch.setattr(where, fail)
        jadro.save({"new": np.zeros(1000)}, path)
    assert jadro.load(path) == {"old": 1}
    assert os.listdir(tmp_path) == ["x"]


def test_a_killed_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "x"
    jadro.save({"old": 1}, path)
    script = (
        "import os, sys, numpy as np, jadro\n"
        "os.replace = lambda *paths: os._exit(9)\n"
        "jadro.save({'new': np.zeros(10)}, sys.argv[1])\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)], check=False).returncode == 9
    assert jadro.load(path) == {"old": 1}


def test_a_missing_directory(tmp_path):
    with pytest.raises(OSError, match="x"):
        jadro.save(1, tmp_path / "no" / "x")


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    jadro.save([1], tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert jadro.load(tmp_path / "file") == [1]


# --- what cannot be loaded --------------------------------------------------------------------------------------------
def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        jadro.load(tmp_path / "nothing")


def test_a_file_cut_off_anywhere(tmp_path):
    path = tmp_path / "x"
    jadro.save({"a": np.arange(10.0), "b": [1, 2]}, path)
    whole = path.read_bytes()
    for size in [*range(0, len(whole), 7), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"load: .*x' cannot be read"):
            jadro.load(path)


@pytest.mark.parametrize(
    "content", [b"", b"hello world, this is no such file", b"\x80\x02}q\x00.", b"\xff" * 64, b"PK\x03\x04" * 9]
)
def test_a_foreign_file(content, tmp_path):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ValueError, match=r"load: .*x' cannot be read"):
        jadro.load(tmp_path / "x")


STRUCTURES = [
    "{",
    '{"tensor": "gone"}',
    '{"tensor": 3}',
    '{"what": 1}',
    '{"dict": 5}',
    '{"dict": [[1]]}',
    '{"dict": [[[], 1]]}',
    '{"tuple": null}',
    '{"float": "x"}',
    "{}",
    '{"a": 1, "b": 2}',
    "[" * 100000,
]


@pytest.mark.parametrize("structure", STRUCTURES, ids=[s[:20] for s in STRUCTURES])
def test_a_damaged_structure(structure, tmp_path):
    save_file({"w": np.ones(1)}, tmp_path / "x", {"jadro": structure})
    with pytest.raises(ValueError, match=r"load: .*x' cannot be read"):
        jadro.load(tmp_path / "x")


def test_flipped_bytes_never_crash(tmp_path):
    path = tmp_path / "x"
    jadro.save({"a": np.arange(10.0), "b": [1, 2]}, path)
    whole = path.read_bytes()
    head = 8 + int.from_bytes(whole[:8], "little")
    assert json.loads(whole[8:head])
    for i in range(head):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 0x55]) + whole[i + 1 :])
        try:
            loaded = jadro.load(path)
        except ValueError as error:
            assert "cannot be read" in str(error)
        else:
            assert loaded is not None
