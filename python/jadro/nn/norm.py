"""Normalisation layers. Equations stand at `functional.batch_norm`, `layer_norm`, `group_norm` and `instance_norm`."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ..ops.activation import Rectifier
from ..ops.batch_norm import batch_norm_then
from ..ops.creation import ones, zeros
from ..tensor import Tensor, as_tensor
from . import functional as F
from . import init
from .checks import integer
from .module import Module, Options, Parameter


class _Affine(Module):
    """Has a weight that starts as ones and a bias that starts as zeros, or None for them."""

    def reset_parameters(self) -> None:
        """As new: weight 1, bias 0."""
        for name, parameter in self.named_parameters():
            init.constant_(parameter, float(name == "weight"))


class _Norm(_Affine):
    """weight [C] and, unless `bias` is False, bias [C] where affine; running_mean [C], running_var [C] and
    num_batches_tracked where tracked."""

    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    _optional_state = frozenset({"num_batches_tracked"})
    _ranks: ClassVar[tuple[int, ...]]  # how many axes the input may have

    def __init__(
        self, num_features: int, eps: float, momentum: float | None, affine: bool, track_running_stats: bool,
        device: Any, dtype: Any, bias: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.num_features = integer(type(self).__name__, "num_features", num_features)
        self.eps, self.momentum = eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        place = {"device": device, "dtype": dtype}
        self.weight = Parameter(ones(num_features, **place)) if affine else None
        self.bias = Parameter(zeros(num_features, **place)) if affine and bias else None
        self.register_buffer("running_mean", zeros(num_features, **place) if track_running_stats else None)
        self.register_buffer("running_var", ones(num_features, **place) if track_running_stats else None)
        tracked = zeros((), dtype=np.int64, device=device) if track_running_stats else None
        self.register_buffer("num_batches_tracked", tracked)

    def reset_running_stats(self) -> None:
        """Mean 0, variance 1, no batches seen."""
        for buffer, value in ((self.running_mean, 0), (self.running_var, 1), (self.num_batches_tracked, 0)):
            if buffer is not None:
                buffer.fill_(value)

    def reset_parameters(self) -> None:
        """As new: weight 1, bias 0 and the running statistics."""
        self.reset_running_stats()
        super().reset_parameters()

    def _check(self, x: Tensor) -> None:
        if x.ndim not in self._ranks:
            ranks = " or ".join(map(str, self._ranks))
            raise ValueError(f"{type(self).__name__}: x has shape {x.shape}, expected {ranks} axes")

    def extra_repr(self) -> str:
        options = f"eps={self.eps}, momentum={self.momentum}, affine={self.affine}"
        return f"{self.num_features}, {options}, track_running_stats={self.track_running_stats}"


class _BatchNorm(_Norm):
    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True, device: Any = None, dtype: Any = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias)

    def forward(self, x: Any) -> Tensor:
        return self._normalize(as_tensor(x))

    def _normalize(self, x: Tensor, add: Tensor | None = None, rectifier: Rectifier | None = None) -> Tensor:
        """Batch norm, then + add and the rectifier where they are given."""
        self._check(x)
        moments = (self.running_mean, self.running_var)
        use_batch = self.training or moments[0] is None
        share = self._new_share()
        y = batch_norm_then(x, *moments, self.weight, self.bias, use_batch, share, self.eps, add, rectifier)
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        return y

    def _new_share(self) -> float:
        """How far the running moments move towards the batch's: `momentum`, or for None 1 / n, their plain average."""
        if self.momentum is not None:
            return self.momentum
        return 0.0 if self.num_batches_tracked is None else 1.0 / (int(self.num_batches_tracked) + 1)


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of [N, C] or [N, C, L].

    momentum: how far the running moments move to the batch's, None for their plain average. track_running_stats False:
    no running moments, evaluation uses the batch's. Raises ValueError for other ranks, and in training for one value a
    channel.
    """

    _ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of images [N, C, H, W]; options as in BatchNorm1d."""

    _ranks = (4,)


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of volumes [N, C, D, H, W]; options as in BatchNorm1d."""

    _ranks = (5,)


class _InstanceNorm(_Norm):
    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = False,
        track_running_stats: bool = False, device: Any = None, dtype: Any = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias)

    def forward(self, x: Any) -> Tensor:
        x = as_tensor(x)
        self._check(x)
        if x.ndim == self._ranks[0]:
            return self.forward(x.unsqueeze(0)).squeeze(0)
        if x.shape[1] != self.num_features:
            raise ValueError(f"{type(self).__name__}: x has shape {x.shape}, expected {self.num_features} channels")
        moments = (self.running_mean, self.running_var)
        use_input = self.training or moments[0] is None
        return F.instance_norm(x, *moments, self.weight, self.bias, use_input, self.momentum or 0.0, self.eps)


class InstanceNorm1d(_InstanceNorm):
    """Instance normalisation of sequences [N, C, L] or [C, L]; by default without parameters and running moments."""

    _ranks = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """Instance normalisation of images [N, C, H, W] or [C, H, W]; by default without parameters and running moments."""

    _ranks = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """Instance normalisation of volumes [N, C, D, H, W] or [C, D, H, W]; by default without parameters and running
    moments."""

    _ranks = (4, 5)


def _last_sizes(call: str, normalized_shape: Any) -> tuple[int, ...]:
    sizes = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if min(sizes, default=0) < 1:
        raise ValueError(f"{call}: normalized_shape is {normalized_shape}, expected one positive size or several")
    return sizes


class LayerNorm(_Affine):
    """Layer normalisation over the last axes, of sizes `normalized_shape` (an int or several).

    Parameters: weight and bias of that shape, unless elementwise_affine, or for the bias `bias`, is False.
    """

    def __init__(
        self, normalized_shape: Any, eps: float = 1e-5, elementwise_affine: bool = True, bias: bool = True,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.normalized_shape = _last_sizes("LayerNorm", normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        place = {"device": device, "dtype": dtype}
        self.weight = Parameter(ones(self.normalized_shape, **place)) if elementwise_affine else None
        self.bias = Parameter(zeros(self.normalized_shape, **place)) if elementwise_affine and bias else None

    def forward(self, x: Any) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class RMSNorm(_Affine):
    """Normalisation by the root of the mean square over the last axes, of sizes `normalized_shape` (an int or several).

    eps: None is the dtype's rounding. Parameter: weight of that shape, unless elementwise_affine is False.
    """

    def __init__(
        self, normalized_shape: Any, eps: float | None = None, elementwise_affine: bool = True, device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.normalized_shape = _last_sizes("RMSNorm", normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        weight = ones(self.normalized_shape, device=device, dtype=dtype) if elementwise_affine else None
        self.weight = None if weight is None else Parameter(weight)

    def forward(self, x: Any) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    extra_repr = LayerNorm.extra_repr


class LocalResponseNorm(Options):
    """Each channel of [N, C, L, ...] divided by what `size` channels around have; see F.local_response_norm."""

    _shown = ("size", "alpha", "beta", "k")

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = integer("LocalResponseNorm", "size", size), alpha, beta, k

    def forward(self, x: Any) -> Tensor:
        return F.local_response_norm(x, self.size, self.alpha, self.beta, self.k)


class GroupNorm(_Affine):
    """Normalisation of each row's channels in `num_groups` groups. x: [N, num_channels, ...].

    Parameters: weight and, unless `bias` is False, bias [num_channels] where affine. Raises ValueError where num_groups
    does not divide num_channels.
    """

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, device: Any = None,
        dtype: Any = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        integer("GroupNorm", "num_channels", num_channels)
        if integer("GroupNorm", "num_groups", num_groups) > num_channels or num_channels % num_groups:
            raise ValueError(
                f"GroupNorm: num_groups is {num_groups}, expected a divisor of num_channels, {num_channels}"
            )
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        place = {"device": device, "dtype": dtype}
        self.weight = Parameter(ones(num_channels, **place)) if affine else None
        self.bias = Parameter(zeros(num_channels, **place)) if affine and bias else None

    def forward(self, x: Any) -> Tensor:
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}"
