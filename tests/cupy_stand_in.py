"""A stand-in for CuPy on machines without a GPU: arrays that only pretend to lie on one, with the native kernels of
`_cuda_host` behind them.

It is as strict as CuPy where code written for NumPy goes wrong: no implicit conversion to NumPy, no operation on arrays
of both kinds, 0-d arrays in place of scalars, and reductions that know neither `initial` nor `where`.
"""

import types
from typing import Any

import numpy as np

STREAM = 77


def unwrap(value: Any) -> Any:
    """NumPy's arrays behind the stand-ins; TypeError for NumPy's own."""
    if isinstance(value, ndarray):
        return value._a
    if isinstance(value, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if isinstance(value, (list, tuple)):
        return type(value)(unwrap(v) for v in value)
    return value


def wrap(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return ndarray(value)
    return type(value)(wrap(v) for v in value) if type(value) in (list, tuple) else value


class Device:
    def __init__(self, index: int = 0) -> None:
        self.id = index

    def __enter__(self) -> "Device":
        return self

    def __exit__(self, *_: Any) -> None:
        pass


_METHODS = [
    *("reshape", "astype", "copy", "ravel", "flatten", "transpose", "squeeze", "swapaxes", "repeat", "take", "fill"),
    *("cumsum", "nonzero", "argsort", "sort", "argmax", "argmin", "view", "diagonal"),
]
_REDUCTIONS = ["sum", "prod", "mean", "max", "min", "any", "all", "var", "std"]


_owners: dict[int, "ndarray"] = {}


def _owner(a: np.ndarray) -> "ndarray":
    """The one stand-in for an array that views have as their base."""
    return _owners.setdefault(id(a), ndarray(a))


class ndarray(np.lib.mixins.NDArrayOperatorsMixin):
    def __init__(self, a: Any) -> None:
        self._a = np.asarray(a)

    device = property(lambda self: Device())
    T = property(lambda self: ndarray(self._a.T))
    base = property(lambda self: None if self._a.base is None else _owner(self._a.base))
    nbytes = property(lambda self: self._a.nbytes)
    __cuda_array_interface__ = property(lambda self: {**self._a.__array_interface__, "version": 3})

    def __getattr__(self, name: str) -> Any:
        if name in ("shape", "dtype", "ndim", "size", "itemsize", "strides", "flags", "item", "tolist", "data"):
            return getattr(self._a, name)
        if name not in _METHODS and name not in _REDUCTIONS:
            raise AttributeError(f"'cupy.ndarray' object has no attribute {name!r}")

        def method(*args: Any, **options: Any) -> Any:
            if name in _REDUCTIONS and {"initial", "where"} & set(options):
                raise TypeError(f"{name}() got an unexpected keyword argument")
            result = getattr(self._a, name)(*unwrap(args), **{k: unwrap(v) for k, v in options.items()})
            return options.get("out") if options.get("out") is not None else wrap(result)

        return method

    def get(self) -> np.ndarray:
        return self._a.copy()

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if method not in ("__call__", "reduce"):
            return NotImplemented
        out = options.pop("out", ())
        given = {k: unwrap(v) for k, v in options.items()}
        result = getattr(ufunc, method)(*unwrap(inputs), **given, **({"out": unwrap(out)} if out else {}))
        return out[0] if out else wrap(result)

    def __array_function__(self, function: Any, _: Any, args: Any, options: Any) -> Any:
        if function.__name__ in ("max", "min", "amax", "amin", "sum", "prod") and {"initial", "where"} & set(options):
            raise TypeError(f"{function.__name__}() got an unexpected keyword argument")
        return wrap(function(*unwrap(args), **{k: unwrap(v) for k, v in options.items()}))

    def _index(self, index: Any) -> Any:
        parts = index if isinstance(index, tuple) else (index,)
        found = tuple(i._a if isinstance(i, ndarray) else i for i in parts)
        return found if isinstance(index, tuple) else found[0]

    def __getitem__(self, index: Any) -> "ndarray":
        return ndarray(self._a[self._index(index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        self._a[self._index(index)] = unwrap(value)

    def __len__(self) -> int:
        return len(self._a)

    def __iter__(self) -> Any:
        return (ndarray(row) for row in self._a)

    def __bool__(self) -> bool:
        return bool(self._a)

    def __float__(self) -> float:
        return float(self._a)

    def __int__(self) -> int:
        return int(self._a)

    def __index__(self) -> int:
        return self._a.__index__()

    def __format__(self, spec: str) -> str:
        return format(self._a.item() if self._a.ndim == 0 else str(self._a), spec)


class Native:
    """`_cuda`, as `_cuda_host` on the arrays behind the stand-ins; `loop`: the algorithm of recurrent layers."""

    def __init__(self, host: Any, loop: str = "auto") -> None:
        self._host, self._loop = host, loop

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        function = getattr(self._host, name)
        on_host = {"lengths", "reset"}
        takes_loop = ", algorithm: str" in function.__doc__ and not name.startswith("conv")

        if name == "allow_tf32":
            return function

        def call(*args: Any, stream: int, **options: Any) -> Any:
            assert stream == STREAM
            names = [part.split(":")[0] for part in function.__doc__.split("(", 1)[1].split(", ")]
            for argument, value in zip(names, args, strict=False):
                if isinstance(value, np.ndarray) and argument not in on_host:
                    raise TypeError(f"{name}: {argument} is a numpy.ndarray, expected a CuPy array")
            given = [a if n in on_host else unwrap(a) for n, a in zip(names, args, strict=False)]
            options |= {"algorithm": self._loop} if takes_loop else {}
            return function(*given, **{k: unwrap(v) for k, v in options.items()})

        return call


def module() -> types.ModuleType:
    """What `import cupy` gives."""
    cupy = types.ModuleType("cupy")

    def asarray(a: Any, dtype: Any = None) -> ndarray:
        return (
            a if isinstance(a, ndarray) and dtype in (None, a.dtype) else ndarray(np.array(getattr(a, "_a", a), dtype))
        )

    def add_at(a: ndarray, index: Any, b: Any) -> None:
        np.add.at(a._a, a._index(index), unwrap(b))

    def current_stream(device: int) -> Any:
        return types.SimpleNamespace(ptr=STREAM)

    contents = {
        "is_available": lambda: True,
        "ndarray": ndarray,
        "asarray": asarray,
        "array": lambda a, dtype=None: ndarray(np.array(getattr(a, "_a", a), dtype)),
        "empty": lambda shape, dtype: ndarray(np.full(shape, 0x5A, np.uint8).astype(dtype)),
        "add": types.SimpleNamespace(at=add_at),
        "cuda": types.SimpleNamespace(Device=Device, get_current_stream=current_stream, is_available=lambda: True),
        "from_dlpack": lambda a: a,
    }
    for name, value in contents.items():
        setattr(cupy, name, value)
    return cupy
