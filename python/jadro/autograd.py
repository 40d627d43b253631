"""The tape: Functions, the graph they record, and reverse mode.

A `Function` is a pair of static methods on arrays. `Function.apply` runs `forward` and, where an input requires a
gradient, leaves a `Node` that knows the nodes of the inputs. `backward` walks the nodes from the newest to the oldest:
an input is always older than its result, so that is a topological order, and nothing recurses.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ContextDecorator
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .backend import Array, compute
from .tensor import Tensor, as_tensor, wrap

# Where a gradient goes: output `index` of a Node, or a leaf Tensor with index 0.
Edge = tuple[Any, int]

# Of a saved array: the version counter of what holds it, its value then, and the input, or the number of the output.
Origin = tuple[list[int], int, Any]


class _Mode(threading.local):
    enabled = True

    def __init__(self) -> None:
        self.before: list[bool] = []


_mode = _Mode()
_errstate = np.errstate
_numbers = count()


def is_grad_enabled() -> bool:
    """Whether operations are recorded in this thread."""
    return _mode.enabled


class _SetGrad(ContextDecorator):
    """Sets the recording mode of the thread inside a `with` block, or inside the decorated function."""

    _value: ClassVar[bool]

    def __new__(cls, function: Callable | None = None) -> Any:
        self = super().__new__(cls)
        return self if function is None else self(function)  # also as a bare decorator

    def __enter__(self) -> None:
        _mode.before.append(_mode.enabled)
        _mode.enabled = self._value

    def __exit__(self, *error: object) -> None:
        _mode.enabled = _mode.before.pop()


class no_grad(_SetGrad):
    """Operations inside are not recorded; a context manager and a decorator, for the calling thread only."""

    _value = False


class enable_grad(_SetGrad):
    """Operations inside are recorded, also within `no_grad`; a context manager and a decorator."""

    _value = True


class Node:
    """One recorded call, and the `ctx` that its Function's `forward` and `backward` share.

    `needs[i]` says whether argument i wants a gradient. `save(...)` keeps arrays for `saved`; other attributes are
    free.
    """

    __slots__ = ("__dict__", "_graph", "_origins", "_saved", "dtypes", "edges", "fn", "needs", "number")

    def __init__(self, fn: type[Function], needs: list[bool]) -> None:
        self.fn = fn
        self.needs = needs
        self._saved: tuple[Any, ...] | None = ()

    if TYPE_CHECKING:  # any attribute may be set in forward and read in backward

        def __getattr__(self, name: str) -> Any: ...
        def __setattr__(self, name: str, value: Any) -> None: ...

    def save(self, *arrays: Any) -> None:
        """Keeps inputs and outputs for backward. Save them as they came and as they are returned: a changed copy (also
        a contiguous one) is a constant to a differentiable backward."""
        self._saved = arrays

    @property
    def saved(self) -> tuple[Any, ...]:
        """What was saved: arrays, or Tensors with their history while a differentiable backward runs."""
        saved = self._saved
        if saved is None:
            raise RuntimeError(_FREED)
        for origin in self._origins:
            if origin is not None and origin[0][0] != origin[1]:
                raise RuntimeError(
                    f"backward: a tensor that {self.fn.name} needs was modified in place since it was saved"
                )
        if not self._graph:
            return saved
        return tuple(self._with_history(a, o) for a, o in zip(saved, self._origins, strict=True))

    def record(self, args: tuple[Any, ...], results: tuple[Array, ...], outs: list[Tensor]) -> None:
        """Enters the graph: where gradients go, and which tensors the saved arrays belong to."""
        self.number = next(_numbers)
        self._graph = False
        self.edges: list[Edge | None] | None = [
            (a._node or a, a._index) if n else None for a, n in zip(args, self.needs, strict=True)
        ]
        self.dtypes = [out.data.dtype for out in outs]
        self._origins: list[Origin | None] = []
        if self._saved:
            origins: dict[int, Origin] = {}  # by array; an input goes before an output, the first before the others
            for i in range(len(outs) - 1, -1, -1):
                version = outs[i]._version
                origins[id(results[i])] = (version, version[0], i)
            for a in reversed(args):
                if isinstance(a, Tensor):
                    origins[id(a.data)] = (a._version, a._version[0], a)
            self._origins = [origins.get(id(array)) for array in self._saved]

    def _with_history(self, array: Any, origin: Origin | None) -> Any:
        if origin is None:
            return array
        source = origin[2]
        return source if isinstance(source, Tensor) else wrap(array, self, source)

    def release(self) -> None:
        """Drops what was saved and the way to older nodes."""
        self._saved = self.edges = None
        self._origins = []
        self.__dict__.clear()


_FREED = (
    "backward: the graph was freed by an earlier backward; pass retain_graph=True there, or compute the result again"
)


def edge_of(t: Tensor) -> Edge:
    """Where the gradient of `t` goes."""
    return t._node or t, t._index


class Function:
    """A differentiable operation.

    `forward(ctx, *arrays, **options)` gets the arrays of the Tensors among the arguments of `apply` and returns an
    array or a tuple of arrays. `backward(ctx, *dys)` gets an array for each output (None where an output of several got
    no gradient) and returns the gradient of each argument of `forward`, None where there is none. Neither may write to
    its arguments. `backward_graph` does the same on Tensors, recording its operations; a Function without it refuses
    `create_graph=True`.
    """

    name: ClassVar[str] = ""
    is_view: ClassVar[bool] = False  # the output may share memory with the first input, a Tensor
    may_warn: ClassVar[bool] = False  # forward computes with NumPy; NaN and infinity shall pass without a word

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "name" not in cls.__dict__:
            cls.name = cls.__name__.lower()

    @staticmethod
    def forward(ctx: Node, *arrays: Any, **options: Any) -> Any:
        raise TypeError("Function: forward is not defined")

    @staticmethod
    def backward(ctx: Node, *dys: Any) -> Any:
        raise TypeError("Function: backward is not defined")

    @classmethod
    def backward_graph(cls, ctx: Node, *dys: Any) -> Any:
        raise RuntimeError(f"{cls.name}: its backward cannot be differentiated; use create_graph=False")

    @classmethod
    def apply(cls, *args: Any, **options: Any) -> Any:
        """Runs `forward` on Tensors, arrays and other arguments, and records the call where a Tensor requires a
        gradient."""
        arrays = [a.data if isinstance(a, Tensor) else a for a in args]
        record = False
        if _mode.enabled:
            needs = [isinstance(a, Tensor) and a._requires_grad for a in args]
            record = True in needs
        else:
            needs = [False] * len(args)
        ctx = Node(cls, needs)
        if cls.may_warn:
            with _errstate(all="ignore"):
                result = cls.forward(ctx, *arrays, **options)
        else:
            result = cls.forward(ctx, *arrays, **options)
        node = ctx if record else None
        several = result.__class__ is tuple
        outs = [_output(r, node, i) for i, r in enumerate(result)] if several else [_output(result, node, 0)]
        if cls.is_view:
            outs[0]._version = args[0]._version
        if record:
            ctx.record(args, result if several else (result,), outs)
        return tuple(outs) if several else outs[0]

    @classmethod
    def call(cls, *args: Any, **options: Any) -> Any:
        """`apply` where an argument is a Tensor, else `forward` on arrays; for backward formulas that serve both."""
        if any(isinstance(a, Tensor) for a in args):
            return cls.apply(*args, **options)
        return cls.forward(Node(cls, [False] * len(args)), *args, **options)


class Elementary(Function):
    """A Function whose backward uses operators and `call` only, and so runs on arrays and on Tensors alike."""

    may_warn = True

    @classmethod
    def backward_graph(cls, ctx: Node, *dys: Any) -> Any:
        return cls.backward(ctx, *dys)


def _output(array: Any, node: Node | None, index: int) -> Tensor:
    """A result as a Tensor; integers and booleans have no gradient."""
    if isinstance(array, np.generic):
        array = np.asarray(array)
    return wrap(array, None if array.dtype.kind in "iub" else node, index)


class _Walk:
    """One reverse pass: pending gradients, and the nodes that wait for their turn, the newest first."""

    def __init__(self, create_graph: bool, retain_graph: bool | None) -> None:
        self.create_graph = create_graph
        self.retain_graph = create_graph if retain_graph is None else retain_graph
        self.wanted: set[Edge] = set()  # gradients to hand out, besides those of the leaves met
        self.reach: set[Node] | None = None  # the nodes worth visiting; None: all
        self.pending: dict[Edge, Any] = {}
        self.owned: set[Edge] = set()  # pending sums that nobody else can see
        self.queue: list[tuple[int, Node]] = []
        self.queued: set[Node] = set()  # those that are or were in the queue: nobody older delivers to a visited one

    def deliver(self, edge: Edge, grad: Any) -> None:
        target, index = edge
        if self.reach is not None and target not in self.reach and edge not in self.wanted:
            return
        node = target if target.__class__ is Node else None
        dtype = target.data.dtype if node is None else node.dtypes[index]
        if isinstance(grad, np.generic):
            grad = np.asarray(grad)
        if grad.dtype != dtype:
            grad = grad.to(dtype) if self.create_graph else grad.astype(dtype)
        have = self.pending.get(edge)
        if have is None:
            if node is not None and node not in self.queued:
                self.queued.add(node)
                heappush(self.queue, (-node.number, node))
            self.pending[edge] = grad
        elif edge in self.owned:
            have += grad
        else:
            total = have + grad if self.create_graph else compute(np.add, have, grad)
            self.pending[edge] = np.asarray(total) if isinstance(total, np.generic) else total
            if not self.create_graph:
                self.owned.add(edge)

    def run(self, outs: Sequence[Tensor], seeds: Sequence[Tensor]) -> dict[Edge, Any]:
        """The gradients of the `wanted` edges and of all leaves met, starting with `seeds` at `outs`."""
        for out, seed in zip(outs, seeds, strict=True):
            self.deliver(edge_of(out), seed if self.create_graph else seed.data)
        with (enable_grad if self.create_graph else no_grad)(), _errstate(all="ignore"):
            return self._empty_queue()

    def _empty_queue(self) -> dict[Edge, Any]:
        found: dict[Edge, Any] = {}
        while self.queue:
            node = heappop(self.queue)[1]
            dys = []
            for i in range(len(node.dtypes)):
                dy = self.pending.pop((node, i), None)
                dys.append(dy)
                if dy is not None and (node, i) in self.wanted:
                    found[node, i] = dy
            if self.reach is None or node in self.reach:
                self.visit(node, dys)
        found.update(self.pending)
        return found

    def visit(self, node: Node, dys: list[Any]) -> None:
        if node.edges is None:
            raise RuntimeError(_FREED)
        node._graph = self.create_graph
        run = node.fn.backward_graph if self.create_graph else node.fn.backward
        dxs = run(node, *dys)
        if dxs.__class__ is not tuple:
            dxs = (dxs,)
        for edge, dx in zip(node.edges, dxs, strict=False):
            if edge is not None and dx is not None:
                self.deliver(edge, dx)
        if not self.retain_graph:
            node.release()


def _seed(call: str, out: Tensor, grad: Any) -> Any:
    """The gradient that starts at `out`: the one given, checked, or 1 for a scalar."""
    if not out._requires_grad:
        raise RuntimeError(f"{call}: the tensor does not require a gradient: no input of its computation does")
    if grad is None:
        if out.data.size != 1:
            raise ValueError(f"{call}: grad is missing and the tensor has shape {out.shape}, expected one element")
        return wrap(np.ones_like(out.data))
    grad = as_tensor(grad)
    if grad.shape != out.shape:
        raise ValueError(f"{call}: grad has shape {grad.shape}, expected {out.shape}")
    return grad


def backward(self: Tensor, grad: Any = None, retain_graph: bool | None = None, create_graph: bool = False) -> None:
    """Adds the gradient of this tensor to the `grad` of every leaf that it depends on, then frees the graph.

    grad: the gradient of the tensor itself, of its shape; may be left out for one element. retain_graph: keep the graph
    for another backward; default `create_graph`. create_graph: record the pass itself, for higher derivatives. Raises
    RuntimeError where the tensor requires no gradient, its graph was freed, or a saved tensor was modified in place.
    """
    seed = _seed("backward", self, grad)
    found = _Walk(create_graph, retain_graph).run([self], [seed])
    taken = {id(_memory(seed.data))}
    for (leaf, _), g in found.items():
        _accumulate(leaf, g, taken)


def _memory(array: Array) -> Array:
    """The array that owns the memory of `array`."""
    base = array.base
    return base if isinstance(base, type(array)) else array


def _accumulate(leaf: Tensor, g: Any, taken: set[int]) -> None:
    """leaf.grad += g; the first gradient is kept without a copy where no other tensor has its memory."""
    have = leaf.grad
    if isinstance(g, Tensor):
        leaf.grad = g if have is None else have + g
    elif have is None:
        memory, flags = _memory(g), g.flags
        writeable = getattr(flags, "writeable", True)  # CuPy has no read-only arrays
        if id(memory) in taken or memory.size != g.size or not flags.c_contiguous or not writeable:
            memory = g = g.copy(order="C")
        taken.add(id(memory))
        leaf.grad = wrap(g)
    elif have._node is not None:
        leaf.grad = wrap(have.data + g)
    else:
        have.data += g
        have._version[0] += 1


def _reachable(outs: Sequence[Tensor], wanted: set[Edge]) -> set[Node]:
    """The nodes between `outs` and the `wanted` edges; a freed node may be one."""
    nodes: set[Node] = set()
    stack = [out._node for out in outs if out._node is not None]
    while stack:
        node = stack.pop()
        if node not in nodes:
            nodes.add(node)
            stack.extend(e[0] for e in node.edges or () if e is not None and e[0].__class__ is Node)
    reach: set[Node] = set()
    for node in sorted(nodes, key=lambda n: n.number):
        if node.edges is None or any(e is not None and (e in wanted or e[0] in reach) for e in node.edges):
            reach.add(node)
    return reach


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    create_graph: bool = False,
    *,
    retain_graph: bool | None = None,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of `outputs` (summed, weighted with `grad_outputs`) with respect to `inputs`; no `.grad` is
    touched.

    grad_outputs: one array of the output's shape an output; None for outputs of one element. create_graph: the result
    can be differentiated again. retain_graph: default `create_graph`. allow_unused: None instead of a RuntimeError for
    an input that the outputs do not depend on.
    """
    outs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    ins = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    if grad_outputs is None or not isinstance(grad_outputs, (list, tuple)):
        grad_outputs = [grad_outputs] * len(outs)
    if len(grad_outputs) != len(outs):
        raise ValueError(f"grad: grad_outputs has {len(grad_outputs)} entries, expected {len(outs)}, one an output")
    for i, t in enumerate(ins):
        if not t._requires_grad:
            raise RuntimeError(f"grad: inputs[{i}] does not require a gradient")
    seeds = [_seed("grad", out, g) for out, g in zip(outs, grad_outputs, strict=True)]
    walk = _Walk(create_graph, retain_graph)
    walk.wanted = {edge_of(t) for t in ins}
    walk.reach = _reachable(outs, walk.wanted)
    found = walk.run(outs, seeds)
    results = [found.get(edge_of(t)) for t in ins]
    unused = [i for i, r in enumerate(results) if r is None]
    if unused and not allow_unused:
        raise RuntimeError(
            f"grad: the outputs do not depend on inputs[{unused[0]}]; allow_unused=True gives None there"
        )
    return tuple(r if r is None or isinstance(r, Tensor) else wrap(r) for r in results)
