"""Layers that follow each other, in one native call where that gives the same result.

A convolution takes a ReLU that follows into its last pass over the result; so does batch norm, with the sum of a
residual block before it, forward and backward. In evaluation without gradients a convolution takes the batch norm as
well: y scale + shift of each channel, computed from the running moments in every call, so that they are never out of
date. Only layers of the library's own types and without hooks are taken together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from ..autograd import is_grad_enabled
from ..backend import Array
from ..ops.activation import relu as rectify
from ..ops.common import check_residual
from ..ops.conv2d import Then
from ..tensor import Tensor, as_tensor, wrap
from .activation import ReLU
from .conv import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from .module import Module
from .norm import BatchNorm1d, BatchNorm2d, BatchNorm3d

# By exact type: (layer, x, add, relu) -> relu(layer(x) + add), add None for no sum. Containers enter their own.
STAGES: dict[type, Callable[[Any, Any, Tensor | None, bool], Any]] = {}


def plain(module: Module) -> bool:
    """Whether calling the module is its class's forward and nothing else."""
    return not (module._forward_pre_hooks or module._forward_hooks or "forward" in module.__dict__)


def run(modules: Sequence[Module], x: Any, add: Tensor | None = None, relu: bool = False) -> Any:
    """last(... first(x)), + add where it is given, and with relu max(., 0)."""
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
        rectified = i < count and type(modules[i]) is ReLU and plain(modules[i])
        i += rectified
        if i == count and not rectified:
            return stage(layer, x, add, relu)
        x = stage(layer, x, None, rectified)
    return finish(x, add, relu)


def finish(y: Any, add: Tensor | None, relu: bool) -> Any:
    """y + add, and with relu max(., 0), in calls of their own."""
    if add is not None:
        check_residual(y.shape, add)
        y = y + add
    return rectify(y) if relu else y


def takes_add(layer: Module) -> bool:
    """Whether the layer's stage makes a sum part of its own call."""
    return plain(layer) and (type(layer) in _NORMS or (type(layer) in _CONVS and not is_grad_enabled()))


def _conv_stage(layer: Any, x: Any, add: Tensor | None, relu: bool) -> Tensor:
    if add is not None and is_grad_enabled():
        return finish(layer(x), add, relu)
    return cast(Tensor, layer._then(x, layer.bias, Then(relu, add=add)))


def _norm_stage(layer: Any, x: Any, add: Tensor | None, relu: bool) -> Tensor:
    return layer._normalize(as_tensor(x), add, relu)


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


def _folded(layers: tuple[Any, Any], x: Any, add: Tensor | None, relu: bool) -> Tensor:
    """scale = weight / sqrt(var + eps), shift = bias + (the convolution's bias - mean) scale"""
    layer, norm = layers
    mean, var = _array(norm.running_mean), _array(norm.running_var)
    scale = 1 / np.sqrt(var + var.dtype.type(norm.eps))
    if norm.weight is not None:
        scale *= norm.weight.data
    shift = (-mean if layer.bias is None else layer.bias.data - mean) * scale
    if norm.bias is not None:
        shift += norm.bias.data
    return cast(Tensor, layer._then(x, wrap(shift), Then(relu, wrap(scale), add)))


_NORMS = (BatchNorm1d, BatchNorm2d, BatchNorm3d)
_CONVS = (Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d)
STAGES.update(dict.fromkeys(_CONVS, _conv_stage))
STAGES.update(dict.fromkeys(_NORMS, _norm_stage))
