"""Batch normalisation: few and many values a channel, with and without what is optional."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from jadro.testing import reference
from jadro.testing.cases.base import Array, Arrays, Case, Shapes


@dataclass(frozen=True)
class BatchNormCase(Case):
    """x[n,c,s], its channels shifted by `shift` standard deviations."""

    n: int
    c: int
    s: int
    training: bool = True
    affine: bool = True
    running: bool = True
    add: bool = False
    relu: bool = False
    slope: bool = False  # of relu, below 0
    most: float = np.inf  # above
    shift: float = 0.5
    momentum: float = 0.1
    eps: float = 1e-5
    op: ClassVar[str] = "batch_norm"
    kernels: ClassVar[tuple[str, ...]] = ("batch_norm_forward", "batch_norm_backward")

    def inputs(self) -> Shapes:
        channel = (self.c,)
        affine: Shapes = {"weight": channel, "bias": channel} if self.affine else {}
        running: Shapes = {"running_mean": channel, "running_var": channel} if self.running else {}
        x = (self.n, self.c, self.s)
        slope: Shapes = {"slope": channel} if self.slope else {}
        return {"x": x, **affine, **running, **({"add": x} if self.add else {}), **slope}

    def outputs(self) -> Shapes:
        channel = (self.c,)
        updated: Shapes = {"new_mean": channel, "new_var": channel} if self.running else {}
        return {"y": (self.n, self.c, self.s), "save_mean": channel, "save_rstd": channel, **updated}

    @property
    def dadd(self) -> bool:
        """Whether the gradient of what was added is not dy itself."""
        return self.add and self.relu

    def cotangents(self) -> Shapes:
        return {"dy": self.outputs()["y"]}

    def gradients(self) -> Shapes:
        names = (("x", "weight", "bias") if self.affine else ("x",)) + (("add",) if self.dadd else ())
        return {f"d{name}": self.inputs()[name] for name in names}

    @property
    def flops(self) -> int:
        return (5 if self.training else 2) * self.n * self.c * self.s

    def draw(self, rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> Array:
        if name == "running_var":
            return rng.uniform(0.5, 2, shape)
        if name == "slope":  # of one sign: backward tells from y which side x was on
            return rng.uniform(0.1, 0.5, shape)
        numbers = rng.standard_normal(shape)
        return numbers + self.shift * rng.standard_normal((self.c, 1)) if name == "x" else numbers

    def call(self, core: Any, inputs: Arrays, results: Arrays) -> None:
        if self.running:  # updated in place
            results["new_mean"][...], results["new_var"][...] = inputs["running_mean"], inputs["running_var"]
        x, weight = inputs["x"], inputs.get("weight")
        affine = np.empty_like(x, shape=(2, self.c)) if self.relu else None
        core.batch_norm_forward(
            x,
            weight,
            inputs.get("bias"),
            results.get("new_mean"),
            results.get("new_var"),
            results["y"],
            results["save_mean"],
            results["save_rstd"],
            self.training,
            self.momentum,
            self.eps,
            inputs.get("add"),
            self.relu,
            affine,
            inputs.get("slope"),
            self.most,
        )
        core.batch_norm_backward(
            inputs["dy"],
            x,
            weight,
            results["save_mean"],
            results["save_rstd"],
            results["dx"],
            results.get("dweight"),
            results.get("dbias"),
            self.training,
            affine,
            results["y"] if self.dadd else None,
            results.get("dadd"),
            inputs.get("slope"),
            self.most,
        )

    def reference(self, inputs: Arrays) -> Arrays:
        x, weight = inputs["x"], inputs.get("weight")
        running = (inputs.get("running_mean"), inputs.get("running_var"))
        y, mean, rstd, new_mean, new_var = reference.batch_norm_forward(
            x, weight, inputs.get("bias"), *running, self.training, self.momentum, self.eps
        )
        dy = inputs["dy"]
        y = y + inputs["add"] if self.add else y
        if self.relu:
            slope = inputs.get("slope")
            y, dy = reference.rectified(y, slope, self.most), dy * reference.rectified_slope(y, slope, self.most)
        dx, dweight, dbias = reference.batch_norm_backward(dy, x, weight, mean, rstd, self.training)
        results = {"y": y, "save_mean": mean, "save_rstd": rstd, "dx": dx, **({"dadd": dy} if self.dadd else {})}
        if new_mean is not None and new_var is not None:
            results.update(new_mean=new_mean, new_var=new_var)
        if self.affine:
            results.update(dweight=dweight, dbias=dbias)
        return results


CASES = [
    BatchNormCase("image", 3, 5, 49),
    BatchNormCase("rows", 17, 9, 1),
    BatchNormCase("two_values", 2, 3, 1),
    BatchNormCase("one_channel", 2, 1, 70),
    BatchNormCase("one_image", 1, 4, 33),
    BatchNormCase("many_channels", 3, 67, 2),
    BatchNormCase("plane_of_one_past_the_vector", 2, 3, 17),
    BatchNormCase("long_planes", 2, 2, 3000),
    BatchNormCase("many_images", 300, 2, 3),
    BatchNormCase("far_from_zero", 4, 3, 30, shift=1000.0),
    BatchNormCase("without_affine", 3, 4, 9, affine=False),
    BatchNormCase("without_running", 3, 4, 9, running=False),
    BatchNormCase("without_either", 3, 4, 9, affine=False, running=False),
    BatchNormCase("evaluation", 3, 5, 19, training=False),
    BatchNormCase("evaluation_of_one_value", 1, 3, 1, training=False),
    BatchNormCase("evaluation_without_affine", 3, 5, 19, training=False, affine=False),
    BatchNormCase("other_momentum_and_eps", 3, 5, 7, momentum=0.4, eps=0.1),
    BatchNormCase("relu", 3, 5, 49, relu=True),
    BatchNormCase("relu_rows", 17, 9, 1, relu=True),
    BatchNormCase("relu_in_evaluation", 3, 5, 19, training=False, relu=True),
    BatchNormCase("leaky", 3, 5, 49, relu=True, slope=True),
    BatchNormCase("leaky_rows", 17, 9, 1, relu=True, slope=True, most=0.75),
    BatchNormCase("bounded", 3, 5, 49, relu=True, most=0.75),
    BatchNormCase("bounded_in_evaluation", 3, 5, 19, training=False, relu=True, most=0.75),
    BatchNormCase("add_leaky", 3, 5, 49, add=True, relu=True, slope=True),
    BatchNormCase("add_bounded_rows", 17, 9, 1, add=True, relu=True, most=0.75),
    BatchNormCase("add", 3, 5, 49, add=True),
    BatchNormCase("add_relu", 3, 5, 49, add=True, relu=True),
    BatchNormCase("add_relu_rows", 17, 9, 1, add=True, relu=True),
    BatchNormCase("add_relu_without_affine", 2, 2, 3000, add=True, relu=True, affine=False),
    BatchNormCase("add_relu_in_evaluation", 3, 5, 19, training=False, add=True, relu=True),
    BatchNormCase("empty_batch_in_evaluation", 0, 5, 7, training=False),
]
