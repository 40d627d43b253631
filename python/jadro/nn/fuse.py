"""Layers that follow each other, in one native call where that gives the same result.

A convolution takes a ReLU, ReLU6 or LeakyReLU that follows into its last pass over the result, and where no gradients
are recorded a PReLU; so does batch norm the first three, with the sum of a residual block before them, forward and
backward. In evaluation without gradients a convolution takes the batch norm as well: y scale + shift of each channel,
computed from the running moments in every call, so that they are never out of date. Only layers of the library's own
types and without hooks are taken together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from ..autograd import is_grad_enabled
from ..backend import Array
from ..ops.activation import Rectifier
from ..ops.common import check_residual
from ..ops.conv2d import Then
from ..tensor import Tensor, as_tensor, wrap
from .activation import LeakyReLU, PReLU, ReLU, ReLU6
from .conv import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from .module import Module
from .norm import BatchNorm1d, BatchNorm2d, BatchNorm3d

# By exact type: (layer, x, add, rectifier) -> rectifier(layer(x) + add), None for neither. Containers enter their own.
STAGES: dict[type, Callable[[Any, Any, Tensor | None, Rectifier | None], Any]] = {}


def plain(module: Module) -> bool:
    """Whether calling the module is its class's forward and nothing else."""
    hooks = module._forward_pre_hooks or module._forward_hooks or module._backward_hooks
    return not (hooks or "forward" in module.__dict__)


def run(modules: Sequence[Module], x: Any, add: Tensor | None = None, rectifier: Rectifier | None = None) -> Any:
    """last(... first(x)), + add and the rectifier where they are given."""
    i, count = 0, len(modules)
    while i < count:
        layer: Any = modules[i]
        i += 1
        stage: Callable[..., Any] | None = STAGES.get(type(layer))
        if stage is None or not plain(layer):
            x = layer(x)
            continue
        if i < count and type(layer) in _CONVS and _folds(layer, modules[i], x):
            layer, stage = (layer, modules[i]), _folded
            i += 1
        behind = _rectifier(modules[i], layer, x) if i < count else None
        i += behind is not None
        if i == count and behind is None:
            return stage(layer, x, add, rectifier)
        x = stage(layer, x, None, behind)
    return finish(x, add, rectifier)


def finish(y: Any, add: Tensor | None, rectifier: Rectifier | None) -> Any:
    """y + add, rectified, in calls of their own."""
    if add is not None:
        check_residual(y.shape, add)
        y = y + add
    return rectifier(y) if rectifier else y


def _rectifier(module: Any, layer: Any, x: Any) -> Rectifier | None:
    """What `module` is behind `layer`; None where it stays a call of its own."""
    kind = type(module)
    if kind not in _RECTIFIERS or not plain(module):
        return None
    if kind is LeakyReLU:
        slope = float(module.negative_slope)
        return Rectifier(slope) if slope >= 0 else None
    if kind is PReLU:
        return _prelu(module.weight, layer[0] if isinstance(layer, tuple) else layer, x)
    return _RELU6 if kind is ReLU6 else _RELU


def _prelu(slope: Tensor, layer: Any, x: Any) -> Rectifier | None:
    """That of a PReLU whose slopes are those of the channels of a convolution in evaluation."""
    if is_grad_enabled() or type(layer) not in _CONVS or len(x.shape) != layer._axes + 2:
        return None
    fits = slope.data.size in (1, layer.out_channels) and slope.dtype == layer.weight.dtype
    return Rectifier(slope.data) if fits and slope.device == layer.weight.device else None


def takes_add(layer: Module) -> bool:
    """Whether the layer's stage makes a sum part of its own call."""
    return plain(layer) and (type(layer) in _NORMS or (type(layer) in _CONVS and not is_grad_enabled()))


def _conv_stage(layer: Any, x: Any, add: Tensor | None, rectifier: Rectifier | None) -> Tensor:
    if add is not None and is_grad_enabled():
        return finish(layer(x), add, rectifier)
    return cast(Tensor, layer._then(x, layer.bias, Then(rectifier, add=add)))


def _norm_stage(layer: Any, x: Any, add: Tensor | None, rectifier: Rectifier | None) -> Tensor:
    return layer._normalize(as_tensor(x), add, rectifier)


def _folds(layer: Any, norm: Module, x: Any) -> bool:
    """Whether the batch norm behind a convolution is a scale and a shift of each of its channels."""
    if not isinstance(norm, _NORMS) or type(norm) is not _NORMS[layer._axes - 1]:
        return False
    if norm.training or is_grad_enabled() or not plain(norm):
        return False
    mean, weight = norm.running_mean, layer.weight
    if mean is None or mean.dtype != weight.dtype or norm.num_features != layer.out_channels:
        return False
    return isinstance(weight.data, np.ndarray) and len(x.shape) == layer._axes + 2


def _array(moment: Any) -> Array:
    return moment.data


def _folded(layers: tuple[Any, Any], x: Any, add: Tensor | None, rectifier: Rectifier | None) -> Tensor:
    """scale = weight / sqrt(var + eps), shift = bias + (the convolution's bias - mean) scale"""
    layer, norm = layers
    mean, var = _array(norm.running_mean), _array(norm.running_var)
    scale = 1 / np.sqrt(var + var.dtype.type(norm.eps))
    if norm.weight is not None:
        scale *= norm.weight.data
    shift = (-mean if layer.bias is None else layer.bias.data - mean) * scale
    if norm.bias is not None:
        shift += norm.bias.data
    return cast(Tensor, layer._then(x, wrap(shift), Then(rectifier, wrap(scale), add)))


_RECTIFIERS = (ReLU, ReLU6, LeakyReLU, PReLU)
_RELU, _RELU6 = Rectifier(), Rectifier(most=6.0)
_NORMS = (BatchNorm1d, BatchNorm2d, BatchNorm3d)
_CONVS = (Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d)
STAGES.update(dict.fromkeys(_CONVS, _conv_stage))
STAGES.update(dict.fromkeys(_NORMS, _norm_stage))
