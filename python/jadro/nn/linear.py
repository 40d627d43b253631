"""Linear layers, the embedding, and the layers that only reshape."""

from __future__ import annotations

import math
from typing import Any

from ..autograd import no_grad
from ..ops.common import flat_ints
from ..ops.creation import empty
from ..tensor import Tensor, as_tensor
from . import functional as F
from . import init
from .checks import integer
from .module import Module, Parameter


class Linear(Module):
    """y = x W^T + b. x: [..., in_features], y: [..., out_features].

    Parameters: weight [out_features, in_features] and bias [out_features], both from U(-k, k), k = 1 /
    sqrt(in_features).
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.in_features = integer("Linear", "in_features", in_features, 0)
        self.out_features = integer("Linear", "out_features", out_features, 0)
        self.weight = Parameter(empty(out_features, in_features, device=device, dtype=dtype))
        self.bias = Parameter(empty(out_features, device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the initial values anew."""
        bound = 1 / math.sqrt(max(1, self.in_features))
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def forward(self, x: Any) -> Tensor:
        return F.linear(x, self._parameter("weight"), self._parameter("bias"))

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Bilinear(Module):
    """y_o = x1^T W_o x2 + b_o. x1: [..., in1_features], x2: [..., in2_features], y: [..., out_features].

    Parameters: weight [out_features, in1_features, in2_features] and bias [out_features], both from U(-k, k), k = 1 /
    sqrt(in1_features).
    """

    def __init__(
        self, in1_features: int, in2_features: int, out_features: int, bias: bool = True, device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.in1_features = integer("Bilinear", "in1_features", in1_features, 1)
        self.in2_features = integer("Bilinear", "in2_features", in2_features, 0)
        self.out_features = integer("Bilinear", "out_features", out_features, 0)
        shape = self.out_features, self.in1_features, self.in2_features
        self.weight = Parameter(empty(shape, device=device, dtype=dtype))
        self.bias = Parameter(empty(out_features, device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the initial values anew."""
        bound = 1 / math.sqrt(self.in1_features)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def forward(self, x1: Any, x2: Any) -> Tensor:
        return F.bilinear(x1, x2, self._parameter("weight"), self._parameter("bias"))

    def extra_repr(self) -> str:
        sizes = f"in1_features={self.in1_features}, in2_features={self.in2_features}"
        return f"{sizes}, out_features={self.out_features}, bias={self.bias is not None}"


class Embedding(Module):
    """y = weight[x]. x: integers of any shape in 0..num_embeddings-1, y: [*x.shape, embedding_dim].

    padding_idx: a row that starts as zeros and gets no gradient; negative counts from the end. max_norm, norm_type,
    scale_grad_by_freq: see F.embedding. Parameter: weight [num_embeddings, embedding_dim], from N(0, 1).
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None, max_norm: float | None = None,
        norm_type: float = 2.0, scale_grad_by_freq: bool = False, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.num_embeddings = integer("Embedding", "num_embeddings", num_embeddings, 0)
        self.embedding_dim = integer("Embedding", "embedding_dim", embedding_dim, 0)
        self.padding_idx = _row("Embedding", padding_idx, num_embeddings)
        self.max_norm, self.norm_type, self.scale_grad_by_freq = max_norm, norm_type, scale_grad_by_freq
        self.weight = Parameter(empty(num_embeddings, embedding_dim, device=device, dtype=dtype))
        self.reset_parameters()

    @classmethod
    def from_pretrained(
        cls, embeddings: Any, freeze: bool = True, padding_idx: int | None = None, max_norm: float | None = None,
        norm_type: float = 2.0, scale_grad_by_freq: bool = False,
    ) -> Embedding:  # fmt: skip
        """A layer with the weight `embeddings` [num_embeddings, embedding_dim], shared; trained only if not
        `freeze`."""
        weight = Parameter(as_tensor(embeddings).detach(), requires_grad=not freeze)
        if weight.ndim != 2:
            raise ValueError(f"from_pretrained: embeddings has shape {weight.shape}, expected two axes")
        layer = cls(0, 0, None, max_norm, norm_type, scale_grad_by_freq)
        layer.weight, (layer.num_embeddings, layer.embedding_dim) = weight, weight.shape
        layer.padding_idx = _row("from_pretrained", padding_idx, layer.num_embeddings)
        return layer

    def reset_parameters(self) -> None:
        """Draws the initial values anew."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with no_grad():
                self.weight[self.padding_idx] = 0.0

    def forward(self, x: Any) -> Tensor:
        options = self.padding_idx, self.max_norm, self.norm_type, self.scale_grad_by_freq
        return F.embedding(x, self.weight, *options)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        bound = "" if self.max_norm is None else f", max_norm={self.max_norm}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}{bound}"


def _row(call: str, padding_idx: int | None, entries: int) -> int | None:
    """`padding_idx` counted from 0; ValueError outside the table."""
    if padding_idx is None:
        return None
    if not -entries <= padding_idx < entries:
        raise ValueError(f"{call}: padding_idx is {padding_idx}, expected {-entries}..{entries - 1}")
    return padding_idx % entries


class Identity(Module):
    """y = x; arguments of the constructor are ignored, so that it can stand in for any layer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, x: Any) -> Any:
        return x


class Flatten(Module):
    """The axes start_dim..end_dim made one; by default all but the first."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Any) -> Tensor:
        return as_tensor(x).flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """The axis `dim` as several of the sizes `unflattened_size`, one of which may be -1."""

    def __init__(self, dim: int, unflattened_size: Any) -> None:
        super().__init__()
        self.dim, self.unflattened_size = dim, flat_ints("Unflatten", "unflattened_size", tuple(unflattened_size))

    def forward(self, x: Any) -> Tensor:
        return as_tensor(x).unflatten(self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
