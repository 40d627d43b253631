"""ONNX's operators on Tensors, a family a file; see `registry` for their form."""

from . import elementwise, losses, norms, recurrent, reduce, resize, shape, spatial
from .registry import OPERATORS

# Inputs by their place that are settings or moments, never trained.
SETTINGS: dict[str, tuple[int, ...]] = {
    "BatchNormalization": (3, 4), "Clip": (1, 2), "ConstantOfShape": (0,), "Dropout": (1,), "Pad": (2,),
    "AffineGrid": (1,), "Resize": (1, 2), "Upsample": (1,), "QuantizeLinear": (1,), "DequantizeLinear": (1,),
}  # fmt: skip

# Operators whose results differ from call to call.
RANDOM = {
    "Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike",
}  # fmt: skip

__all__ = [
    "OPERATORS", "RANDOM", "SETTINGS", "elementwise", "losses", "norms", "recurrent", "reduce", "resize", "shape",
    "spatial",
]  # fmt: skip
