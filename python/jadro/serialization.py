"""Saving and loading: arrays in a safetensors file, the structure around them as JSON in its metadata. No pickle.

A file is written beside its place, flushed to the disk and renamed, so that a crash leaves the old file as it was. Any
reader of safetensors can read the arrays; a file without the structure, written by others, loads as a dict of tensors.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
from collections.abc import Mapping
from typing import Any

import numpy as np

from . import backend
from .tensor import Tensor, wrap

_KEY = "jadro"  # of the structure in the metadata
_DTYPES = (
    "bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "bfloat16", "float16", "float32",
    "float64",
)  # fmt: skip


def save(obj: Any, path: str | os.PathLike[str]) -> None:
    """Writes `obj` to `path`; what was there is replaced at the end and stays where anything fails.

    obj: dicts, lists and tuples, nested at will, of Tensors, arrays, NumPy scalars, numbers, strings, booleans and
    None. Keys are strings, numbers, booleans or None. Tensors are saved without their graph. Raises TypeError for
    anything else, and ValueError for an object inside itself, naming its place; OSError where the file cannot be
    written.
    """
    from safetensors.numpy import save as serialize

    arrays: dict[str, np.ndarray] = {}
    structure = json.dumps(_encode(obj, "", arrays, ()), allow_nan=False)
    write_whole(path, serialize(arrays, {_KEY: structure}))


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    """Writes `content` beside `path`, flushes it and renames it: the old file stays where anything fails."""
    target = os.path.realpath(path)
    beside = f"{target}.{secrets.token_hex(8)}.tmp"
    try:
        with open(beside, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)
        raise
    _flush_directory(os.path.dirname(target))


def _flush_directory(path: str) -> None:
    """Makes a rename last; not every system can open a directory."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def load(path: str | os.PathLike[str]) -> Any:
    """What `save` wrote to `path`; Tensors come back on the CPU and do not require gradients.

    A safetensors file written by others gives a dict of Tensors. bfloat16 needs the package ml_dtypes, which names it.
    Raises FileNotFoundError where there is no file, and ValueError, naming the path and the reason, where it is
    damaged, cut off or of another kind.
    """
    from safetensors import SafetensorError, safe_open

    with contextlib.suppress(ImportError):
        import ml_dtypes  # noqa: F401  (NumPy then knows bfloat16 by its name)
    with open(path, "rb"):  # the system's own words where there is no file, or no right to read it
        pass
    try:
        with safe_open(path, framework="np") as file:
            structure = (file.metadata() or {}).get(_KEY)
            names = file.keys()
            arrays = {name: file.get_tensor(name) for name in names}
        if structure is None:
            return {name: wrap(array) for name, array in arrays.items()}
        return _decode(json.loads(structure), arrays)
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(
            f"load: {os.fspath(path)!r} cannot be read ({reason}); it is damaged or of another kind"
        ) from None


# JSON knows no tuples, no keys but strings and no arrays. A list stands for itself; everything else that JSON cannot
# hold is an object with one key, which says what it is.


def _encode(obj: Any, place: str, arrays: dict[str, np.ndarray], around: tuple[int, ...]) -> Any:
    """`obj` as JSON; arrays go to `arrays` under their place. around: the ids of the containers that obj is in."""
    if obj is None or isinstance(obj, (bool, str)):
        return obj
    if isinstance(obj, (Tensor, np.ndarray, np.generic)) or hasattr(obj, "__cuda_array_interface__"):
        return _encode_array(obj, place, arrays)
    if isinstance(obj, int):
        return int(obj)
    if isinstance(obj, float):
        return float(obj) if math.isfinite(obj) else {"float": repr(float(obj))}
    if not isinstance(obj, (Mapping, list, tuple)):
        came = type(obj).__name__
        raise TypeError(
            f"save: obj{_shown(place)} is a {came}, expected a dict, list, tuple, array, number, string or None"
        )
    if id(obj) in around:
        raise ValueError(f"save: obj{_shown(place)} contains itself")
    around = (*around, id(obj))
    if not isinstance(obj, Mapping):
        items = [_encode(item, _below(place, i), arrays, around) for i, item in enumerate(obj)]
        return items if isinstance(obj, list) else {"tuple": items}
    pairs = []
    for key, value in obj.items():
        if not (key is None or isinstance(key, (str, int, float))):
            raise TypeError(
                f"save: a key of obj{_shown(place)} is a {type(key).__name__}, expected a string or a number"
            )
        pairs.append([_encode(key, place, arrays, around), _encode(value, _below(place, key), arrays, around)])
    return {"dict": pairs}


def _below(place: str, key: Any) -> str:
    return f"{place}.{key}" if place else str(key)


def _shown(place: str) -> str:
    return f"[{place!r}]" if place else ""


def _encode_array(obj: Any, place: str, arrays: dict[str, np.ndarray]) -> dict[str, str]:
    if obj.dtype.name not in _DTYPES:
        raise TypeError(f"save: obj{_shown(place)} has dtype {obj.dtype}, expected one of {', '.join(_DTYPES)}")
    data = obj.data if isinstance(obj, Tensor) else backend.as_array(obj)
    array = backend.contiguous(backend.to_device(data, "cpu"))
    name = place or "data"
    while name in arrays or name == "__metadata__":  # {"a.b": x, "a": {"b": y}}; a name of the format's own
        name += "'"
    arrays[name] = array
    kind = "tensor" if isinstance(obj, Tensor) else "scalar" if isinstance(obj, np.generic) else "array"
    return {kind: name}


def _decode(node: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(node, list):
        return [_decode(item, arrays) for item in node]
    if not isinstance(node, dict):
        return node
    ((kind, value),) = node.items()
    if kind == "dict":
        return {_decode(key, arrays): _decode(item, arrays) for key, item in value}
    if kind == "tuple":
        return tuple(_decode(item, arrays) for item in value)
    if kind == "float":
        return float(value)
    array = arrays[value]
    if kind == "scalar":
        return array[()]
    if kind not in ("tensor", "array"):
        raise ValueError(f"its structure has a part of the unknown kind {kind!r}")
    return wrap(array) if kind == "tensor" else array
