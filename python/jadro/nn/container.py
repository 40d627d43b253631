"""Modules that hold modules: in a row, in a list, under names."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar, overload

from ..tensor import Tensor
from . import fuse
from .checks import integer
from .module import Module, Parameter

C = TypeVar("C", bound="_Numbered")


class _Holder(Module):
    """Holds its members in one of the registries of Module."""

    @property
    def _members(self) -> dict[str, Any]:
        return self._modules

    def _add(self, name: str, member: Any) -> None:
        self.add_module(name, member)

    def __len__(self) -> int:
        return len(self._members)

    def clear(self) -> None:
        self._members.clear()


class _Parameters(_Holder):
    @property
    def _members(self) -> dict[str, Any]:
        return self._parameters

    def _add(self, name: str, member: Any) -> None:
        if isinstance(member, Tensor) and not isinstance(member, Parameter):
            member = Parameter(member)
        self.register_parameter(name, member)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}: {tuple(p.shape)}" for name, p in self._members.items())


class _Numbered(_Holder):
    """Members under the names "0", "1", ...; indexing, slices and changes as in a list."""

    def __init__(self, members: Iterable[Any] = ()) -> None:
        super().__init__()
        self.extend(members)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._members.values())

    def __contains__(self, member: object) -> bool:
        return any(own is member for own in self)

    def _key(self, index: int) -> str:
        """The name of child `index`; IndexError outside the list."""
        size, i = len(self), operator.index(index)
        if not -size <= i < size:
            raise IndexError(f"{type(self).__name__}: index is {i}, expected {-size}..{size - 1}")
        return list(self._members)[i]

    @overload
    def __getitem__(self: C, index: slice) -> C: ...
    @overload
    def __getitem__(self, index: int) -> Any: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            part = type(self)()
            for name, member in list(self._members.items())[index]:
                part._add(name if isinstance(self, Sequential) else str(len(part)), member)
            return part
        return self._members[self._key(index)]

    def __setitem__(self, index: int, member: Any) -> None:
        self._add(self._key(index), member)

    def __delitem__(self, index: int | slice) -> None:
        names = list(self._members)
        doomed = names[index] if isinstance(index, slice) else [self._key(index)]
        kept = [member for name, member in self._members.items() if name not in doomed]
        if all(name.isdigit() for name in names):
            self._renumber(kept)
        else:
            for name in doomed:
                del self._members[name]

    def _renumber(self, members: list[Any]) -> None:
        self.clear()
        for i, member in enumerate(members):
            self._add(str(i), member)

    def append(self: C, member: Any) -> C:
        self._add(str(len(self)), member)
        return self

    def extend(self: C, members: Iterable[Any]) -> C:
        for member in list(members):
            self.append(member)
        return self

    def insert(self: C, index: int, member: Any) -> C:
        """As list.insert: the members from `index` on move up by one."""
        members = list(self.append(member))[:-1]
        members.insert(index, member)
        self._renumber(members)
        return self

    def pop(self, index: int = -1) -> Any:
        """Takes member `index` out and returns it."""
        member = self[index]
        del self[index]
        return member

    def __add__(self: C, other: Iterable[Any]) -> C:
        """The members of both, in a new one."""
        if not isinstance(other, Iterable):
            return NotImplemented
        return type(self)().extend(self).extend(other)

    def __iadd__(self: C, other: Iterable[Any]) -> C:
        return self.extend(other)


class Sequential(_Numbered):
    """y = last(...(second(first(x))))

    Modules by position, or one mapping from names to modules. Layers that can share a native call do (`nn.fuse`).
    """

    def __init__(self, *modules: Any) -> None:
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            super().__init__()
            for name, module in modules[0].items():
                self.add_module(name, module)
        else:
            super().__init__(modules)

    def __mul__(self, times: int) -> Sequential:
        """The same modules `times` over, in a new one."""
        return Sequential(*list(self) * integer("Sequential", "times", times))

    __rmul__ = __mul__

    def forward(self, x: Any) -> Any:
        return fuse.run(list(self), x)


fuse.STAGES[Sequential] = lambda layer, x, add, rectifier: fuse.run(list(layer), x, add, rectifier)


class ModuleList(_Numbered):
    """A list of modules; it has no forward of its own."""


class ParameterList(_Parameters, _Numbered):
    """A list of parameters; a Tensor becomes one. It has no forward of its own."""


class _Named(_Holder):
    """Members under names, as in a dict."""

    def __init__(self, members: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.update(members or {})

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __contains__(self, name: object) -> bool:
        return name in self._members

    def __getitem__(self, name: str) -> Any:
        return self._members[name]

    def __setitem__(self, name: str, member: Any) -> None:
        self._add(name, member)

    def __delitem__(self, name: str) -> None:
        del self._members[name]

    def keys(self) -> Iterable[str]:
        return self._members.keys()

    def values(self) -> Iterable[Any]:
        return self._members.values()

    def items(self) -> Iterable[tuple[str, Any]]:
        return self._members.items()

    def pop(self, name: str) -> Any:
        """Takes the member out and returns it."""
        return self._members.pop(name)

    def update(self, members: Any) -> None:
        """Adds the members of a mapping, or pairs of name and member."""
        for name, member in dict(members).items():
            self._add(name, member)


class ModuleDict(_Named):
    """Modules under names, as a dict; it has no forward of its own."""


class ParameterDict(_Parameters, _Named):
    """Parameters under names, as a dict; a Tensor becomes one. It has no forward of its own."""

    def get(self, name: str, default: Any = None) -> Any:
        return self._members.get(name, default)
