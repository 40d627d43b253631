"""The tape's Functions as nodes of ONNX, a family a file; see `registry` for their form."""

from . import elementwise, recurrent, shape, spatial
from .registry import EMITTERS, Builder

__all__ = ["EMITTERS", "Builder", "elementwise", "recurrent", "shape", "spatial"]
