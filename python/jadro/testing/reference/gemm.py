"""Matrix product with bias."""

from jadro.testing.reference.sums import Array, matmul


def gemm(a: Array, b: Array, bias: Array | None = None, trans_a: bool = False, trans_b: bool = False) -> Array:
    """op(a)[M,K] @ op(b)[K,N] + bias[N]."""
    y = matmul(a.T if trans_a else a, b.T if trans_b else b)
    return y if bias is None else y + bias
