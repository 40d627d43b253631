"""Module: a tree of parameters, buffers and other modules, with PyTorch's names and `state_dict`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np

from .. import backend
from ..autograd import no_grad
from ..tensor import Tensor, as_tensor
from . import hooks
from .hooks import RemovableHandle

M = TypeVar("M", bound="Module")


class Parameter(Tensor):
    """A Tensor that a Module trains: assigned to an attribute of one, it is registered there.

    data: as for `as_tensor`, memory is shared where it can be; requires_grad: default True.
    """

    __slots__ = ()

    def __init__(self, data: Any = (), requires_grad: bool = True) -> None:
        super().__init__(as_tensor(data), requires_grad)

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


class StateDictError(ValueError, RuntimeError):
    """A state that does not fit its module. Also a RuntimeError, which is what PyTorch raises and its users catch."""


class LoadResult(NamedTuple):
    """What `load_state_dict(strict=False)` passed over."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """The base of all layers and networks. A subclass calls `super().__init__()`, assigns parameters and modules to
    attributes and defines `forward`.
    """

    training: bool
    _optional_state: ClassVar[frozenset[str]] = (
        frozenset()
    )  # names that a state may lack: older PyTorch did not write them

    def __init__(self) -> None:
        self.training = True
        self._parameters: dict[str, Parameter | None] = {}
        self._buffers: dict[str, Tensor | None] = {}
        self._modules: dict[str, Module | None] = {}
        self._non_persistent: set[str] = set()
        self._forward_pre_hooks: dict[int, tuple[Callable, bool]] = {}
        self._forward_hooks: dict[int, tuple[Callable, bool]] = {}
        self._backward_hooks: dict[int, tuple[Callable, bool]] = {}

    # --- calling ------------------------------------------------------------------------------------------------------
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; TypeError unless a subclass defines it."""
        raise TypeError(f"{type(self).__name__}: forward is not defined")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not (self._forward_pre_hooks or self._forward_hooks or self._backward_hooks):
            return self.forward(*args, **kwargs)
        for hook, with_kwargs in tuple(self._forward_pre_hooks.values()):
            if with_kwargs:
                args, kwargs = hook(self, args, kwargs) or (args, kwargs)
                continue
            changed = hook(self, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        backward = hooks.Backward(self, tuple(self._backward_hooks.values())) if self._backward_hooks else None
        output = self.forward(*(args if backward is None else backward.inputs(args)), **kwargs)
        for hook, with_kwargs in tuple(self._forward_hooks.values()):
            changed = hook(self, args, kwargs, output) if with_kwargs else hook(self, args, output)
            output = output if changed is None else changed
        return output if backward is None else backward.outputs(output)

    def register_forward_pre_hook(
        self, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Calls `hook(module, args)` before forward; what it returns, if not None, replaces args. With `with_kwargs`
        it is `hook(module, args, kwargs)`, returning both or None. prepend: before the hooks that are there."""
        return hooks.add(self._forward_pre_hooks, hook, with_kwargs, prepend)

    def register_forward_hook(
        self, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Calls `hook(module, args, output)` after forward; what it returns, if not None, replaces the output. With
        `with_kwargs` it is `hook(module, args, kwargs, output)`. prepend: before the hooks that are there."""
        return hooks.add(self._forward_hooks, hook, with_kwargs, prepend)

    def register_full_backward_pre_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """Calls `hook(module, grad_output)` before the module's backward, with a tuple of the gradients of what forward
        returned (of its Tensors, not of tuples in a tuple); what it returns, if not None, replaces them."""
        return hooks.add(self._backward_hooks, hook, True, prepend)

    def register_full_backward_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """Calls `hook(module, grad_input, grad_output)` after the module's backward, with tuples of the gradients of
        the positional arguments and of the outputs; what it returns, if not None, replaces grad_input."""
        return hooks.add(self._backward_hooks, hook, False, prepend)

    # --- attributes ---------------------------------------------------------------------------------------------------
    def __setattr__(self, name: str, value: Any) -> None:
        for kind, registry in ((Parameter, "_parameters"), (Module, "_modules"), (Tensor, "_buffers")):
            members = self.__dict__.get(registry)
            if isinstance(value, kind) and kind is not Tensor:
                if members is None:
                    raise AttributeError(
                        f"{type(self).__name__}.{name}: call super().__init__() before assigning to it"
                    )
                self._forget(name, keep=registry)
                members[name] = value
                return
            if members is not None and name in members:
                if value is not None and not isinstance(value, kind):
                    came = type(value).__name__
                    raise TypeError(f"{type(self).__name__}.{name} is a {came}, expected a {kind.__name__} or None")
                members[name] = value
                return
        object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        attributes = self.__dict__
        for registry in ("_parameters", "_buffers", "_modules"):
            if registry in attributes and name in attributes[registry]:
                return attributes[registry][name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _parameter(self, name: str) -> Any:
        """The attribute `name`, sooner than by way of `__getattr__` where it is a parameter."""
        found = self._parameters.get(name)
        return getattr(self, name) if found is None else found

    def __delattr__(self, name: str) -> None:
        if not self._forget(name):
            object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *self._parameters, *self._buffers, *self._modules})

    def _forget(self, name: str, keep: str = "") -> bool:
        """Takes `name` out of every registry but `keep`; whether it was in one."""
        registries = [r for r in ("__dict__", "_parameters", "_buffers", "_modules") if r != keep]
        found = [r for r in registries if name in getattr(self, r)]
        for registry in found:
            del getattr(self, registry)[name]
        if keep != "_buffers":
            self._non_persistent.discard(name)
        return bool(found)

    def _check_name(self, call: str, name: Any) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{call}: name is {name!r}, expected a string")
        if not name or "." in name:
            raise ValueError(f"{call}: name is {name!r}, expected a name that is not empty and has no dot")
        if hasattr(self, name) and all(name not in r for r in (self._parameters, self._buffers, self._modules)):
            raise ValueError(f"{call}: name is {name!r}, which {type(self).__name__} already has")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """As assigning to the attribute; None reserves the name. TypeError for what is no Parameter, ValueError for
        the name."""
        self._check_name("register_parameter", name)
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(f"register_parameter: param is a {type(param).__name__}, expected a Parameter or None")
        self._forget(name, keep="_parameters")
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """A tensor that is moved and saved with the module but not trained; not saved where `persistent` is False."""
        self._check_name("register_buffer", name)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"register_buffer: tensor is a {type(tensor).__name__}, expected a Tensor or None")
        self._forget(name, keep="_buffers")
        self._buffers[name] = tensor
        (self._non_persistent.discard if persistent else self._non_persistent.add)(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """As assigning to the attribute; the name may be a number."""
        self._check_name("add_module", name)
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"add_module: module is a {type(module).__name__}, expected a Module or None")
        self._forget(name, keep="_modules")
        self._modules[name] = module

    register_module = add_module

    # --- walking ------------------------------------------------------------------------------------------------------
    def named_modules(self, prefix: str = "", remove_duplicate: bool = True) -> Iterator[tuple[str, Module]]:
        """(path, module) of this module and all below it, parents first."""
        return self._walk(prefix, set() if remove_duplicate else None)

    def _walk(self, prefix: str, seen: set[int] | None) -> Iterator[tuple[str, Module]]:
        if seen is not None:
            if id(self) in seen:
                return
            seen.add(id(self))
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module._walk(_join(prefix, name), seen)

    def _named_members(self, registry: str, prefix: str, recurse: bool, unique: bool) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for path, module in self.named_modules(prefix, unique) if recurse else [(prefix, self)]:
            for name, member in getattr(module, registry).items():
                if member is not None and not (unique and id(member) in seen):
                    seen.add(id(member))
                    yield _join(path, name), member

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """(path, parameter), each parameter once unless `remove_duplicate` is False."""
        return self._named_members("_parameters", prefix, recurse, remove_duplicate)

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        return self._named_members("_buffers", prefix, recurse, remove_duplicate)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) of the modules directly below."""
        return self._named_members("_modules", "", False, True)

    def modules(self) -> Iterator[Module]:
        return (module for _, module in self.named_modules())

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Each parameter once, in the order of `named_parameters`."""
        seen: set[int] = set()
        for module in self.modules() if recurse else (self,):
            for parameter in module._parameters.values():
                if parameter is not None and id(parameter) not in seen:
                    seen.add(id(parameter))
                    yield parameter

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def children(self) -> Iterator[Module]:
        return (module for _, module in self.named_children())

    def get_submodule(self, target: str) -> Module:
        """The module at the path `target` ("" is this one); AttributeError where there is none."""
        module = self
        for name in target.split(".") if target else ():
            module = getattr(module, name)
            if not isinstance(module, Module):
                raise AttributeError(f"get_submodule: {name!r} in {target!r} is no module")
        return module

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at the path `target`; AttributeError where there is none."""
        path, _, name = target.rpartition(".")
        found = self.get_submodule(path)._parameters.get(name)
        if found is None:
            raise AttributeError(f"get_parameter: {type(self).__name__} has no parameter {target!r}")
        return found

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at the path `target`; AttributeError where there is none."""
        path, _, name = target.rpartition(".")
        found = self.get_submodule(path)._buffers.get(name)
        if found is None:
            raise AttributeError(f"get_buffer: {type(self).__name__} has no buffer {target!r}")
        return found

    # --- state --------------------------------------------------------------------------------------------------------
    def state_dict(
        self, *, destination: dict[str, Tensor] | None = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Tensor]:
        """Parameters and persistent buffers by path, sharing memory with the module; detached unless `keep_vars`."""
        out: dict[str, Tensor] = {} if destination is None else destination
        persistent = {n: b for n, b in self._buffers.items() if n not in self._non_persistent}
        for name, tensor in (*self._parameters.items(), *persistent.items()):
            if tensor is not None:
                out[prefix + name] = tensor if keep_vars else tensor.detach()
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(destination=out, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        return out

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> LoadResult:
        """Copies the values of `state_dict` into the parameters and buffers of the same paths, cast to their dtypes.

        state_dict: a mapping from paths to Tensors, NumPy or CuPy arrays, or anything with DLPack, such as PyTorch's
        tensors. strict: whether missing and unexpected paths are errors; they are returned otherwise. Raises one
        ValueError that lists all missing, unexpected and unfit entries, before anything has changed; TypeError where
        `state_dict` is no mapping.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"load_state_dict: state_dict is a {type(state_dict).__name__}, expected a mapping")
        own = self.state_dict(keep_vars=True)
        optional = {_join(path, name) for path, m in self.named_modules() for name in m._optional_state}
        missing = [name for name in own if name not in state_dict and name not in optional]
        unexpected = [name for name in state_dict if name not in own]
        problems = [f"missing: {', '.join(missing)}"] if strict and missing else []
        problems += [f"unexpected: {', '.join(map(str, unexpected))}"] if strict and unexpected else []
        values: dict[str, Tensor] = {}
        for name in [name for name in own if name in state_dict]:
            try:
                values[name] = _fitting(state_dict[name], own[name])
            except (TypeError, ValueError, RuntimeError, BufferError) as error:
                problems.append(f"{name}: {error}")
        if problems:
            lines = "\n  ".join(problems)
            raise StateDictError(f"load_state_dict: the state does not fit {type(self).__name__}:\n  {lines}")
        with no_grad():
            for name, value in values.items():
                own[name].copy_(value)
        return LoadResult(missing, unexpected)

    # --- all at once --------------------------------------------------------------------------------------------------
    def apply(self: M, fn: Callable[[Module], Any]) -> M:
        """Calls `fn` on every module below and then on this one."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def train(self: M, mode: bool = True) -> M:
        """Sets `training` of this module and all below: dropout and batch norm read it."""
        if not isinstance(mode, bool):
            raise ValueError(f"train: mode is {mode!r}, expected True or False")
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: M) -> M:
        """`train(False)`"""
        return self.train(False)

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Sets `requires_grad` of every parameter."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops every gradient, or sets it to zero where `set_to_none` is False."""
        for parameter in self.parameters():
            if set_to_none:
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad = parameter.grad.detach().zero_()

    def to(self: M, *target: Any, device: Any = None, dtype: Any = None) -> M:
        """Moves everything to a device, casts what is floating to a dtype, or both; given by position or by name, or
        as a Tensor that has them. TypeError for a dtype that is not floating, RuntimeError for a missing device,
        nothing changed then."""
        for t in target:
            if isinstance(t, Tensor):
                device, dtype = t.device, t.dtype
            elif isinstance(t, str) and t.partition(":")[0] in ("cpu", "cuda"):
                device = t
            elif t is not None:
                dtype = t
        if device is not None:
            device = backend.parse_device(device)
        if dtype is not None and np.dtype(dtype).kind not in "fV":
            raise TypeError(f"to: dtype is {np.dtype(dtype)}, expected a floating dtype")
        return self._convert(lambda t: t.to(device=device, dtype=dtype if t.is_floating_point() else None))

    def _convert(self: M, convert: Callable[[Tensor], Tensor]) -> M:
        """Gives every parameter, buffer and gradient the data of `convert` of it; all are converted before one is
        replaced."""
        members = [t for m in self.modules() for t in (*m._parameters.values(), *m._buffers.values()) if t is not None]
        unique = list({id(t): t for t in members}.values())
        with no_grad():
            converted = [(convert(t), None if t.grad is None else convert(t.grad).detach()) for t in unique]
        for tensor, (new, grad) in zip(unique, converted, strict=True):
            tensor.data, tensor.grad = new.data, grad
        return self

    def float(self: M) -> M:
        return self.to(dtype=np.float32)

    def double(self: M) -> M:
        return self.to(dtype=np.float64)

    def half(self: M) -> M:
        return self.to(dtype=np.float16)

    def bfloat16(self: M) -> M:
        return self._convert(lambda t: t.bfloat16() if t.is_floating_point() else t)

    def cpu(self: M) -> M:
        return self.to("cpu")

    def cuda(self: M, device: int = 0) -> M:
        return self.to(f"cuda:{device}")

    # --- showing ------------------------------------------------------------------------------------------------------
    def extra_repr(self) -> str:
        """What stands between the parentheses of `repr`, besides the modules below."""
        return ""

    def __repr__(self) -> str:
        name, extra = type(self).__name__, self.extra_repr()
        children = [f"({key}): {child!r}" for key, child in self._modules.items()]
        if not children:
            return f"{name}({extra})"
        body = "\n".join(([extra] if extra else []) + children).replace("\n", "\n  ")
        return f"{name}(\n  {body}\n)"


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _fitting(value: Any, target: Tensor) -> Tensor:
    """`value` as a Tensor on the device of `target`; ValueError or TypeError where it cannot be copied into
    `target`."""
    if not isinstance(value, Tensor) and hasattr(value, "detach"):  # PyTorch's: only detached ones can be shared
        value = value.detach()
    if not hasattr(value, "dtype"):
        raise TypeError(f"is a {type(value).__name__}, expected an array")
    value = as_tensor(value).detach()
    if value.shape != target.shape:
        raise ValueError(f"has shape {value.shape}, expected {target.shape}")
    if value.is_floating_point() and not target.is_floating_point():
        raise TypeError(f"has dtype {value.dtype}, expected {target.dtype}")
    return value.to(target.device)


class Options(Module):
    """A layer without parameters: the options of its function, shown by name."""

    _shown: ClassVar[tuple[str, ...]] = ()

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in self._shown)
