"""Bad input raises, says what was wrong, and changes nothing; nothing that Python can pass crashes a kernel."""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from jadro import _core
from jadro.testing import cases

# One case for each kernel, with everything optional present and no two sizes alike.
REPRESENTATIVES = [
    "gemm-one_past_the_tile",
    "conv2d-groups",
    "pool2d-stride_one",
    "pool2d-unpooled",
    "pool2d-uneven_bins_of_volumes",
    "avg_pool-asymmetric_padding",
    "rnn_tanh-three_layers_bidirectional",
    "lstm-three_layers_bidirectional",
    "gru-three_layers_bidirectional",
    "batch_norm-add_relu",
    "batch_norm-leaky",
    "conv2d-leaky",
    "group_norm-instances",
    "softmax-columns",
    "tanh-image",
    "prelu-image",
    "cross_entropy-smoothed_weighted_ignored",
    "embedding-every_id_repeats",
    "dropout-image",
    "random_uniform-across_blocks",
    "optim-adam_one_past_the_vector",
    "optim-sgd_nesterov",
    "optim-adagrad_one_past_the_vector",
    "optim-rmsprop_centered_momentum_uphill",
]
# Axes that no other array of the call fixes: (kernel, position of the array, axis).
FREE = {
    ("embedding_forward", 0, 0),
    ("embedding_backward", 2, 0),
    ("random_uniform", 0, 0),
    ("max_pool2d_backward", 2, 2),
    ("max_pool2d_backward", 2, 3),
    *(("adaptive_max_pool2d_forward", i, axis) for i in (0, 1) for axis in (2, 3, 4)),
    *(("max_unpool2d_forward", 2, axis) for axis in (2, 3)),
    *(("max_unpool2d_backward", 0, axis) for axis in (2, 3)),
    # rounded up or down, several sizes go together
    *((f"avg_pool_{way}", i, axis) for way in ("forward", "backward") for i in (0, 1) for axis in (2, 3)),
}


@dataclass
class Call:
    """A valid call of a kernel, recorded; `path` finds an array among the arguments, also within a list."""

    name: str
    args: list[Any]
    kwargs: dict[str, Any]
    outputs: list[np.ndarray]

    def __call__(self):
        return getattr(_core, self.name)(*self.args, **self.kwargs)

    def arrays(self):
        for i, arg in enumerate(self.args):
            if isinstance(arg, np.ndarray):
                yield (i,), arg
            elif isinstance(arg, list):
                yield from (((i, j), array) for j, array in enumerate(arg))

    def with_array(self, path, array):
        """The same call with another object in the place of one array."""
        args = [list(arg) if isinstance(arg, list) else arg for arg in self.args]
        (args if len(path) == 1 else args[path[0]])[path[-1]] = array
        return replace(self, args=args)


def record(case, dtype):
    """The kernel calls that a case makes."""
    calls = []

    class Recorder:
        def __getattr__(self, name):
            def call(*args, **kwargs):
                if name in case.kernels:
                    calls.append((name, list(args), kwargs))
                return getattr(_core, name)(*args, **kwargs)

            return call

    made = []

    def empty(shape, dtype):
        made.append(np.zeros(shape, dtype))
        return made[-1]

    inputs = case.make_inputs(dtype)
    case.run(Recorder(), inputs, empty)
    return [Call(name, args, kwargs, made) for name, args, kwargs in calls]


KERNELS = sorted({name for case in cases.ALL for name in case.kernels})


@cache
def recorded(name):
    """A valid call of the kernel."""
    case = next(case for case in cases.ALL if str(case) in REPRESENTATIVES and name in case.kernels)
    return next(call for call in record(case, np.float32) if call.name == name)


@pytest.fixture(params=KERNELS)
def call(request):
    return recorded(request.param)


def refuses(call, error, note):
    """The call raises `error` under its own name, and no output has changed."""
    before = [array.tobytes() for array in call.outputs]
    with pytest.raises(error) as caught:
        call()
    assert call.name in str(caught.value) or call.name.rsplit("_", 1)[0] in str(caught.value), f"{note}: {caught.value}"
    assert [array.tobytes() for array in call.outputs] == before, f"{note}: an output changed"


def test_the_recorded_calls_are_good(call):
    call()


def test_objects_that_are_no_arrays(call):
    for path, _ in call.arrays():
        refuses(call.with_array(path, "array"), TypeError, path)
    path, array = next(call.arrays())
    refuses(call.with_array(path, array.tolist()), TypeError, "a list")


def test_wrong_dtypes(call):
    for path, array in call.arrays():
        for dtype in (np.int32, np.int64, np.float16, np.float64, np.longdouble, np.complex64, np.bool_, object, "U3"):
            if np.dtype(dtype) == array.dtype or (call.name, np.dtype(dtype)) == ("random_uniform", np.float64):
                continue
            other = np.zeros(array.shape, dtype)
            only = len(list(call.arrays())) == 1 and other.dtype == np.float64
            if not only:
                refuses(call.with_array(path, other), TypeError, f"{path} {dtype}")


def test_byte_swapped_arrays(call):
    for path, array in call.arrays():
        refuses(call.with_array(path, array.astype(array.dtype.newbyteorder())), TypeError, path)


def test_wrong_ranks(call):
    for path, array in call.arrays():
        if call.name.startswith(("activation", "dropout", "random_uniform")) and len(list(call.arrays())) == 1:
            continue
        refuses(call.with_array(path, array[..., None]), ValueError, f"{path} one axis more")
        refuses(call.with_array(path, np.zeros((), array.dtype)), ValueError, f"{path} no axes")


def test_wrong_sizes(call):
    for path, array in call.arrays():
        for axis in range(array.ndim):
            if (call.name, path[0], axis) in FREE:
                continue
            for size in (array.shape[axis] + 1, array.shape[axis] - 1, 0):
                shape = (*array.shape[:axis], size, *array.shape[axis + 1 :])
                refuses(call.with_array(path, np.zeros(shape, array.dtype)), ValueError, f"{path} as {shape}")


def test_arrays_that_are_not_contiguous(call):
    for path, array in call.arrays():
        strided = np.zeros((*array.shape, 2), array.dtype)[..., 0]
        strided[...] = array
        refuses(call.with_array(path, strided), ValueError, f"{path} strided")
        if array.ndim > 1:
            refuses(call.with_array(path, np.asfortranarray(array)), ValueError, f"{path} Fortran order")
        if array.shape[0] > 1:
            refuses(call.with_array(path, array[::-1]), ValueError, f"{path} reversed")
        repeated = np.broadcast_to(np.zeros((), array.dtype), array.shape)
        refuses(call.with_array(path, repeated), ValueError, f"{path} repeated")


def test_arrays_that_are_not_aligned(call):
    for path, array in call.arrays():
        shifted = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
        refuses(call.with_array(path, shifted), ValueError, path)


def test_read_only_outputs(call):
    outputs = {id(array) for array in call.outputs}
    backward = call.name.endswith(("backward", "backward_data", "backward_weight"))
    unpool = call.name == "max_unpool2d_forward"
    read = {"y", "save_mean", "indices", "reserve", "lse"} if backward or unpool else set()
    found = 0
    for path, array in call.arrays():
        if id(array) in outputs:
            frozen = array.copy()
            frozen.flags.writeable = False
            try:
                call.with_array(path, frozen)()
            except ValueError as error:
                found += 1
                assert "read-only" in str(error) and call.name.split("_")[0] in str(error)
            else:
                # accepted, so it must be something that backward only reads
                assert read, f"{call.name}: read-only output {path} was accepted"
                assert frozen.tobytes() == array.tobytes()
    assert found


CONV = "conv2d_forward", "conv2d_backward_data", "conv2d_backward_weight"
BAD_CONV_OPTIONS = [
    # position from the end of (stride, padding, dilation, groups, algorithm), value, error
    (0, (0, 1), ValueError),
    (0, (1, -1), ValueError),
    (0, (1,), TypeError),
    (0, (1.5, 1), TypeError),
    (0, (2**40, 2**40), ValueError),
    (1, (-1, 0, 0, 0), ValueError),
    (1, (0, 0, 0, -3), ValueError),
    (1, (2**62, 2**62, 0, 0), ValueError),
    (1, (1, 1), TypeError),
    (2, (0, 1), ValueError),
    (2, (1, -2), ValueError),
    (2, (2**62, 1), ValueError),
    (2, (2**63, 1), TypeError),
    (3, 0, ValueError),
    (3, -1, ValueError),
    (3, 2, ValueError),
    (3, 6, ValueError),
    (3, 2**40, ValueError),
    (4, "fft", ValueError),
    (4, 3, TypeError),
]


@pytest.mark.parametrize(("option", "value", "error"), BAD_CONV_OPTIONS)
@pytest.mark.parametrize("name", CONV)
def test_convolution_options(name, option, value, error):
    call = recorded(name)
    first = next(i for i, arg in enumerate(call.args) if isinstance(arg, tuple))
    args = list(call.args)
    args[first + option] = value
    refuses(replace(call, args=args), error, (option, value))


@pytest.mark.parametrize("kernel", [(6, 2), (2, 9)])
def test_kernel_larger_than_the_padded_image(kernel):
    x, w, y = np.ones((1, 1, 3, 4)), np.ones((1, 1, *kernel)), np.zeros((1, 1, 1, 1))
    with pytest.raises(ValueError, match=r"conv2d.*kernel"):
        _core.conv2d_forward(x, w, None, y, (1, 1), (1, 1, 1, 1), (1, 1), 1)
    with pytest.raises(ValueError, match=r"max_pool2d.*window"):
        _core.max_pool2d_forward(x, y, None, kernel, (1, 1), (1, 1, 1, 1), (1, 1))


@pytest.mark.parametrize(("mode", "most"), [("reflect", 5), ("circular", 6)])
@pytest.mark.parametrize("padding", [(1, 1, 1, 7), (1, 1, 7, 1), (7, 1, 1, 1), (1, 7, 1, 1), (-1, 1, 1, 1)])
def test_padding_that_a_mode_does_not_have(mode, most, padding):
    x, w, y = np.ones((1, 2, 6, 6)), np.ones((1, 2, 3, 3)), np.ones((1, 1, 12, 12))
    with pytest.raises(ValueError, match=rf"(height|width): padding \(.+\) of a size of 6, expected 0 to {most}"):
        _core.conv2d_forward(x, w, None, y, (1, 1), padding, (1, 1), 1, padding_mode=mode)


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        (3, (0, 2), ValueError),
        (3, (-1, 2), ValueError),
        (3, (2**62, 2), ValueError),
        (4, (0, 1), ValueError),
        (4, (1, -2), ValueError),
        (5, (-1, 0, 0, 0), ValueError),
        (5, (2**62, 2**62, 0, 0), ValueError),
        (6, (0, 1), ValueError),
        (6, (1, 2**62), ValueError),
        (6, (1, 1, 1), ValueError),
    ],
)
def test_pooling_options(option, value, error):
    args = list(recorded("max_pool2d_forward").args)
    args[option] = value
    refuses(replace(recorded("max_pool2d_forward"), args=args), error, (option, value))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        (1, np.zeros((1, 2, 1, 4))),
        (1, np.zeros((1, 2, 4, 6))),
        (2, (0, 5)),
        (2, (4,)),
        (2, (2**62, 5)),
        (3, (0, 2)),
        (3, (2**62, 2)),
        (4, (-1, 2, 2, 1)),
        (4, (4, 2, 2, 1)),
        (4, (0, 2)),
        (4, (0, 2**62, 2, 1)),
        (6, 2**40),
    ],
)
def test_average_pooling_options(option, value):
    call = recorded("avg_pool_forward")
    args = list(call.args)
    args[option] = value.astype(np.float32) if option == 1 else value
    refuses(replace(call, args=args), ValueError, (option, value))


@pytest.mark.parametrize("index", [-2, 63, 10**6, -(2**31), 2**31 - 1])
def test_pooling_indices_outside_their_plane(index):
    """Backward writes where the indices say, so it must look at them first."""
    indices = np.zeros((1, 2, 4, 4), np.int32)
    indices[0, 1, 2, 3] = index
    dx = np.full((1, 2, 7, 9), 3.0)
    with pytest.raises(ValueError, match="max_pool2d_backward: indices"):
        _core.max_pool2d_backward(np.ones((1, 2, 4, 4)), indices, dx)
    with pytest.raises(ValueError, match="max_unpool2d_forward: indices"):
        _core.max_unpool2d_forward(np.ones((1, 2, 4, 4)), indices, dx)
    dz = np.full((1, 2, 4, 4), 3.0)
    with pytest.raises(ValueError, match="max_unpool2d_backward: indices"):
        _core.max_unpool2d_backward(dx, indices, dz)
    assert (dx == 3).all() and (dz == 3).all()


@pytest.mark.parametrize("p", [-0.1, 1.5, np.nan, np.inf])
def test_dropout_probability(p):
    x = np.ones(4)
    y = np.full(4, 7.0)
    with pytest.raises(ValueError, match=r"dropout.*p"):
        _core.dropout(x, y, p, 0, 0)
    assert (y == 7).all()


@pytest.mark.parametrize(
    ("layers", "directions", "dropout"),
    [(0, 1, 0.0), (-1, 1, 0.0), (1, 0, 0.0), (1, 3, 0.0), (1, 1, -0.5), (2, 1, 1.5)],
)
def test_recurrent_options(layers, directions, dropout):
    x, y, hn = np.zeros((2, 3, 4)), np.full((2, 3, 5), 7.0), np.full((1, 3, 5), 7.0)
    weights = [np.zeros((5, 4)), np.zeros((5, 5)), np.zeros(5), np.zeros(5)]
    with pytest.raises(ValueError, match="rnn_forward"):
        _core.rnn_forward(x, None, weights, y, hn, None, "tanh", layers, directions, True, dropout, 0, 0)
    with pytest.raises(ValueError, match=r"rnn_forward.*nonlinearity.*sine"):
        _core.rnn_forward(x, None, weights, y, hn, None, "sine", 1, 1, True, 0.0, 0, 0)
    with pytest.raises(ValueError, match=r"rnn_forward.*weights"):
        _core.rnn_forward(x, None, weights[:3], y, hn, None, "tanh", 1, 1, True, 0.0, 0, 0)
    assert (y == 7).all() and (hn == 7).all()


def test_sequences_without_steps():
    """PyTorch refuses them too: there is no last output."""
    x, y, hn = np.zeros((0, 3, 4)), np.zeros((0, 3, 5)), np.zeros((1, 3, 5))
    weights = [np.zeros((5, 4)), np.zeros((5, 5))]
    with pytest.raises(ValueError, match=r"rnn_forward.*at least one time step"):
        _core.rnn_forward(x, None, weights, y, hn, None, "tanh", 1, 1, False, 0.0, 0, 0)


@pytest.mark.parametrize("eps", [-1.0, np.nan])
def test_batch_norm_eps(eps):
    call = recorded("batch_norm_forward")
    refuses(replace(call, args=[*call.args[:10], eps, *call.args[11:]]), ValueError, eps)


def test_label_smoothing_outside_its_range():
    for name in ("cross_entropy_forward", "cross_entropy_backward"):
        for smoothing in (-0.1, 1.1, np.nan):
            refuses(replace(recorded(name), args=[*recorded(name).args[:-1], smoothing]), ValueError, smoothing)


def test_embedding_padding_index():
    call = recorded("embedding_backward")
    for index in (-2, 5, 2**40):
        refuses(replace(call, args=[*call.args[:-1], index]), ValueError, index)


def test_adam_step_counts_from_one():
    call = recorded("adam_step")
    refuses(replace(call, args=[*call.args[:-2], 0, False]), ValueError, 0)


def test_missing_and_superfluous_arguments(call):
    with pytest.raises(TypeError):
        getattr(_core, call.name)()
    with pytest.raises(TypeError):
        getattr(_core, call.name)(*call.args, *[None] * 9, **call.kwargs)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_special_values_crash_nothing(value, call):
    """Kernels of NaN and infinity run to the end; what they give is tested op by op."""
    for _, array in call.arrays():
        if array.dtype.kind == "f" and not any(array is output for output in call.outputs):
            kept = array.copy()
            array[...] = value
            call()
            array[...] = kept
