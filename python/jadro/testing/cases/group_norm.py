"""Group normalisation: few and many groups, channels with and without space, with and without what is optional."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from jadro.testing import reference
from jadro.testing.cases.base import Array, Arrays, Case, Shapes


@dataclass(frozen=True)
class GroupNormCase(Case):
    """x[n,c,s], its channels shifted by `shift` standard deviations."""

    n: int
    c: int
    s: int
    groups: int
    weight: bool = True
    bias: bool = True
    running: bool = False
    shift: float = 0.5
    momentum: float = 0.3
    eps: float = 1e-5
    op: ClassVar[str] = "group_norm"
    kernels: ClassVar[tuple[str, ...]] = ("group_norm_forward", "group_norm_backward")
    sums: ClassVar[frozenset[str]] = frozenset({"save_mean", "save_rstd"})

    def inputs(self) -> Shapes:
        names = [name for name in ("weight", "bias") if getattr(self, name)]
        names += ["running_mean", "running_var"] if self.running else []
        return {"x": (self.n, self.c, self.s), **dict.fromkeys(names, (self.c,))}

    def outputs(self) -> Shapes:
        updated: Shapes = {"new_mean": (self.c,), "new_var": (self.c,)} if self.running else {}
        pieces = (self.n, self.groups)
        return {"y": (self.n, self.c, self.s), "save_mean": pieces, "save_rstd": pieces, **updated}

    def cotangents(self) -> Shapes:
        return {"dy": self.outputs()["y"]}

    def gradients(self) -> Shapes:
        return {f"d{name}": shape for name, shape in self.inputs().items() if not name.startswith("running")}

    @property
    def flops(self) -> int:
        return 5 * self.n * self.c * self.s

    def draw(self, rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> Array:
        if name == "running_var":
            return rng.uniform(0.5, 2, shape)
        numbers = rng.standard_normal(shape)
        return numbers + self.shift * rng.standard_normal((self.c, 1)) if name == "x" else numbers

    def call(self, core: Any, inputs: Arrays, results: Arrays) -> None:
        if self.running:  # updated in place
            results["new_mean"][...], results["new_var"][...] = inputs["running_mean"], inputs["running_var"]
        x, weight = inputs["x"], inputs.get("weight")
        moments = results["save_mean"], results["save_rstd"]
        running = results.get("new_mean"), results.get("new_var")
        core.group_norm_forward(
            x, self.groups, weight, inputs.get("bias"), *running, results["y"], *moments, self.momentum, self.eps
        )
        gradients = results["dx"], results.get("dweight"), results.get("dbias")
        core.group_norm_backward(inputs["dy"], x, self.groups, weight, *moments, *gradients)

    def reference(self, inputs: Arrays) -> Arrays:
        x, weight, bias = inputs["x"], inputs.get("weight"), inputs.get("bias")
        y, mean, rstd = reference.group_norm_forward(x, self.groups, weight, bias, self.eps)
        dx, dweight, dbias = reference.group_norm_backward(inputs["dy"], x, self.groups, weight, mean, rstd)
        results = {"y": y, "save_mean": mean, "save_rstd": rstd, "dx": dx}
        results.update({"dweight": dweight} if self.weight else {}, **({"dbias": dbias} if self.bias else {}))
        if self.running:
            old = inputs["running_mean"], inputs["running_var"]
            results["new_mean"], results["new_var"] = reference.group_norm_running(x, *old, momentum=self.momentum)
        return results


CASES = [
    GroupNormCase("image", 3, 6, 49, 2),
    GroupNormCase("one_group", 3, 5, 33, 1),
    GroupNormCase("instances", 3, 5, 33, 5, running=True),
    GroupNormCase("instances_of_two", 3, 5, 2, 5, running=True),
    GroupNormCase("layer", 5, 70, 1, 1),
    GroupNormCase("layer_one_past_the_vector", 4, 17, 1, 1),
    GroupNormCase("layer_of_one", 3, 1, 1, 1),
    GroupNormCase("layer_longer_than_a_block", 3, 5003, 1, 1),
    GroupNormCase("layer_of_a_warp_s_registers", 9, 512, 1, 1),
    GroupNormCase("layer_of_a_block_s_registers", 3, 2048, 1, 1),
    GroupNormCase("layer_beyond_the_registers", 3, 9001, 1, 1),
    GroupNormCase("layer_of_many_rows", 700, 19, 1, 1),
    GroupNormCase("layer_without_bias", 5, 70, 1, 1, bias=False),
    GroupNormCase("layer_without_weight", 5, 70, 1, 1, weight=False),
    GroupNormCase("layer_without_either", 5, 70, 1, 1, weight=False, bias=False),
    GroupNormCase("layer_far_from_zero", 4, 300, 1, 1, shift=1000.0),
    GroupNormCase("rows_in_groups", 9, 36, 1, 4),
    GroupNormCase("rows_of_one", 4, 6, 1, 6),
    GroupNormCase("few_long_channels", 1, 2, 40000, 1),
    GroupNormCase("one_long_group", 1, 64, 1200, 1),
    GroupNormCase("groups_longer_than_a_block", 8, 4, 3000, 2),
    GroupNormCase("channels_longer_than_a_block", 8, 2, 5000, 2, weight=False),
    GroupNormCase("image_far_from_zero", 2, 4, 30, 2, shift=1000.0),
    GroupNormCase("without_bias", 3, 6, 9, 3, bias=False),
    GroupNormCase("without_weight", 3, 6, 9, 3, weight=False),
    GroupNormCase("other_eps", 3, 6, 7, 2, eps=0.3),
    GroupNormCase("many_channels", 3, 66, 2, 11),
]
