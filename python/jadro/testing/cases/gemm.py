"""Matrix products around the edges of the microkernel's tile (14x32 to 4x4) and of its blocks of K (384)."""

from dataclasses import dataclass
from typing import Any, ClassVar

from jadro.testing import reference
from jadro.testing.cases.base import Arrays, Case, Shapes


@dataclass(frozen=True)
class GemmCase(Case):
    m: int
    n: int
    k: int
    trans_a: bool = False
    trans_b: bool = False
    bias: bool = False
    accumulate: bool = False
    op: ClassVar[str] = "gemm"
    kernels: ClassVar[tuple[str, ...]] = ("gemm",)

    def inputs(self) -> Shapes:
        shapes: Shapes = {
            "a": (self.k, self.m) if self.trans_a else (self.m, self.k),
            "b": (self.n, self.k) if self.trans_b else (self.k, self.n),
        }
        if self.bias:
            shapes["bias"] = (self.n,)
        if self.accumulate:
            shapes["c"] = (self.m, self.n)
        return shapes

    def outputs(self) -> Shapes:
        return {"out": (self.m, self.n)}

    @property
    def flops(self) -> int:
        return 2 * self.m * self.n * self.k

    def call(self, core: Any, inputs: Arrays, results: Arrays) -> None:
        if self.accumulate:
            results["out"][...] = inputs["c"]
        core.gemm(
            inputs["a"],
            inputs["b"],
            results["out"],
            inputs.get("bias"),
            trans_a=self.trans_a,
            trans_b=self.trans_b,
            accumulate=self.accumulate,
        )

    def reference(self, inputs: Arrays) -> Arrays:
        out = reference.gemm(inputs["a"], inputs["b"], inputs.get("bias"), self.trans_a, self.trans_b)
        return {"out": inputs["c"] + out if self.accumulate else out}


CASES = [
    GemmCase("single_element", 1, 1, 1),
    GemmCase("one_tile_avx512", 14, 32, 16),
    GemmCase("one_tile_avx2", 6, 16, 16),
    GemmCase("one_tile_baseline", 4, 8, 16),
    GemmCase("one_past_the_tile", 15, 33, 17, bias=True),
    GemmCase("one_before_the_tile", 13, 31, 15),
    GemmCase("half_a_tile_and_one", 27, 49, 9, accumulate=True),
    GemmCase("row_times_matrix", 1, 70, 40, bias=True),
    GemmCase("row_times_transposed", 1, 70, 40, trans_b=True),
    GemmCase("matrix_times_column", 70, 1, 40),
    GemmCase("matrix_times_row", 70, 1, 40, trans_b=True, bias=True, accumulate=True),
    GemmCase("few_rows_of_dots", 9, 37, 300, trans_b=True, bias=True),
    GemmCase("most_rows_of_dots", 12, 70, 259, trans_b=True, accumulate=True),
    GemmCase("few_columns_of_dots", 50, 3, 100, trans_b=True, bias=True),
    GemmCase("most_columns_of_dots", 71, 20, 300, trans_b=True, accumulate=True),
    GemmCase("column_times_row", 33, 35, 1, bias=True, accumulate=True),
    GemmCase("k_of_one_block", 5, 7, 384),
    GemmCase("k_one_past_the_block", 15, 17, 385, bias=True),
    GemmCase("k_tail", 17, 34, 800, trans_a=True, trans_b=True, bias=True),
    GemmCase("k_tail_accumulated", 9, 19, 769, trans_b=True, accumulate=True),
    GemmCase("a_transposed", 29, 65, 31, trans_a=True, bias=True),
    GemmCase("b_transposed", 29, 65, 31, trans_b=True),
    GemmCase("both_transposed", 61, 47, 53, trans_a=True, trans_b=True),
    GemmCase("rows_of_several_blocks", 700, 9, 5),
    GemmCase("columns_of_several_blocks", 3, 1100, 5, bias=True),
    GemmCase("tiles_of_a_gpu", 130, 197, 37, trans_b=True, bias=True),
    GemmCase("empty_k_is_the_bias", 5, 7, 0, bias=True),
    GemmCase("empty_k_accumulated", 5, 7, 0, accumulate=True),
    GemmCase("empty_rows", 0, 7, 5, bias=True),
    GemmCase("empty_columns", 5, 0, 7),
]
