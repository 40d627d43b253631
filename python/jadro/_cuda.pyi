"""The native CUDA kernels: the functions of `_core` on CuPy arrays, or on any with a `__cuda_array_interface__`.

Arrays and options are as `_core` wants them, and all arrays of one device; TypeError and ValueError come before any
work. A call enqueues its work on `stream` (as CuPy's `Stream.ptr`) and returns without waiting. Scratch memory comes
from CuPy's allocator, on CuPy's current stream, which `stream` must then be. RuntimeError where CUDA refuses the
launch. Kernels use no atomics: the same input gives the same bits. What would have to wait for the GPU to be raised is
not: targets and ids out of range give NaN.
"""

from collections.abc import Sequence
from typing import Any

from ._core import RnnOptions

# cupy.ndarray of float32, float64, float16 or bfloat16, one dtype in a call; 16-bit floats are computed in float32
Array = Any
Sums = Any  # the same, but float32 where the other arrays are 16-bit floats
Int32s = Any  # cupy.ndarray of int32
Ints = Any  # cupy.ndarray of int64
HostArray = Any  # numpy.ndarray

__version__: str

def device_count() -> int:
    """How many CUDA devices there are; 0 where there is no driver."""

def allow_tf32(allowed: bool) -> None:
    """Whether products of float32, convolutions and recurrent layers among them, round their operands to TF32 (10 bits
    of the mantissa) and run on tensor cores. Off at first; of the whole process."""

# --- GEMM
def gemm(
    a: Array,
    b: Array,
    out: Array,
    bias: Array | None = None,
    trans_a: bool = False,
    trans_b: bool = False,
    accumulate: bool = False,
    *,
    stream: int = 0,
) -> None: ...

# --- convolution, as in _core; RuntimeError for "winograd"
def conv2d_forward(
    x: Array,
    w: Array,
    b: Array | None,
    y: Array,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    algorithm: str = "auto",
    padding_mode: str = "zeros",
    relu: bool = False,
    scale: Array | None = None,
    add: Array | None = None,
    slope: Array | None = None,
    most: float | None = None,
    *,
    stream: int = 0,
) -> None: ...
def conv2d_backward_data(
    dy: Array,
    w: Array,
    dx: Array,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    algorithm: str = "auto",
    padding_mode: str = "zeros",
    b: Array | None = None,
    relu: bool = False,
    scale: Array | None = None,
    add: Array | None = None,
    slope: Array | None = None,
    most: float | None = None,
    *,
    stream: int = 0,
) -> None: ...
def conv2d_backward_weight(
    dy: Array,
    x: Array,
    dw: Array,
    db: Array | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    algorithm: str = "auto",
    padding_mode: str = "zeros",
    *,
    stream: int = 0,
) -> None: ...

# --- max pooling, as in _core. The backward pass takes the forward pass's (kernel, stride, padding, dilation) as its
# window, and then looks for each element of dx only at the windows around it; without, at all of the plane, as
# unpooling does. Indices outside their window, or the plane, count for nothing.
def max_pool2d_forward(
    x: Array,
    y: Array,
    indices: Int32s | None,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    *,
    stream: int = 0,
) -> None: ...
def adaptive_max_pool2d_forward(x: Array, y: Array, indices: Int32s | None, *, stream: int = 0) -> None: ...
def max_pool2d_backward(
    dy: Array,
    indices: Int32s,
    dx: Array,
    *,
    window: tuple[Sequence[int], Sequence[int], Sequence[int], Sequence[int]] | None = None,
    stream: int = 0,
) -> None: ...
def max_unpool2d_forward(x: Array, indices: Int32s, y: Array, *, stream: int = 0) -> None: ...
def max_unpool2d_backward(dy: Array, indices: Int32s, dx: Array, *, stream: int = 0) -> None: ...

# --- average pooling, as in _core
def avg_pool_forward(
    x: Array,
    y: Array,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    padding_counts: bool,
    divisor: int,
    *,
    stream: int = 0,
) -> None: ...
def avg_pool_backward(
    dy: Array,
    dx: Array,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    padding_counts: bool,
    divisor: int,
    *,
    stream: int = 0,
) -> None: ...

# --- recurrent layers, as in _core. algorithm: "persistent" runs all steps in one kernel that keeps the weights in
# shared memory, "steps" launches a product and the cell a step; "auto" takes the first where the weights fit
def rnn_reserve_size(
    cell: str, T: int, N: int, I: int, H: int, layers: int, directions: int, dropout: float, *, stream: int = 0
) -> int:
    """Elements of `reserve`; stream means nothing."""

def rnn_forward(
    x: Array,
    h0: Array | None,
    weights: Sequence[Array],
    y: Array,
    hn: Array,
    reserve: Sums | None,
    nonlinearity: str,
    layers: int,
    directions: int,
    bias: bool,
    dropout: float,
    seed: int,
    offset: int,
    *,
    algorithm: str = "auto",
    stream: int = 0,
) -> None: ...
def rnn_backward(
    x: Array,
    h0: Array | None,
    weights: Sequence[Array],
    y: Array,
    reserve: Sums,
    dy: Array | None,
    dhn: Array | None,
    dx: Array | None,
    dh0: Array | None,
    dweights: Sequence[Array] | None,
    nonlinearity: str,
    layers: int,
    directions: int,
    bias: bool,
    dropout: float,
    seed: int,
    offset: int,
    *,
    algorithm: str = "auto",
    stream: int = 0,
) -> None: ...
def lstm_forward(
    x: Array,
    h0: Array | None,
    c0: Array | None,
    weights: Sequence[Array],
    y: Array,
    hn: Array,
    cn: Array,
    reserve: Sums | None,
    layers: int,
    directions: int,
    bias: bool,
    dropout: float,
    seed: int,
    offset: int,
    *,
    algorithm: str = "auto",
    stream: int = 0,
) -> None: ...
def lstm_backward(
    x: Array,
    h0: Array | None,
    c0: Array | None,
    weights: Sequence[Array],
    y: Array,
    reserve: Sums,
    dy: Array | None,
    dhn: Array | None,
    dcn: Array | None,
    dx: Array | None,
    dh0: Array | None,
    dc0: Array | None,
    dweights: Sequence[Array] | None,
    layers: int,
    directions: int,
    bias: bool,
    dropout: float,
    seed: int,
    offset: int,
    *,
    algorithm: str = "auto",
    stream: int = 0,
) -> None: ...
def gru_forward(
    x: Array,
    h0: Array | None,
    weights: Sequence[Array],
    y: Array,
    hn: Array,
    reserve: Sums | None,
    layers: int,
    directions: int,
    bias: bool,
    dropout: float,
    seed: int,
    offset: int,
    *,
    algorithm: str = "auto",
    stream: int = 0,
) -> None: ...
def gru_backward(
    x: Array,
    h0: Array | None,
    weights: Sequence[Array],
    y: Array,
    reserve: Sums,
    dy: Array | None,
    dhn: Array | None,
    dx: Array | None,
    dh0: Array | None,
    dweights: Sequence[Array] | None,
    layers: int,
    directions: int,
    bias: bool,
    dropout: float,
    seed: int,
    offset: int,
    *,
    algorithm: str = "auto",
    stream: int = 0,
) -> None: ...

# with options, lengths [N] int64 and reset [T,N] bool on the host; RuntimeError for checkpoints. "persistent" serves
# neither layer norm nor a projection nor the reset before the product
def rnn_options_reserve_size(
    cell: str,
    T: int,
    N: int,
    I: int,
    H: int,
    P: int,
    tokens: int,
    ragged: bool,
    options: RnnOptions,
    *,
    stream: int = 0,
) -> int:
    """Elements of `reserve`; stream means nothing."""

def rnn_options_forward(
    cell: str,
    x: Array,
    h0: Array | None,
    c0: Array | None,
    weights: Sequence[Array],
    lengths: HostArray | None,
    reset: HostArray | None,
    reset_h: Array | None,
    reset_c: Array | None,
    y: Array,
    hn: Array,
    cn: Array | None,
    cells: Array | None,
    reserve: Sums | None,
    options: RnnOptions,
    *,
    algorithm: str = "auto",
    stream: int = 0,
) -> None: ...
def rnn_options_backward(
    cell: str,
    x: Array,
    h0: Array | None,
    c0: Array | None,
    weights: Sequence[Array],
    lengths: HostArray | None,
    reset: HostArray | None,
    reset_h: Array | None,
    reset_c: Array | None,
    y: Array,
    reserve: Sums,
    dy: Array | None,
    dhn: Array | None,
    dcn: Array | None,
    dcells: Array | None,
    dx: Array | None,
    dh0: Array | None,
    dc0: Array | None,
    dreset_h: Array | None,
    dreset_c: Array | None,
    dweights: Sequence[Array] | None,
    options: RnnOptions,
    *,
    algorithm: str = "auto",
    stream: int = 0,
) -> None: ...

# --- batch norm over x[N,C,S]
def batch_norm_forward(
    x: Array, weight: Array | None, bias: Array | None, running_mean: Array | None, running_var: Array | None,
    y: Array, save_mean: Sums, save_rstd: Sums, training: bool, momentum: float, eps: float,
    add: Array | None = None, relu: bool = False, save_affine: Sums | None = None, slope: Array | None = None,
    most: float | None = None, *, stream: int = 0,
) -> None: ...  # fmt: skip
def batch_norm_backward(
    dy: Array, x: Array, weight: Array | None, save_mean: Sums, save_rstd: Sums, dx: Array | None,
    dweight: Array | None, dbias: Array | None, training: bool, affine: Sums | None = None,
    y: Array | None = None, dadd: Array | None = None, slope: Array | None = None, most: float | None = None, *,
    stream: int = 0,
) -> None: ...  # fmt: skip

# --- normalisation of groups, and pointwise
def group_norm_forward(
    x: Array,
    groups: int,
    weight: Array | None,
    bias: Array | None,
    running_mean: Array | None,
    running_var: Array | None,
    y: Array,
    save_mean: Sums,
    save_rstd: Sums,
    momentum: float,
    eps: float,
    *,
    stream: int = 0,
) -> None: ...
def group_norm_backward(
    dy: Array,
    x: Array,
    groups: int,
    weight: Array | None,
    save_mean: Sums,
    save_rstd: Sums,
    dx: Array | None,
    dweight: Array | None,
    dbias: Array | None,
    *,
    stream: int = 0,
) -> None: ...
def softmax_forward(x: Array, y: Array, log: bool, *, stream: int = 0) -> None: ...
def softmax_backward(dy: Array, y: Array, dx: Array, log: bool, *, stream: int = 0) -> None: ...
def activation_forward(name: str, x: Array, y: Array, a: float = 0.0, b: float = 0.0, *, stream: int = 0) -> None: ...
def activation_backward(
    name: str, dy: Array, v: Array, dx: Array, a: float = 0.0, b: float = 0.0, *, stream: int = 0
) -> None: ...
def dropout(x: Array, y: Array, p: float, seed: int, offset: int, *, stream: int = 0) -> None: ...
def random_uniform(out: Array, seed: int, offset: int, *, stream: int = 0) -> None: ...

# --- softmax cross-entropy over x[R,K], target[R]; a target that is neither a class nor ignore_index gives NaN
def cross_entropy_forward(
    x: Array,
    target: Ints,
    weight: Array | None,
    losses: Sums,
    lse: Sums,
    ignore_index: int,
    label_smoothing: float,
    *,
    sums: Sums | None = None,
    stream: int = 0,
) -> None: ...
def cross_entropy_backward(
    x: Array,
    target: Ints,
    weight: Array | None,
    lse: Sums,
    dlosses: Array,
    dx: Array,
    ignore_index: int,
    label_smoothing: float,
    *,
    sums: Sums | None = None,
    stream: int = 0,
) -> None: ...

# --- embedding: weight[V,E], ids[R], y[R,E]; an id outside the table gives NaN, and no gradient
def embedding_forward(weight: Array, ids: Ints, y: Array, *, stream: int = 0) -> None: ...
def embedding_backward(dy: Array, ids: Ints, dweight: Array, padding_idx: int, *, stream: int = 0) -> None: ...

# --- optimizers; grad_norm waits for the stream
def sgd_step(
    params: Sequence[Array],
    grads: Sequence[Array],
    momentum_buffers: Sequence[Array],
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    maximize: bool = False,
    *,
    stream: int = 0,
) -> None: ...
def adagrad_step(
    params: Sequence[Array],
    grads: Sequence[Array],
    sums: Sequence[Array],
    lr: float,
    eps: float,
    weight_decay: float,
    maximize: bool = False,
    *,
    stream: int = 0,
) -> None: ...
def rmsprop_step(
    params: Sequence[Array],
    grads: Sequence[Array],
    v: Sequence[Array],
    means: Sequence[Array],
    momentum_buffers: Sequence[Array],
    lr: float,
    alpha: float,
    eps: float,
    weight_decay: float,
    momentum: float,
    maximize: bool = False,
    *,
    stream: int = 0,
) -> None: ...
def adam_step(
    params: Sequence[Array],
    grads: Sequence[Array],
    m: Sequence[Array],
    v: Sequence[Array],
    largest_v: Sequence[Array],
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    step: int,
    maximize: bool = False,
    *,
    stream: int = 0,
) -> None: ...
def grad_norm(grads: Sequence[Array], of: str, *, stream: int = 0) -> float: ...
def grad_clip(grads: Sequence[Array], scale: float, bound: float, *, stream: int = 0) -> None: ...
