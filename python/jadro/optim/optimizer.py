"""What all optimizers share: parameter groups, the state of each parameter, saving and loading both."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .. import backend
from ..autograd import enable_grad
from ..ops.creation import full
from ..tensor import Tensor, as_tensor


class Optimizer:
    """Subclasses give their options by `defaults` and define `_update(group, parameters)`.

    params: parameters, or dicts with "params" and the options in which a group differs. `param_groups` lists the
    groups, whose options may be changed at any time; `state` holds a dict for each parameter that has been updated.
    """

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        if isinstance(params, (Tensor, Mapping)):
            raise TypeError(f"{type(self).__name__}: params is a {type(params).__name__}, expected a list of them")
        self.defaults = defaults
        self.state: dict[Tensor, dict[str, Any]] = {}
        self.param_groups: list[dict[str, Any]] = []
        groups = list(params)
        if not groups:
            raise ValueError(f"{type(self).__name__}: params is empty, expected at least one parameter")
        for group in groups if isinstance(groups[0], Mapping) else [{"params": groups}]:
            self.add_param_group(group)

    def _check_options(self, options: Mapping[str, Any]) -> None:
        """ValueError where the options of a group are out of range."""
        for name in ("lr", "eps", "weight_decay", "momentum", "lr_decay", "initial_accumulator_value"):
            if name in options and not options[name] >= 0:
                raise ValueError(f"{type(self).__name__}: {name} is {options[name]}, expected at least 0")

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Adds parameters with their own options: {"params": ..., "lr": ...}.

        Raises TypeError for what is no Tensor; ValueError for the result of an operation, for a parameter that is in a
        group already, and for an option out of range.
        """
        call = type(self).__name__
        if not isinstance(group, Mapping) or "params" not in group:
            raise TypeError(f"{call}: a group is {group!r}, expected a dict with 'params'")
        given = group["params"]
        params = [given] if isinstance(given, Tensor) else list(given)
        known = {id(p) for g in self.param_groups for p in g["params"]}
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"{call}: a parameter is a {type(p).__name__}, expected a Tensor")
            if not p.is_leaf:
                raise ValueError(
                    f"{call}: a parameter of shape {p.shape} is the result of an operation, expected a leaf"
                )
            if id(p) in known:
                raise ValueError(
                    f"{call}: a parameter of shape {p.shape} is in two places, expected each parameter once"
                )
            known.add(id(p))
        options = {**self.defaults, **group}
        self._check_options(options)
        self.param_groups.append({**options, "params": params})

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops every gradient, or sets it to zero where `set_to_none` is False."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                elif p.grad is not None:
                    p.grad = p.grad.detach().zero_()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Updates every parameter that has a gradient. closure: computes the loss anew first; its result is
        returned."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            self._update(group, params)
            for p in params:
                p._version[0] += 1
        return loss

    def _update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Changes the data of `params`, all of which have gradients, by the options of `group`."""
        raise TypeError(f"{type(self).__name__}: _update is not defined")

    def _native(self, name: str, params: list[Tensor], states: tuple[str, ...], *options: Any) -> None:
        """The native step `name` of `params`: one call for those of one device and dtype. states: the names of the
        arrays that it takes for each parameter; "" for a list that it takes and that stays empty here."""
        alike: dict[Any, list[Tensor]] = {}
        for p in params:
            alike.setdefault((p.data.dtype, p.device), []).append(p)
        for members in alike.values():
            values = [backend.contiguous(p.data) for p in members]
            grads = [backend.contiguous(p.grad.data) for p in members if p.grad is not None]
            lists = [[self.state[p][kept].data for p in members] if kept else [] for kept in states]
            backend.kernel(values[0], name)(values, grads, *lists, *options)
            for p, value in zip(members, values, strict=True):
                if value is not p.data:
                    p.data[...] = value

    # --- state --------------------------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """{"state": by number of the parameter, "param_groups": options, parameters by number}; arrays are not
        copied."""
        numbers = self._numbers()
        groups = [{**g, "params": [numbers[id(p)] for p in g["params"]]} for g in self.param_groups]
        return {"state": {numbers[id(p)]: dict(s) for p, s in self.state.items()}, "param_groups": groups}

    def _numbers(self) -> dict[int, int]:
        params = [p for group in self.param_groups for p in group["params"]]
        return {id(p): i for i, p in enumerate(params)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over a state_dict of the same groups, copied; also PyTorch's. ValueError where the groups, or the
        shape of an array, do not fit; nothing has changed then."""
        call = f"{type(self).__name__}.load_state_dict"
        if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= set(state_dict):
            raise TypeError(f"{call}: expected a dict with 'state' and 'param_groups'")
        given = state_dict["param_groups"]
        sizes, expected = ([len(g["params"]) for g in groups] for groups in (given, self.param_groups))
        if sizes != expected:
            raise ValueError(f"{call}: the groups have {sizes} parameters, expected {expected}")
        params = [p for group in self.param_groups for p in group["params"]]
        by_number = dict(zip([n for g in given for n in g["params"]], params, strict=True))
        state: dict[Tensor, dict[str, Any]] = {}
        for number, entries in state_dict["state"].items():
            if number not in by_number:
                raise ValueError(f"{call}: the state has an entry for parameter {number}, which is in no group")
            p = by_number[number]
            state[p] = {name: _restored(f"{call}: parameter {number}", name, v, p) for name, v in entries.items()}
        groups = []
        for own, new in zip(self.param_groups, given, strict=True):
            for option in ("amsgrad", "maximize"):
                if new.get(option) and option not in self.defaults:
                    raise ValueError(f"{call}: a group has {option}, which {type(self).__name__} does not do")
            groups.append({**own, **copy.deepcopy({**new, "params": None}), "params": own["params"]})
        self.state, self.param_groups = state, groups

    def _entry(self, p: Tensor, **arrays: float) -> dict[str, Any]:
        """The state of a parameter: its steps, and arrays of its shape, which begin filled with their numbers."""
        entry = self.state.setdefault(p, {"step": 0})
        for name, value in arrays.items():
            if name not in entry:
                entry[name] = full(p.shape, value, p.dtype, p.device)
        return entry

    def __repr__(self) -> str:
        lines = [
            f"  group {i}: " + ", ".join(f"{name}={value}" for name, value in group.items() if name != "params")
            for i, group in enumerate(self.param_groups)
        ]
        return f"{type(self).__name__}(\n" + "\n".join(lines) + "\n)"


def _restored(what: str, name: str, value: Any, param: Tensor) -> Any:
    """A state entry as this library keeps it: the step as an int, arrays in the dtype and place of the parameter."""
    if value is None:
        return None
    if name == "step":
        return int(value)
    array = as_tensor(value)
    if array.shape != param.shape:
        raise ValueError(f"{what}: {name} has shape {array.shape}, expected {param.shape}")
    return array.detach().to(device=param.device, dtype=param.dtype).clone()
