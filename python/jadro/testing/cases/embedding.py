"""Embedding: rows that come often, once or never."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from jadro.testing import reference
from jadro.testing.cases.base import Array, Arrays, Case, Shapes


@dataclass(frozen=True)
class EmbeddingCase(Case):
    """weight[vocabulary,width], ids[rows]."""

    vocabulary: int
    width: int
    rows: int
    padding_idx: int = -1
    op: ClassVar[str] = "embedding"
    kernels: ClassVar[tuple[str, ...]] = ("embedding_forward", "embedding_backward")
    exact: ClassVar[frozenset[str]] = frozenset({"y"})

    @property
    def differentiable(self) -> bool:
        return self.padding_idx < 0  # the gradient of that row is left out on purpose

    def inputs(self) -> Shapes:
        return {"weight": (self.vocabulary, self.width), "ids": (self.rows,)}

    def outputs(self) -> Shapes:
        return {"y": (self.rows, self.width)}

    def cotangents(self) -> Shapes:
        return {"dy": self.outputs()["y"]}

    def gradients(self) -> Shapes:
        return {"dweight": self.inputs()["weight"]}

    def draw(self, rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> Array:
        return rng.integers(0, self.vocabulary, shape) if name == "ids" else rng.standard_normal(shape)

    def call(self, core: Any, inputs: Arrays, results: Arrays) -> None:
        core.embedding_forward(inputs["weight"], inputs["ids"], results["y"])
        core.embedding_backward(inputs["dy"], inputs["ids"], results["dweight"], self.padding_idx)

    def reference(self, inputs: Arrays) -> Arrays:
        dweight = reference.embedding_backward(inputs["dy"], inputs["ids"], self.vocabulary, self.padding_idx)
        return {"y": reference.embedding_forward(inputs["weight"], inputs["ids"]), "dweight": dweight}


CASES = [
    EmbeddingCase("single_row", 1, 1, 1),
    EmbeddingCase("every_id_repeats", 5, 17, 300),
    EmbeddingCase("most_ids_never_come", 500, 9, 20),
    EmbeddingCase("wide", 11, 333, 40),
    EmbeddingCase("padding", 7, 6, 50, padding_idx=3),
    EmbeddingCase("empty_batch", 7, 6, 0),
]
