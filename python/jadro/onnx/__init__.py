"""ONNX models: `load` makes a Module of one, which runs and trains; `export` writes a Module as one.

Needs the package `onnx` (`pip install 'jadro[onnx]'`). The format and its operators: https://onnx.ai/onnx/operators/
"""

from .export import export
from .graph import Graph
from .load import load

__all__ = ["Graph", "export", "load"]
