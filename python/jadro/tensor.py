"""The Tensor: an array, its gradient, and its place in the graph that the tape records.

Only storage and conversion live here. Operations are Functions of the tape (`autograd`, `ops`); `ops.methods` makes
them methods of Tensor, under the names declared at the end of the class.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _core, backend
from ._core import Node, _TensorBase
from .backend import Array


class Tensor(_TensorBase):
    """An array with a gradient.

    data: anything that NumPy takes as an array, or a CuPy array; it is shared, not copied, where its layout allows.
    requires_grad: whether operations on the tensor are recorded and `backward` fills `grad`; floating dtypes only, else
    TypeError.
    """

    __slots__ = ()

    data: Array
    grad: Tensor | None
    _requires_grad: bool
    _node: Node | None  # the call that made this tensor; None for a leaf
    _index: int  # which output of that call
    _version: list[int]  # writes to the memory behind `data`; one counter for all views of it
    _hooks: dict[int, Any]  # functions of the gradient, see `hooks`

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        self.data = data.data if isinstance(data, Tensor) else backend.as_array(data)
        self._requires_grad = False
        if requires_grad:
            self.requires_grad = True

    # --- what it is ---------------------------------------------------------------------------------------------------
    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def ndim(self) -> int:
        return self.data.ndim

    @property
    def dtype(self) -> np.dtype:
        return self.data.dtype

    @property
    def device(self) -> str:
        """ "cpu", "cuda" (the first device) or "cuda:<index>"."""
        return backend.device_of(self.data)

    @property
    def requires_grad(self) -> bool:
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if value and self.data.dtype.kind in "iub":
            raise TypeError(f"requires_grad: dtype is {self.data.dtype}, expected a floating dtype")
        if not value and self._node is not None:
            raise RuntimeError(
                "requires_grad: only leaves can be turned off; use detach() for the result of an operation"
            )
        self._requires_grad = bool(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Sets `requires_grad` and returns the tensor."""
        self.requires_grad = requires_grad
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation made this tensor."""
        return self._node is None

    @property
    def is_cuda(self) -> bool:
        return not isinstance(self.data, np.ndarray)

    def size(self, dim: int | None = None) -> Any:
        """The shape, or its entry `dim`."""
        return self.data.shape if dim is None else self.data.shape[dim]

    def dim(self) -> int:
        return self.data.ndim

    def numel(self) -> int:
        """The number of elements."""
        return self.data.size

    def is_floating_point(self) -> bool:
        return self.data.dtype.kind not in "iub"

    def is_contiguous(self) -> bool:
        return bool(self.data.flags.c_contiguous)

    # --- out of the library -------------------------------------------------------------------------------------------
    def numpy(self) -> np.ndarray:
        """The NumPy array behind the tensor, not a copy; TypeError on CUDA (call `.cpu()` first)."""
        if not isinstance(self.data, np.ndarray):
            raise TypeError(f"numpy: the tensor is on {self.device}, expected the CPU; call .cpu() first")
        return self.data

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.numpy()
        if dtype is not None and np.dtype(dtype) != array.dtype:
            if copy is False:
                raise ValueError(f"__array__: a copy is needed to go from {array.dtype} to {np.dtype(dtype)}")
            return array.astype(dtype)
        return array.copy() if copy else array

    def __dlpack__(self, **options: Any) -> Any:
        return self.data.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.data.__dlpack_device__()

    def item(self) -> Any:
        """The only element as a Python number; ValueError where there is not exactly one."""
        if self.data.size != 1:
            raise ValueError(f"item: the tensor has shape {self.shape}, expected one element")
        return self.data.item()

    def tolist(self) -> Any:
        return self.data.tolist()

    def __bool__(self) -> bool:
        if self.data.size != 1:
            raise ValueError(f"bool: the tensor has shape {self.shape}, expected one element; use .any() or .all()")
        return bool(self.data.item())

    def __int__(self) -> int:
        return int(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __index__(self) -> int:
        if self.data.dtype.kind not in "iub" or self.data.size != 1:
            raise TypeError(f"index: a {self.dtype} tensor of shape {self.shape}, expected one integer")
        return int(self.data.item())

    def __len__(self) -> int:
        if not self.data.ndim:
            raise TypeError("len: the tensor has no axes")
        return self.data.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        body = np.array2string(np.asarray(backend.to_device(self.data, "cpu")), separator=", ", prefix="tensor(")
        notes = [body]
        if self.dtype.name not in ("float32", "int64", "bool"):
            notes.append(f"dtype={self.dtype}")
        if self.is_cuda:
            notes.append(f"device={self.device!r}")
        if self._node is not None:
            notes.append(f"grad_fn=<{self._node.fn.__name__}>")
        elif self._requires_grad:
            notes.append("requires_grad=True")
        return f"tensor({', '.join(notes)})"

    # --- same memory, or a copy outside the graph ---------------------------------------------------------------------
    def detach(self) -> Tensor:
        """The same memory outside the graph."""
        out = wrap(self.data)
        out._version = self._version
        return out

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if self._node is not None:
            raise RuntimeError(
                "deepcopy: only leaves can be copied; use detach().clone() for the result of an operation"
            )
        out = type(self)(self.data.copy(), self._requires_grad)
        memo[id(self)] = out
        if self.grad is not None:
            out.grad = wrap(self.grad.data.copy())
        return out

    def __reduce__(self) -> tuple[Any, ...]:
        if self._node is not None:
            raise RuntimeError("pickle: only leaves can be pickled; use detach() for the result of an operation")
        return type(self), (self.data, self._requires_grad)

    __hash__ = object.__hash__

    if TYPE_CHECKING:  # methods from ops.methods: the functions of the same names in autograd and ops, the tensor first
        T: Tensor
        mT: Tensor

        def __getattr__(self, name: str) -> Any: ...
        def __getitem__(self, index: Any) -> Tensor: ...
        def __setitem__(self, index: Any, value: Any) -> None: ...
        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __floordiv__(self, other: Any) -> Tensor: ...
        def __mod__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __rpow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __rmatmul__(self, other: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __invert__(self) -> Tensor: ...
        def __and__(self, other: Any) -> Tensor: ...
        def __or__(self, other: Any) -> Tensor: ...
        def __xor__(self, other: Any) -> Tensor: ...
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __eq__(self, other: Any) -> Tensor: ...  # type: ignore[override]
        def __ne__(self, other: Any) -> Tensor: ...  # type: ignore[override]


def wrap(data: Array) -> Tensor:
    """A Tensor around `data`, unchecked."""
    return _core.tape_wrap(data)


def _from_python(data: Any) -> np.ndarray:
    """Lists, tuples and numbers as an array: Python floats are float32, integers int64."""
    array = _array(data)
    if array.dtype == np.float64 and not _holds_float64(data):
        return array.astype(np.float32)
    return array


def _array(data: Any, dtype: Any = None) -> np.ndarray:
    try:
        return np.array(data, dtype)
    except (OverflowError, ValueError) as error:
        wanted = "one array" if dtype is None else f"an array of {np.dtype(dtype)}"
        raise ValueError(f"tensor: data does not fit {wanted}: {error}") from None


def _holds_float64(data: Any) -> bool:
    """Whether a float64 array, scalar or tensor is somewhere in the nested lists `data`."""
    if isinstance(data, (list, tuple)):
        return any(map(_holds_float64, data))
    return getattr(data, "dtype", None) == np.float64


def tensor(data: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A Tensor with a copy of `data`.

    data: numbers, nested lists, an array, a Tensor, or anything with DLPack. Python floats become float32, integers
    int64, arrays keep their dtype. dtype: anything `numpy.dtype` takes. device: "cpu", "cuda" or "cuda:<index>"; None
    leaves the data where it is. Raises TypeError for data that is not numeric, ValueError for lists of unlike lengths
    and numbers that dtype cannot hold, RuntimeError for a missing device.
    """
    if dtype is not None and isinstance(data, (int, float, list, tuple)):
        array = _array(data, dtype)  # not by way of float32
        check_half("tensor", array.dtype, "cpu" if device is None else backend.parse_device(device))
    else:
        array = as_tensor(data).data
    target = backend.device_of(array) if device is None else backend.parse_device(device)
    moved = backend.to_device(array, target)
    if dtype is not None and np.dtype(dtype) != moved.dtype:
        check_half("tensor", np.dtype(dtype), target)
        moved = moved.astype(dtype)
    if moved is array:
        moved = array.copy(order="C")
    return Tensor(moved, requires_grad)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """`data` as a Tensor, sharing its memory where dtype, device and byte order allow; a Tensor comes back as it is.

    Raises TypeError for data that is not numeric, RuntimeError for a missing device.
    """
    if not isinstance(data, Tensor):
        if isinstance(data, (np.ndarray, np.generic)) or hasattr(data, "__cuda_array_interface__"):
            data = Tensor(data)
        elif hasattr(data, "__dlpack__"):
            data = from_dlpack(data)
        else:
            data = Tensor(_from_python(data))
    if dtype is None and device is None:
        return data
    return data.to(device=device, dtype=dtype)


def from_dlpack(data: Any) -> Tensor:
    """A Tensor that shares the memory of `data`, an object with `__dlpack__`; CUDA memory stays on its device.

    Raises TypeError where `data` has no `__dlpack__` or cannot be shared (it has a dtype that NumPy lacks, or requires
    a gradient in PyTorch), RuntimeError for CUDA memory without CuPy.
    """
    if not hasattr(data, "__dlpack__"):
        raise TypeError(f"from_dlpack: data is a {type(data).__name__}, expected an object with __dlpack__")
    on_cuda = int(data.__dlpack_device__()[0]) == 2  # kDLCUDA
    if on_cuda:
        return Tensor(backend.cupy().from_dlpack(data))
    try:
        return Tensor(np.from_dlpack(data))
    except (BufferError, RuntimeError) as error:
        kind = f"{type(data).__name__} of {getattr(data, 'dtype', 'unknown dtype')}"
        raise TypeError(f"from_dlpack: data is a {kind}, which cannot be shared: {error}") from None


def check_half(call: str, dtype: np.dtype, device: str) -> None:
    """TypeError where a 16-bit float is asked for on the CPU."""
    if device == "cpu" and dtype.name in ("float16", "bfloat16"):
        raise TypeError(
            f"{call}: dtype is {dtype.name} on the CPU, expected float32 or float64; 16-bit floats need CUDA"
        )
