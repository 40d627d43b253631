"""Modules that hold modules: in a row, in a list, under names."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar, overload

from . import fuse
from .module import Module

C = TypeVar("C", bound="_Numbered")


class _Numbered(Module):
    """Children under the names "0", "1", ...; indexing, slices and changes as in a list."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._modules.values())

    def __contains__(self, module: object) -> bool:
        return any(child is module for child in self)

    def _key(self, index: int) -> str:
        """The name of child `index`; IndexError outside the list."""
        size, i = len(self), operator.index(index)
        if not -size <= i < size:
            raise IndexError(f"{type(self).__name__}: index is {i}, expected {-size}..{size - 1}")
        return list(self._modules)[i]

    @overload
    def __getitem__(self: C, index: slice) -> C: ...
    @overload
    def __getitem__(self, index: int) -> Any: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            part = type(self)()
            for name, module in list(self._modules.items())[index]:
                part.add_module(name if isinstance(self, Sequential) else str(len(part)), module)
            return part
        return self._modules[self._key(index)]

    def __setitem__(self, index: int, module: Module) -> None:
        self.add_module(self._key(index), module)

    def __delitem__(self, index: int | slice) -> None:
        names = list(self._modules)
        doomed = names[index] if isinstance(index, slice) else [self._key(index)]
        kept = [module for name, module in self._modules.items() if name not in doomed]
        if all(name.isdigit() for name in names):
            self._renumber(kept)
        else:
            for name in doomed:
                del self._modules[name]

    def _renumber(self, modules: list[Any]) -> None:
        self._modules.clear()
        for i, module in enumerate(modules):
            self.add_module(str(i), module)

    def append(self: C, module: Module) -> C:
        self.add_module(str(len(self)), module)
        return self

    def extend(self: C, modules: Iterable[Module]) -> C:
        for module in list(modules):
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> None:
        """As list.insert: the modules from `index` on move up by one."""
        children = list(self)
        children.insert(index, module)
        self._renumber(children)


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

    def forward(self, x: Any) -> Any:
        return fuse.run(list(self), x)


fuse.STAGES[Sequential] = lambda layer, x, add, rectifier: fuse.run(list(layer), x, add, rectifier)


class ModuleList(_Numbered):
    """A list of modules; it has no forward of its own."""


class ModuleDict(Module):
    """Modules under names, as a dict; it has no forward of its own."""

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        self.update(modules or {})

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, name: object) -> bool:
        return name in self._modules

    def __getitem__(self, name: str) -> Any:
        return self._modules[name]

    def __setitem__(self, name: str, module: Module) -> None:
        self.add_module(name, module)

    def __delitem__(self, name: str) -> None:
        del self._modules[name]

    def keys(self) -> Iterable[str]:
        return self._modules.keys()

    def values(self) -> Iterable[Any]:
        return self._modules.values()

    def items(self) -> Iterable[tuple[str, Any]]:
        return self._modules.items()

    def pop(self, name: str) -> Any:
        """Takes the module out and returns it."""
        return self._modules.pop(name)

    def clear(self) -> None:
        self._modules.clear()

    def update(self, modules: Mapping[str, Module]) -> None:
        for name, module in modules.items():
            self.add_module(name, module)
