"""Activations; only PReLU has a parameter. Equations stand at the functions of the same names in lower case.

`inplace` is taken for PyTorch's sake: the result is a new tensor all the same.
"""

from __future__ import annotations

from typing import Any

from ..ops.creation import full
from ..tensor import Tensor, as_tensor
from . import functional as F
from .checks import integer
from .init import constant_
from .module import Module, Options, Parameter


class ReLU(Module):
    """max(x, 0)"""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, x: Any) -> Tensor:
        return F.relu(x)


class ReLU6(ReLU):
    """min(max(x, 0), 6)"""

    def forward(self, x: Any) -> Tensor:
        return F.relu6(x)


class SiLU(ReLU):
    """x sigmoid(x)"""

    def forward(self, x: Any) -> Tensor:
        return F.silu(x)


class Hardsigmoid(ReLU):
    """x / 6 + 1/2 bounded to 0..1"""

    def forward(self, x: Any) -> Tensor:
        return F.hardsigmoid(x)


class Hardswish(ReLU):
    """x Hardsigmoid(x)"""

    def forward(self, x: Any) -> Tensor:
        return F.hardswish(x)


class Mish(ReLU):
    """x tanh(log(1 + exp(x)))"""

    def forward(self, x: Any) -> Tensor:
        return F.mish(x)


class SELU(ReLU):
    """s x where x > 0, else s a (exp(x) - 1), for the s and a that keep mean 0 and variance 1"""

    def forward(self, x: Any) -> Tensor:
        return F.selu(x)


class LeakyReLU(Options):
    """x where x > 0, else negative_slope x"""

    _shown = ("negative_slope",)

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__()
        self.negative_slope, self.inplace = negative_slope, inplace

    def forward(self, x: Any) -> Tensor:
        return F.leaky_relu(x, self.negative_slope)


class PReLU(Options):
    """x where x > 0, else weight x; weight: Parameter [num_parameters], 1 or the number of channels (axis 1)"""

    _shown = ("num_parameters",)

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.num_parameters, self.init = integer("PReLU", "num_parameters", num_parameters), float(init)
        self.weight = Parameter(full((num_parameters,), self.init, dtype=dtype, device=device))

    def reset_parameters(self) -> None:
        """As new: `init` everywhere."""
        constant_(self.weight, self.init)

    def forward(self, x: Any) -> Tensor:
        return F.prelu(x, self.weight)


class ELU(Options):
    """x where x > 0, else alpha (exp(x) - 1)"""

    _shown = ("alpha",)

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha, self.inplace = alpha, inplace

    def forward(self, x: Any) -> Tensor:
        return F.elu(x, self.alpha)


class Hardtanh(Options):
    """x bounded to min_val..max_val"""

    _shown = ("min_val", "max_val")

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        if not min_val < max_val:
            raise ValueError(f"Hardtanh: min_val is {min_val} and max_val is {max_val}, expected min_val < max_val")
        self.min_val, self.max_val, self.inplace = min_val, max_val, inplace

    def forward(self, x: Any) -> Tensor:
        return F.hardtanh(x, self.min_val, self.max_val)


class GELU(Options):
    """x Phi(x); approximate: "none" or "tanh" """

    _shown = ("approximate",)

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        if approximate not in ("none", "tanh"):
            raise ValueError(f"GELU: approximate is {approximate!r}, expected 'none' or 'tanh'")
        self.approximate = approximate

    def forward(self, x: Any) -> Tensor:
        return F.gelu(x, self.approximate)


class Softplus(Options):
    """log(1 + exp(beta x)) / beta, and x where beta x > threshold"""

    _shown = ("beta", "threshold")

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta, self.threshold = beta, threshold

    def forward(self, x: Any) -> Tensor:
        return F.softplus(x, self.beta, self.threshold)


class Sigmoid(Module):
    """1 / (1 + exp(-x))"""

    def forward(self, x: Any) -> Tensor:
        return F.sigmoid(x)


class Tanh(Module):
    """The hyperbolic tangent"""

    def forward(self, x: Any) -> Tensor:
        return F.tanh(x)


class Softmax(Options):
    """exp(x) over its sum along axis `dim`"""

    _shown = ("dim",)

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Any) -> Tensor:
        return F.softmax(as_tensor(x), self.dim)


class LogSoftmax(Softmax):
    """log of Softmax, without overflow"""

    def forward(self, x: Any) -> Tensor:
        return F.log_softmax(as_tensor(x), self.dim)


class Softmin(Softmax):
    """Softmax of -x"""

    def forward(self, x: Any) -> Tensor:
        return F.softmin(x, self.dim)


class Softmax2d(Module):
    """Softmax over the channels of images [N, C, H, W] or [C, H, W]"""

    def forward(self, x: Any) -> Tensor:
        x = as_tensor(x)
        if x.ndim not in (3, 4):
            raise ValueError(f"Softmax2d: x has shape {x.shape}, expected 3 or 4 axes")
        return F.softmax(x, -3)


class Softsign(Module):
    """x / (1 + |x|)"""

    def forward(self, x: Any) -> Tensor:
        return F.softsign(x)


class LogSigmoid(Module):
    """log of Sigmoid, without overflow"""

    def forward(self, x: Any) -> Tensor:
        return F.logsigmoid(x)


class Tanhshrink(Module):
    """x - tanh(x)"""

    def forward(self, x: Any) -> Tensor:
        return F.tanhshrink(x)


class CELU(Options):
    """x where x > 0, else alpha (exp(x / alpha) - 1)"""

    _shown = ("alpha",)

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha, self.inplace = alpha, inplace

    def forward(self, x: Any) -> Tensor:
        return F.celu(x, self.alpha)


class Hardshrink(Options):
    """0 where -lambd <= x <= lambd, else x"""

    _shown = ("lambd",)

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def forward(self, x: Any) -> Tensor:
        return F.hardshrink(x, self.lambd)


class Softshrink(Hardshrink):
    """x moved towards 0 by lambd, 0 where -lambd <= x <= lambd"""

    def forward(self, x: Any) -> Tensor:
        return F.softshrink(x, self.lambd)


class Threshold(Options):
    """x where x > threshold, else value"""

    _shown = ("threshold", "value")

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__()
        self.threshold, self.value, self.inplace = threshold, value, inplace

    def forward(self, x: Any) -> Tensor:
        return F.threshold(x, self.threshold, self.value)


class GLU(Options):
    """a Sigmoid(b), a and b the halves of x along axis `dim`"""

    _shown = ("dim",)

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Any) -> Tensor:
        return F.glu(x, self.dim)
