"""An ONNX graph as a Module: its weights are parameters, its nodes run in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..autograd import no_grad
from ..nn.module import Module, Parameter
from ..tensor import Tensor, as_tensor
from .control import CONTROL, Run
from .fuse import Chain, chains, fused
from .operators import OPERATORS, RANDOM, SETTINGS
from .package import package
from .reference import alone, evaluator, value
from .sequences import SEQUENCES

MAIN = ("", "ai.onnx")  # the domain of OPERATORS
# What a Constant is by its attribute, where that does not say it itself.
_CONSTANTS: dict[str, Any] = {
    "value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64,
    "value_string": object, "value_strings": object,
}  # fmt: skip


class Step(NamedTuple):
    """One node, or several as one call."""

    run: Run
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    around: tuple[str, ...] = ()  # what bodies take from around them
    done: tuple[str, ...] = ()  # values that no later step takes


class Program:
    """The nodes of a graph, or of the body of a control operator, ready to run.

    What follows from constants alone is computed once, here. Raises ValueError for an operator that neither jadro nor
    onnx's reference knows.
    """

    def __init__(self, graph: Any, opsets: dict[str, int], reference: set[str]) -> None:
        onnx = package()
        self.outputs = [o.name for o in graph.output]
        self.output_types = [o.type.tensor_type for o in graph.output]
        self.reference = reference  # operators that onnx's reference computes, of bodies too
        self.weights: dict[str, Tensor] = {}  # to train, or moments
        self.constants: dict[str, Any] = {}
        self._opsets = opsets
        for tensor in graph.initializer:
            weight = value(onnx.numpy_helper.to_array(tensor).copy())
            is_weight = isinstance(weight, Tensor) and weight.is_floating_point() and weight.ndim > 0
            (self.weights if is_weight else self.constants)[tensor.name] = weight
        self.inputs = [i.name for i in graph.input if i.name not in self.weights and i.name not in self.constants]
        nodes = [alone(node) for node in graph.node]
        steps = self._compiled([node for node in nodes if not self._fold(node)])
        self.steps = self._with_ends(steps)

    def _fold(self, node: Any) -> bool:
        """Whether the node's results are constants, which it then adds."""
        if node.op_type in RANDOM or bodies(node) or not all(n in self.constants for n in node.input if n):
            return False
        with no_grad():
            results = self._compile(node)([self.constants.get(name) for name in node.input], {}, False)
        self.constants.update(pair for pair in zip(node.output, results, strict=False) if pair[0])
        return True

    def _compiled(self, nodes: list[Any]) -> list[Step]:
        """The steps of nodes, those of a chain as one at the place of its last."""
        steps = [Step(self._compile(n), tuple(n.input), tuple(n.output), tuple(_taken(n))) for n in nodes]
        around = [name for step in steps for name in step.around]
        inner: set[int] = set()
        known = {**self.constants, **self.weights}
        for chain in chains(nodes, [*self.outputs, *around], known):
            steps[chain.nodes[-1]] = self._chained(chain, nodes[chain.nodes[0]], [steps[i] for i in chain.nodes])
            inner.update(chain.nodes[:-1])
        return [step for i, step in enumerate(steps) if i not in inner]

    def _chained(self, chain: Chain, conv: Any, alone: list[Step]) -> Step:
        together = fused(chain, conv, {a.name: _attribute(a, self) for a in conv.attribute})
        (result,) = alone[-1].outputs
        inner = {step.outputs[0] for step in alone[:-1]}
        names = tuple(dict.fromkeys(name for step in alone for name in step.inputs if name and name not in inner))

        def run(inputs: Sequence[Any], values: dict[str, Any], training: bool) -> tuple[Any, ...]:
            local = {"": None, **dict(zip(names, inputs, strict=True))}
            y = together(local, training)
            if y is not NotImplemented:
                return (y,)
            for step in alone:
                local[step.outputs[0]] = step.run([local[name] for name in step.inputs], local, training)[0]
            return (local[result],)

        return Step(run, names, (result,))

    def _with_ends(self, steps: list[Step]) -> list[Step]:
        """The steps, knowing what to let go of after each."""
        kept = {"", *self.inputs, *self.outputs, *self.weights, *self.constants}
        last = {name: i for i, step in enumerate(steps) for name in (*step.inputs, *step.around, *step.outputs)}
        done: list[list[str]] = [[] for _ in steps]
        for name, i in last.items():
            if name not in kept:
                done[i].append(name)
        return [step._replace(done=tuple(names)) for step, names in zip(steps, done, strict=True)]

    def _compile(self, node: Any) -> Run:
        attributes = {a.name: _attribute(a, self) for a in node.attribute}
        name, main = node.op_type, node.domain in MAIN
        if main and name in CONTROL:
            return CONTROL[name](attributes)
        if main and name == "Constant":
            ((kind, given),) = attributes.items()
            constant = value(np.asarray(given, _CONSTANTS.get(kind)))
            return lambda inputs, values, training: (constant,)
        if main and name in SEQUENCES:
            sequence = SEQUENCES[name]
            return lambda inputs, values, training: (sequence(*inputs, **attributes),)
        found = OPERATORS.get(name) if main else None
        if found is None or not found.attributes.issuperset(attributes):
            self.reference.add(_called(node))
            run = evaluator(node, self._opsets)
            return lambda inputs, values, training: run(inputs)
        return self._native(node, found, attributes)

    def _native(self, node: Any, found: Any, attributes: dict[str, Any]) -> Run:
        """A step by the table's function, and by the reference where that declines."""
        context = {"opset": self._opsets.get("", self._opsets.get("ai.onnx", 1)), "outputs": len(node.output)}
        fixed = {**attributes, **{name: context[name] for name in found.context if name != "training"}}
        trains, function = "training" in found.context, found.run
        reference: list[Callable[..., Any]] = []

        def run(inputs: Sequence[Any], values: dict[str, Any], training: bool) -> tuple[Any, ...]:
            result = NotImplemented
            if all(x is None or isinstance(x, Tensor) for x in inputs):
                result = function(*inputs, **fixed, **({"training": training} if trains else {}))
            if result is NotImplemented:
                if not reference:
                    reference.append(evaluator(node, self._opsets))
                    self.reference.add(_called(node))
                return reference[0](inputs)
            return result if isinstance(result, tuple) else (result,)

        return run

    def run(self, values: dict[str, Any], training: bool) -> list[Any]:
        """The outputs; `values` holds inputs, weights and, for a body, what stands around it."""
        for step in self.steps:
            results = step.run([values[name] for name in step.inputs], values, training)
            values.update(pair for pair in zip(step.outputs, results, strict=False) if pair[0])
            for name in step.done:
                values.pop(name, None)
        return [values[name] for name in self.outputs]


def _called(node: Any) -> str:
    return f"{node.domain}:{node.op_type}" if node.domain else node.op_type


def bodies(node: Any) -> list[Any]:
    return [a.g for a in node.attribute if a.HasField("g")]


def _taken(node: Any) -> list[str]:
    """The names that a node's bodies use; those that they make themselves do no harm."""
    nodes = [n for g in bodies(node) for n in g.node]
    results = [o.name for g in bodies(node) for o in g.output]
    return [*results, *(name for n in nodes for name in (*n.input, *_taken(n)))]


def _attribute(attribute: Any, program: Program) -> Any:
    """An attribute's value: numbers, strings, lists of them, arrays, or the Program of a body."""
    onnx = package()
    found = onnx.helper.get_attribute_value(attribute)
    if isinstance(found, bytes):
        return found.decode()
    if isinstance(found, onnx.TensorProto):
        return onnx.numpy_helper.to_array(found).copy()
    if isinstance(found, onnx.GraphProto):
        body = Program(found, program._opsets, program.reference)
        around = program.weights.keys() | program.constants.keys()
        for name in body.weights.keys() & around:  # names are used again, by bodies side by side too
            body.constants[name] = body.weights.pop(name)
        program.weights.update(body.weights)
        body.weights.clear()
        for name in body.constants.keys() - program.constants.keys() - program.weights.keys():  # to move with them
            program.constants[name] = body.constants.pop(name)
        return body
    if isinstance(found, (str, int, float)) or not hasattr(found, "__iter__"):
        return found
    return tuple(item.decode() if isinstance(item, bytes) else item for item in found)  # what a cache may keep


class Graph(Module):
    """The Module of an ONNX graph: `y = graph(x)`, or `graph(name=x)` by the names of the inputs.

    Inputs are Tensors or arrays, outputs Tensors, and arrays where jadro has not their dtype: one, or a tuple in the
    graph's order; sequences are lists of them. Floating weights are parameters under the names that the file gives
    them; running moments of batch norm and other settings are buffers. `inputs` and `outputs` are names; `reference`
    lists the operators that onnx's own reference computes: slowly, and without a gradient. In training mode (`train()`)
    dropout draws, and batch norm uses the batch's moments and updates its own.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        program = self._program = Program(model.graph, {o.domain: o.version for o in model.opset_import}, set())
        self.inputs, self.outputs = list(program.inputs), list(program.outputs)
        self._constants = {"": None, **program.constants}
        self._held: list[tuple[str, Module, str]] = []  # a name in the graph, the module and attribute that hold it
        settings = _settings(model.graph)
        for name, weight in program.weights.items():
            self._register(name, weight, name not in settings)
        for name, constant in program.constants.items():  # those that have to follow the weights to a device
            if isinstance(constant, Tensor) and constant.is_floating_point():
                del self._constants[name]
                self._register(name, constant, None)
        program.weights.clear()  # `forward` gives them, and the constants
        program.constants.clear()

    @property
    def reference(self) -> list[str]:
        """The operators that onnx's own reference computes, or has computed for inputs that jadro's does not take."""
        return sorted(self._program.reference)

    def _register(self, name: str, weight: Tensor, trained: bool | None) -> None:
        """A parameter, a buffer, or (None) a buffer that is not saved, at the path that `name` spells."""
        *path, last = name.split(".")
        module: Module = self
        try:
            for part in path:
                if part not in module._modules:
                    module._check_name("load", part)
                    _check_free(module, part)
                    module.add_module(part, Module())
                module = module.get_submodule(part)
            module._check_name("load", last)
            _check_free(module, last)
        except ValueError:  # a name that is another's, or not one that an attribute can have
            module, last = self, name.replace(".", "_") + "_"
        if trained:
            module.register_parameter(last, Parameter(weight))
        else:
            module.register_buffer(last, weight, persistent=trained is not None)
        self._held.append((name, module, last))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The outputs for inputs in the graph's order or by name; TypeError for missing or unknown ones."""
        given = {**dict(zip(self.inputs, args, strict=False)), **kwargs}
        if len(args) > len(self.inputs) or len(given) != len(args) + len(kwargs) or given.keys() != set(self.inputs):
            raise TypeError(f"Graph: {len(args)} inputs and {sorted(kwargs)} were given, expected {self.inputs}")
        values = dict(self._constants)
        values.update((name, getattr(module, attribute)) for name, module, attribute in self._held)
        values.update((name, _input(x)) for name, x in given.items())
        results = self._program.run(values, self.training)
        return results[0] if len(results) == 1 else tuple(results)

    def extra_repr(self) -> str:
        return f"{', '.join(self.inputs)} -> {', '.join(self.outputs)}, {len(self._program.steps)} steps"


def _check_free(module: Module, name: str) -> None:
    if any(name in members for members in (module._parameters, module._buffers, module._modules)):
        raise ValueError(name)


def _input(x: Any) -> Any:
    if isinstance(x, Tensor) or x is None:
        return x
    if isinstance(x, list):
        return [_input(item) for item in x]
    return value(x) if isinstance(x, np.ndarray) else as_tensor(x)


def _settings(graph: Any) -> set[str]:
    """The names of weights that are settings of an operator or moments, not something to train."""
    nodes = [*graph.node]
    for node in nodes:
        nodes += [n for g in bodies(node) for n in g.node]
    return {n for node in nodes for i, n in enumerate(node.input) if i in SETTINGS.get(node.op_type, ())}
