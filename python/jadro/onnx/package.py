"""The package `onnx`, which reads and writes the format; it is an extra of jadro and imported when it is needed."""

from __future__ import annotations

from typing import Any


def package() -> Any:
    """The module `onnx`; RuntimeError where it is not installed."""
    try:
        import onnx
    except ImportError as error:
        raise RuntimeError("jadro.onnx: the package onnx is missing; `pip install 'jadro[onnx]'`") from error
    return onnx
