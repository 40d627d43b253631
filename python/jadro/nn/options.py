"""What layers without parameters share."""

from __future__ import annotations

from typing import ClassVar

from .module import Module


class Options(Module):
    """A layer without parameters: the options of its function, shown by name."""

    _shown: ClassVar[tuple[str, ...]] = ()

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in self._shown)
