"""The native CPU kernels: one call a kernel, arrays in, arrays out.

Every array is a C-contiguous NumPy array in native byte order. In one call all floating arrays share one dtype,
float32 or float64 (written T below). Outputs are passed in, in their final shape, and are overwritten unless a line
says "adds". Wrong types raise TypeError and wrong shapes ValueError before any work. The GIL is released while a kernel
runs. Results do not depend on the number of threads.
"""

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[np.floating]
Ints = NDArray[np.int64]

__version__: str
_KEPT_BYTES: int

# --- run time -------------------------------------------------------------------------------------------------------
def empty(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """An uninitialised array from memory that the library keeps and hands out again."""

def set_num_threads(n: int) -> None: ...
def get_num_threads() -> int: ...
def isa() -> str:
    """The instruction set in use: "baseline", "avx2", "avx512" (x86-64) or "neon" (Arm)."""

def available_isas() -> list[str]: ...
def set_isa(name: str) -> None: ...
def verbose(on: bool) -> None: ...
def kept_memory() -> tuple[int, int]:
    """(bytes in use, bytes kept free) of the library's allocator."""

def release_memory() -> None:
    """Gives the kept free memory back to the system."""

# --- the tape: what autograd.py and tensor.py are built on ------------------------------------------------------------
class _TensorBase:
    """Slots for an array, its gradient and its place in the graph."""

    data: Any
    grad: Any
    _requires_grad: bool
    _node: Node | None
    _index: int
    _version: list[int]
    _hooks: dict[int, Any]  # of this leaf, or this output of its Node

class Node:
    """One recorded call, and the `ctx` that its Function's `forward` and `backward` share.

    `needs[i]` says whether argument i wants a gradient. Attributes other than these are free."""

    fn: Any  # the Function
    needs: tuple[bool, ...]
    saved: tuple[Any, ...]  # arrays, or Tensors with their history while a differentiable backward runs

    def save(self, *arrays: Any) -> None:
        """Keeps inputs and outputs for backward. Save them as they came and as they are returned: a changed copy (also
        a contiguous one) is a constant to a differentiable backward."""

def tape_apply(function: Any, *args: Any, **options: Any) -> Any:
    """Runs `function.forward` on Tensors, arrays and other arguments, and records the call where a Tensor requires a
    gradient."""

def tape_call(function: Any, *args: Any, **options: Any) -> Any:
    """`tape_apply` where an argument is a Tensor, else `function.forward` on arrays."""

def tape_walk(
    outs: list[Any], seeds: list[Any], inputs: list[Any] | None, create_graph: bool, retain: bool, allow_unused: bool
) -> Any:
    """One pass back from `outs`, which get the gradients `seeds`: the gradients of the inputs, with `allow_unused` None
    where none came, else a RuntimeError. For inputs None, (leaf, gradient) of every leaf met, the gradients as arrays,
    with create_graph as Tensors."""

def tape_watch(told: Callable[[Any, tuple[Any, ...], dict[str, Any], Any], None] | None) -> None:
    """told(function, args, options, result) after every `tape_apply` of this thread; None ends it."""

def tape_quiet(function: Callable[..., Any], *args: Any) -> Any:
    """Calls `function` on arrays and the arrays of Tensors, outside the graph and without NumPy's warnings: a
    Tensor."""

def tape_wrap(array: Any) -> Any:
    """A Tensor around an array, unchecked."""

def empty_like(x: np.ndarray, shape: tuple[int, ...] | None, dtype: np.dtype | None) -> np.ndarray:
    """An uninitialised C-contiguous array, for None of the shape or the dtype of `x`; a large one lies in memory that
    the library keeps."""

def contiguous(x: Any) -> Any:
    """None, and an array that is C-contiguous, as it is; else a copy that is."""

def seen(x: Any, shape: tuple[int, ...]) -> Any:
    """`contiguous(x)` in another shape; None stays. ValueError where the elements do not fit."""

def same_floats(tensors: tuple[Any, ...], needed: int) -> bool:
    """Whether all are Tensors on the CPU of one dtype, float32 or float64; behind the first `needed` also None."""

def join(arrays: tuple[Any, ...], axis: int, stacked: bool) -> Any:
    """C-contiguous arrays of one dtype side by side along an axis, or `stacked` along a new one; their other sizes are
    not checked. NotImplemented for other arrays."""

def is_plain(x: Any) -> bool:
    """Whether x is an integer, a boolean, a string, None or a tuple of such: what may be the key of a cache."""

def compute(ufunc: np.ufunc, *xs: Any) -> Any:
    """ufunc(*xs) of operands of one dtype, which is also the result's; a large result lies in kept memory."""

def select(condition: Any, a: Any, b: Any) -> Any:
    """numpy.where of float32 in the shape of `condition`, or numbers; NotImplemented for anything else."""

def reduce(kind: int, x: Any, axes: tuple[int, ...] | None, keepdim: bool, correction: float) -> Any:
    """The sum, mean, norm, maximum, minimum or variance (of n - correction), by the number of `kind`, of C-contiguous
    float32 over axes that lie side by side; NotImplemented for anything else."""

def reduce_places(x: np.ndarray, largest: bool) -> Any:
    """The extremes of C-contiguous float32 along the last axis, and the place of the first of each; NotImplemented for
    anything else."""

def tape_setup(
    tensor: type, scalar: type, asarray: Callable[[Any], Any], add: Callable[[Any, Any], Any],
    fit: Callable[[Any, tuple[int, ...]], Any], hooked: Callable[[dict[int, Any], Any], Any],
    errstate: Callable[[], Any], quiet_var: ContextVar[Any] | None, quiet_value: Any,
) -> None:  # fmt: skip
    """What the tape needs of Python: the class Tensor, `numpy.generic`, `numpy.asarray`, the sum of two gradients,
    the one summed to a shape, the one that hooks make of it, a context manager that silences NumPy, and the context
    variable and value that do the same."""

def is_grad_enabled() -> bool:
    """Whether operations are recorded in this thread."""

def enter_mode(enabled: bool) -> None:
    """Turns the thread's recording on or off, until `leave_mode`."""

def leave_mode() -> None: ...
def set_mode(enabled: bool) -> None:
    """Turns the thread's recording on or off."""

# --- GEMM -----------------------------------------------------------------------------------------------------------
def gemm(
    a: Array, b: Array, out: Array, bias: Array | None = None, trans_a: bool = False, trans_b: bool = False,
    accumulate: bool = False,
) -> None:  # fmt: skip
    """out[M,N] = op(a)[M,K] @ op(b)[K,N] + bias[N]; with accumulate it adds to out."""

def matmul(a: Array, b: Array, bias: Array | None, trans_a: bool, trans_b: bool) -> Array:
    """op(a)[...,M,K] @ op(b)[...,K,N] + bias[N], a new array; a and b have any strides, their leading axes are
    broadcast, and a may be a vector."""

# --- convolution ----------------------------------------------------------------------------------------------------
# x[n,ic,ih,iw], w[oc,ic/groups,kh,kw], b[oc], y[n,oc,oh,ow], or with an axis of depth, x[n,ic,id,ih,iw] etc. stride
# and dilation: one an axis; padding: (before, after) of each axis, negative where cells are cut off (zeros only).
def conv2d_forward(
    x: Array, w: Array, b: Array | None, y: Array, stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], groups: int, algorithm: str = "auto", padding_mode: str = "zeros", relu: bool = False,
    scale: Array | None = None, add: Array | None = None, slope: Array | None = None, most: float | None = None,
) -> None:  # fmt: skip
    """y = scale[oc] conv(x, w) + b + add, where they are given, and with relu slope[oc] y below 0 (0 without slopes)
    and at most `most`."""

def conv2d_backward_data(
    dy: Array, w: Array, dx: Array, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int], groups: int,
    algorithm: str = "auto", padding_mode: str = "zeros", b: Array | None = None, relu: bool = False,
    scale: Array | None = None, add: Array | None = None, slope: Array | None = None, most: float | None = None,
) -> None:  # fmt: skip
    """The gradient dx; as a transposed convolution scale[ic] dx + b[ic] + add, rectified as forward (zeros only)."""

def conv2d_backward_weight(
    dy: Array, x: Array, dw: Array, db: Array | None, stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], groups: int, algorithm: str = "auto", padding_mode: str = "zeros",
) -> None: ...  # fmt: skip

# --- max pooling: x[n,c,(id,)ih,iw], y[n,c,(od,)oh,ow]; indices: int32 offsets (id*IH+ih)*IW+iw of the maxima in their
# plane or volume; padding: before and after each axis in turn
def max_pool2d_forward(
    x: Array, y: Array, indices: NDArray[np.int32] | None, kernel: Sequence[int], stride: Sequence[int],
    padding: Sequence[int], dilation: Sequence[int],
) -> None: ...  # fmt: skip
def adaptive_max_pool2d_forward(x: Array, y: Array, indices: NDArray[np.int32] | None) -> None:
    """The maxima of bins floor(o*I/O) .. ceil((o+1)*I/O) of each axis."""

def max_pool2d_backward(dy: Array, indices: NDArray[np.int32], dx: Array) -> None: ...
def max_unpool2d_forward(x: Array, indices: NDArray[np.int32], y: Array) -> None:
    """y is 0 but for each x at its index; the last of two with the same."""

def max_unpool2d_backward(dy: Array, indices: NDArray[np.int32], dx: Array) -> None:
    """dx: what stands in dy at each index, 0 for -1."""

# --- average pooling of one to three axes: x[n,c,...], y[n,c,...], sizes rounded up or down. Without a kernel: bins
# floor(o*I/O) .. ceil((o+1)*I/O). divisor 0: the places of the window, with padding_counts those in the padding too
def avg_pool_forward(
    x: Array, y: Array, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int],
    padding_counts: bool, divisor: int,
) -> None: ...  # fmt: skip
def avg_pool_backward(
    dy: Array, dx: Array, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int],
    padding_counts: bool, divisor: int,
) -> None: ...  # fmt: skip

# --- recurrent layers -----------------------------------------------------------------------------------------------
# x[T,N,I], h0 hn [L*D,N,H], y[T,N,D*H]. weights: for each layer, for each direction: w_ih[G*H,I or D*H], w_hh[G*H,H],
# b_ih[G*H], b_hh[G*H] (the last two absent where bias is False), gates in PyTorch's order (i f g o, r z n). `reserve`
# is 1-d, of *_reserve_size elements, filled forward and read backward; None where no gradient is wanted. dropout acts
# between layers, with the mask of the counter (seed, offset); 0 turns it off. dweights has the layout of weights.
def rnn_reserve_size(cell: str, T: int, N: int, I: int, H: int, layers: int, directions: int, dropout: float) -> int:
    """cell: "rnn_tanh", "rnn_relu", "lstm" or "gru"; elements of T that `reserve` needs."""

def rnn_forward(
    x: Array, h0: Array | None, weights: Sequence[Array], y: Array, hn: Array, reserve: Array | None,
    nonlinearity: str, layers: int, directions: int, bias: bool, dropout: float, seed: int, offset: int,
) -> None: ...  # fmt: skip
def rnn_backward(
    x: Array, h0: Array | None, weights: Sequence[Array], y: Array, reserve: Array, dy: Array | None,
    dhn: Array | None, dx: Array | None, dh0: Array | None, dweights: Sequence[Array] | None, nonlinearity: str,
    layers: int, directions: int, bias: bool, dropout: float, seed: int, offset: int,
) -> None: ...  # fmt: skip
def lstm_forward(
    x: Array, h0: Array | None, c0: Array | None, weights: Sequence[Array], y: Array, hn: Array, cn: Array,
    reserve: Array | None, layers: int, directions: int, bias: bool, dropout: float, seed: int, offset: int,
) -> None: ...  # fmt: skip
def lstm_backward(
    x: Array, h0: Array | None, c0: Array | None, weights: Sequence[Array], y: Array, reserve: Array,
    dy: Array | None, dhn: Array | None, dcn: Array | None, dx: Array | None, dh0: Array | None, dc0: Array | None,
    dweights: Sequence[Array] | None, layers: int, directions: int, bias: bool, dropout: float, seed: int,
    offset: int,
) -> None: ...  # fmt: skip
def gru_forward(
    x: Array, h0: Array | None, weights: Sequence[Array], y: Array, hn: Array, reserve: Array | None, layers: int,
    directions: int, bias: bool, dropout: float, seed: int, offset: int,
) -> None: ...  # fmt: skip
def gru_backward(
    x: Array, h0: Array | None, weights: Sequence[Array], y: Array, reserve: Array, dy: Array | None,
    dhn: Array | None, dx: Array | None, dh0: Array | None, dweights: Sequence[Array] | None, layers: int,
    directions: int, bias: bool, dropout: float, seed: int, offset: int,
) -> None: ...  # fmt: skip

class RnnOptions:
    """Recurrent layers' options, as jadro.nn's; probabilities are 0 where they are off. update: the
    mode of recurrent dropout; checkpoint: 0 keeps everything for backward, k every k-th state."""

    def __init__(
        self,
        layers: int = 1,
        directions: int = 1,
        bias: bool = True,
        dropout: float = 0.0,
        seed: int = 0,
        offset: int = 0,
        layer_norm: bool = False,
        peephole: bool = False,
        gate_clip: float | None = None,
        cell_clip: float | None = None,
        zoneout_h: float = 0.0,
        zoneout_c: float = 0.0,
        recurrent_dropout: float = 0.0,
        update: bool = False,
        training: bool = False,
        checkpoint: int = 0,
    ) -> None: ...

# The general form: cells also "lstm_coupled" and "gru_reset_before"; h0, reset_h, hn [L*D,N,P], c0, reset_c, cn
# [L*D,N,H] (lstm); lengths int64 [N], reset bool [T,N]; weights: for each layer and direction those of
# jadro.ops.rnn.PARAMETERS that are there; y[T,N,D*P]; cells[T,N,D*H], of the last layer.
def rnn_options_reserve_size(
    cell: str, T: int, N: int, I: int, H: int, P: int, tokens: int, ragged: bool, options: RnnOptions
) -> int:
    """tokens: the sum of lengths, T*N where ragged is false and there are none."""

def rnn_options_forward(
    cell: str,
    x: Array,
    h0: Array | None,
    c0: Array | None,
    weights: Sequence[Array],
    lengths: Ints | None,
    reset: Array | None,
    reset_h: Array | None,
    reset_c: Array | None,
    y: Array,
    hn: Array,
    cn: Array | None,
    cells: Array | None,
    reserve: Array | None,
    options: RnnOptions,
) -> None: ...
def rnn_options_backward(
    cell: str,
    x: Array,
    h0: Array | None,
    c0: Array | None,
    weights: Sequence[Array],
    lengths: Ints | None,
    reset: Array | None,
    reset_h: Array | None,
    reset_c: Array | None,
    y: Array,
    reserve: Array,
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
) -> None: ...

class RnnStepper:
    """One step a call of a stack of one direction; the weights, in the order of rnn_options_forward, are packed once.

    h[L,N,P] and, of an lstm, c[L,N,H] are read and overwritten by each step; a call takes x[N,input], of any strides,
    and returns y[N,P], which it has overwritten."""

    def __init__(
        self,
        cell: str,
        input: int,
        weights: Sequence[Array],
        bias: bool,
        h: Array,
        c: Array | None,
        y: Array,
        options: RnnOptions | None = None,
    ) -> None: ...
    def refresh(self, weights: Sequence[Array]) -> None: ...
    def __call__(self, x: Array) -> Array: ...

# --- batch norm over x[N,C,S]: mean and variance of each channel ------------------------------------------------------
def batch_norm_forward(
    x: Array, weight: Array | None, bias: Array | None, running_mean: Array | None, running_var: Array | None,
    y: Array, save_mean: Array, save_rstd: Array, training: bool, momentum: float, eps: float,
    add: Array | None = None, relu: bool = False, save_affine: Array | None = None, slope: Array | None = None,
    most: float | None = None,
) -> None:  # fmt: skip
    """y = (x - mean) rstd weight + bias + add and, with relu, slope[C] y below 0 (0 without slopes) and at most `most`.
    save_affine[2,C]: what backward needs of that.
    Training: normalises with the batch's moments (biased variance), writes them to save_mean[C] and save_rstd[C] and
    updates running_mean += momentum * (mean - running_mean), running_var likewise with the unbiased variance.
    Evaluation: running moments, copied to save_mean and, as 1/sqrt(var+eps), to save_rstd."""

def batch_norm_backward(
    dy: Array, x: Array, weight: Array | None, save_mean: Array, save_rstd: Array, dx: Array | None,
    dweight: Array | None, dbias: Array | None, training: bool, affine: Array | None = None,
    y: Array | None = None, dadd: Array | None = None, slope: Array | None = None, most: float | None = None,
) -> None:  # fmt: skip
    """With affine (the save_affine of forward) through the rectifier; where something was added before it also y, and
    dadd for its gradient."""

# --- pointwise ------------------------------------------------------------------------------------------------------
def softmax_forward(x: Array, y: Array, log: bool) -> None:
    """x[outer,n,inner], along n: softmax, or its logarithm."""

def softmax_backward(dy: Array, y: Array, dx: Array, log: bool) -> None: ...
def group_norm_forward(
    x: Array, groups: int, weight: Array | None, bias: Array | None, running_mean: Array | None,
    running_var: Array | None, y: Array, save_mean: Array, save_rstd: Array, momentum: float, eps: float,
) -> None:  # fmt: skip
    """x[n,c,s], each row's channels in groups; save_mean, save_rstd [n,groups]. Running moments [c], for one group a
    channel, move towards the mean of the rows' moments."""

def group_norm_backward(
    dy: Array, x: Array, groups: int, weight: Array | None, save_mean: Array, save_rstd: Array,
    dx: Array | None, dweight: Array | None, dbias: Array | None,
) -> None: ...  # fmt: skip
def activation_forward(name: str, x: Array, y: Array, a: float = 0.0, b: float = 0.0) -> None:
    """name: "relu", "tanh", "sigmoid", "leaky_relu" (a: the slope), "elu" (a: alpha), "gelu", "gelu_tanh", "silu",
    "hardtanh" (a, b: the bounds) or "softplus" (a: beta, b: the threshold). y may be x."""

def activation_backward(name: str, dy: Array, v: Array, dx: Array, a: float = 0.0, b: float = 0.0) -> None:
    """From the output v = y: relu dy*(y>0), tanh dy*(1-y^2), sigmoid dy*y*(1-y); the others from v = x. dx may be
    dy."""

def prelu_forward(x: Array, w: Array, y: Array) -> None:
    """x, y [N,C,S], w [C]: y = x where x > 0, else w x."""

def prelu_backward(dy: Array, x: Array, w: Array, dx: Array | None, dw: Array | None) -> None:
    """dx = dy where x > 0, else w dy; dw [C]: sums of dy x where x <= 0."""

def dropout(x: Array, y: Array, p: float, seed: int, offset: int) -> None:
    """y = x * mask / (1-p); element j is kept where uniform number offset+j of the stream `seed` is >= p. Its own
    backward."""

def random_uniform(out: Array, seed: int, offset: int) -> None:
    """Philox4x32-10, key = seed, uniforms in [0, 1): element j is number offset+j of the stream (24 bits for float32,
    53 for float64)."""

# --- softmax cross-entropy over x[R,K], target[R] ---------------------------------------------------------------------
def cross_entropy_forward(
    x: Array, target: Ints, weight: Array | None, losses: Array, lse: Array, ignore_index: int, label_smoothing: float
) -> float:
    """losses[r], already times the class weight, 0 where ignored; lse[r] = logsumexp(x[r]). Returns the sum of the
    weights of the targets that count. Targets outside 0..K-1 that are not ignore_index raise ValueError."""

def cross_entropy_backward(
    x: Array, target: Ints, weight: Array | None, lse: Array, dlosses: Array, dx: Array, ignore_index: int,
    label_smoothing: float,
) -> None: ...  # fmt: skip

# --- embedding: weight[V,E], ids[R], y[R,E] --------------------------------------------------------------------------
def embedding_forward(weight: Array, ids: Ints, y: Array) -> None: ...
def embedding_backward(dy: Array, ids: Ints, dweight: Array, padding_idx: int) -> None:
    """dweight is overwritten (zeros where no id points); rows with padding_idx (-1: none) get no gradient."""

# --- optimizers: all parameters in one call, in place, as PyTorch computes them -----------------
def sgd_step(
    params: Sequence[Array], grads: Sequence[Array], momentum_buffers: Sequence[Array], lr: float,
    momentum: float, dampening: float, weight_decay: float, nesterov: bool, maximize: bool = False,
) -> None:  # fmt: skip
    """momentum_buffers: empty for none."""

def adagrad_step(
    params: Sequence[Array], grads: Sequence[Array], sums: Sequence[Array], lr: float, eps: float,
    weight_decay: float, maximize: bool = False,
) -> None: ...  # fmt: skip
def rmsprop_step(
    params: Sequence[Array], grads: Sequence[Array], v: Sequence[Array], means: Sequence[Array],
    momentum_buffers: Sequence[Array], lr: float, alpha: float, eps: float, weight_decay: float,
    momentum: float, maximize: bool = False,
) -> None:  # fmt: skip
    """means: empty unless centered; momentum_buffers: empty for none."""

def adam_step(
    params: Sequence[Array], grads: Sequence[Array], m: Sequence[Array], v: Sequence[Array],
    largest_v: Sequence[Array], lr: float, beta1: float, beta2: float, eps: float, weight_decay: float,
    decoupled: bool, step: int, maximize: bool = False,
) -> None:  # fmt: skip
    """Adam (decoupled=False) and AdamW (True); largest_v: empty unless amsgrad; step counts from 1."""

def grad_norm(grads: Sequence[Array], of: str) -> float:
    """Of all arrays together: the sum of |x| ("sizes"), of x^2 ("squares"), or the largest |x| ("largest")."""

def grad_clip(grads: Sequence[Array], scale: float, bound: float) -> None:
    """x = min(max(scale x, -bound), bound) in all arrays, in place; bound may be infinity."""
