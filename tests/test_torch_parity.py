"""The same numbers as PyTorch, forward and backward, on drawn shapes and options, and from its weights as they are."""

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import jadro
from jadro import nn
from jadro.nn import functional as F

torch = pytest.importorskip("torch")

bounded = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
EPS = float(np.finfo(np.float64).eps)
seeds = st.integers(0, 2**16)
small = st.integers(1, 3)
pairs = st.tuples(small, small)


def leaf(rng, *shape):
    """The same float64 leaf on both sides."""
    array = rng.standard_normal(shape)
    return jadro.tensor(array, requires_grad=True), torch.tensor(array, requires_grad=True)


def agree(got, expected, what=""):
    """Two orders of the same float64 computation: equal to rounding, by the norm of the difference."""
    a, b = np.asarray(got.detach().numpy()), expected.detach().numpy()
    assert a.shape == b.shape, what
    finite = np.isfinite(b)
    np.testing.assert_array_equal(np.isfinite(a), finite, what)
    a, b = a[finite], b[finite]
    assert np.linalg.norm(a - b) <= 500 * EPS * max(np.linalg.norm(a), np.linalg.norm(b)), what


def agree_backward(ours, theirs, leaves, rng):
    """Outputs, then the gradients of every leaf for the same random weights of the outputs."""
    ours, theirs = (list(y) if isinstance(y, (tuple, list)) else [y] for y in (ours, theirs))
    ours_total, theirs_total = 0, 0
    for i, (y, other) in enumerate(zip(ours, theirs, strict=True)):
        agree(y, other, f"output {i}")
        weights = rng.standard_normal(y.shape)
        ours_total = ours_total + (y * jadro.tensor(weights)).sum()
        theirs_total = theirs_total + (other * torch.tensor(weights)).sum()
    ours_total.backward()
    theirs_total.backward()
    for i, (a, b) in enumerate(leaves):
        agree(a.grad, b.grad, f"gradient of leaf {i}")


# --- convolution and pooling ----------------------------------------------------------------------------------------
@st.composite
def convolutions(draw):
    groups = draw(small)
    kernel, dilation = draw(pairs), draw(pairs)
    padding = draw(
        st.one_of(st.just("valid"), st.just("same"), st.integers(0, 3), st.tuples(st.integers(0, 3), st.integers(0, 3)))
    )
    stride = (1, 1) if padding == "same" else draw(pairs)  # PyTorch's "same" has no stride
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    both = {"valid": (0, 0), "same": (9, 9)}.get(padding, padding) if isinstance(padding, str) else padding
    before = (both, both) if isinstance(both, int) else both
    image = tuple(max(1, s - 2 * p) + draw(st.integers(0, 5)) for s, p in zip(spans, before, strict=True))
    return {
        "x": (draw(small), groups * draw(small), *image),
        "outputs": groups * draw(small),
        "kernel": kernel,
        "bias": draw(st.booleans()),
        "options": {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups},
        "seed": draw(seeds),
    }


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # PyTorch's, about its copy of the input
@bounded
@given(convolutions())
def test_conv2d(case):
    rng = np.random.default_rng(case["seed"])
    groups = case["options"]["groups"]
    leaves = [leaf(rng, *case["x"]), leaf(rng, case["outputs"], case["x"][1] // groups, *case["kernel"])]
    if case["bias"]:
        leaves.append(leaf(rng, case["outputs"]))
    ours, theirs = zip(*leaves, strict=True)
    agree_backward(
        F.conv2d(*ours, **case["options"]), torch.nn.functional.conv2d(*theirs, **case["options"]), leaves, rng
    )


@st.composite
def poolings(draw):
    kernel, dilation = draw(pairs), draw(st.sampled_from([(1, 1), (1, 2), (2, 1)]))
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    image = tuple(s + draw(st.integers(0, 6)) for s in spans)
    return {
        "x": (*draw(st.lists(small, min_size=1, max_size=2)), *image),
        "ties": draw(st.booleans()),
        "seed": draw(seeds),
        "kernel": kernel,
        "options": {
            "stride": draw(st.one_of(st.none(), pairs)),
            "padding": tuple(draw(st.integers(0, k // 2)) for k in kernel),
            "dilation": dilation,
            "ceil_mode": draw(st.booleans()),
            "return_indices": True,
        },
    }


@bounded
@given(poolings())
def test_max_pool2d(case):
    rng = np.random.default_rng(case["seed"])
    array = rng.integers(0, 3, case["x"]).astype(np.float64) if case["ties"] else rng.standard_normal(case["x"])
    x, other = jadro.tensor(array, requires_grad=True), torch.tensor(array, requires_grad=True)
    y, indices = F.max_pool2d(x, case["kernel"], **case["options"])
    expected, expected_indices = torch.nn.functional.max_pool2d(other, case["kernel"], **case["options"])
    np.testing.assert_array_equal(y.detach().numpy(), expected.detach().numpy())
    np.testing.assert_array_equal(indices.numpy(), expected_indices.numpy())
    agree_backward(y, expected, [(x, other)], rng)


# --- recurrent layers -------------------------------------------------------------------------------------------------
@st.composite
def recurrent(draw):
    kind = draw(st.sampled_from(["RNN", "LSTM", "GRU"]))
    options = {
        "num_layers": draw(small),
        "bias": draw(st.booleans()),
        "batch_first": draw(st.booleans()),
        "bidirectional": draw(st.booleans()),
    }
    if kind == "RNN":
        options["nonlinearity"] = draw(st.sampled_from(["tanh", "relu"]))
    sizes = tuple(draw(st.integers(1, n)) for n in (6, 4, 5, 7))
    return kind, sizes, options, draw(st.booleans()), draw(st.booleans()), draw(seeds)


@bounded
@given(recurrent())
def test_recurrent_layers(case):
    kind, (steps, batch, inputs, hidden), options, with_state, batched, seed = case
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    theirs = getattr(torch.nn, kind)(inputs, hidden, **options).double()
    ours = getattr(nn, kind)(inputs, hidden, **options).double()
    ours.load_state_dict(theirs.state_dict())
    rows = (batch,) if batched else ()
    x = leaf(rng, *((*rows, steps) if options["batch_first"] else (steps, *rows)), inputs)
    state_shape = (options["num_layers"] * (2 if options["bidirectional"] else 1), *rows, hidden)
    states = [leaf(rng, *state_shape) for _ in range(2 if kind == "LSTM" else 1)] if with_state else []

    def run(layer, side):
        state = tuple(s[side] for s in states) if kind == "LSTM" else (states[0][side] if states else None)
        y, last = layer(x[side], state if states else None)
        return [y, *(last if isinstance(last, tuple) else (last,))]

    parameters = dict(theirs.named_parameters())
    leaves = [x, *states, *((p, parameters[name]) for name, p in ours.named_parameters())]
    agree_backward(run(ours, 0), run(theirs, 1), leaves, rng)


@bounded
@given(st.sampled_from(["RNNCell", "LSTMCell", "GRUCell"]), small, small, st.booleans(), seeds)
def test_recurrent_cells(kind, batch, size, bias, seed):
    rng = np.random.default_rng(seed)
    theirs = getattr(torch.nn, kind)(size, size + 1, bias=bias).double()
    ours = getattr(nn, kind)(size, size + 1, bias=bias).double()
    ours.load_state_dict(theirs.state_dict())
    x, states = leaf(rng, batch, size), [leaf(rng, batch, size + 1) for _ in range(2 if kind == "LSTMCell" else 1)]

    def run(cell, side):
        last = cell(x[side], tuple(s[side] for s in states) if kind == "LSTMCell" else states[0][side])
        return last if isinstance(last, tuple) else [last]

    parameters = dict(theirs.named_parameters())
    leaves = [x, *states, *((p, parameters[name]) for name, p in ours.named_parameters())]
    agree_backward(run(ours, 0), run(theirs, 1), leaves, rng)


# --- normalisation, losses, look-up -----------------------------------------------------------------------------------
@bounded
@given(
    st.tuples(st.integers(1, 4), small, st.integers(1, 4), st.integers(1, 4)),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0.1, 0.5, None]),
    st.booleans(),
    seeds,
)
def test_batch_norm(shape, affine, track, momentum, evaluate, seed):
    assume(shape[0] * shape[2] * shape[3] > 1)
    rng = np.random.default_rng(seed)
    options = {"affine": affine, "track_running_stats": track, "momentum": momentum}
    theirs = torch.nn.BatchNorm2d(shape[1], **options).double()
    for p in theirs.parameters():
        torch.nn.init.normal_(p)
    ours = nn.BatchNorm2d(shape[1], **options).double()
    ours.load_state_dict(theirs.state_dict())
    for _ in range(2):  # the second run starts from moved statistics
        ours(jadro.tensor(array := rng.normal(1, 2, shape)))
        theirs(torch.tensor(array))
    if evaluate:
        ours.eval(), theirs.eval()
    x = leaf(rng, *shape)
    parameters = dict(theirs.named_parameters())
    leaves = [x, *((p, parameters[name]) for name, p in ours.named_parameters())]
    agree_backward(ours(x[0]), theirs(x[1]), leaves, rng)
    expected = theirs.state_dict()
    for name, value in ours.state_dict().items():
        np.testing.assert_allclose(np.asarray(value), expected[name].numpy(), rtol=1e-12, atol=1e-14)


@st.composite
def cross_entropies(draw):
    classes, rows = draw(st.integers(2, 6)), draw(st.integers(1, 5))
    extra = tuple(draw(st.lists(small, max_size=2)))
    return {
        "shape": (rows, classes, *extra),
        "weighted": draw(st.booleans()),
        "soft": draw(st.booleans()),
        "ignored": draw(st.booleans()),
        "seed": draw(seeds),
        "options": {
            "reduction": draw(st.sampled_from(["mean", "sum", "none"])),
            "label_smoothing": draw(st.sampled_from([0.0, 0.1, 0.7])),
        },
    }


@bounded
@given(cross_entropies())
def test_cross_entropy(case):
    rng = np.random.default_rng(case["seed"])
    rows, classes, *extra = case["shape"]
    x = leaf(rng, *case["shape"])
    if case["soft"]:
        target = rng.dirichlet(np.ones(classes), (rows, *extra))
        target = np.ascontiguousarray(np.moveaxis(target, -1, 1))
    else:
        target = rng.integers(0, classes, (rows, *extra))
    options = dict(case["options"])
    if case["ignored"] and not case["soft"] and target.size > 1:
        options["ignore_index"] = int(target.flat[0])
        assume((target != options["ignore_index"]).any())  # the mean of nothing is NaN on both sides
    weight = rng.uniform(0.1, 2, classes) if case["weighted"] else None
    ours = F.cross_entropy(x[0], jadro.tensor(target), None if weight is None else jadro.tensor(weight), **options)
    theirs = torch.nn.functional.cross_entropy(
        x[1], torch.tensor(target), None if weight is None else torch.tensor(weight), **options
    )
    agree_backward(ours, theirs, [x], rng)


@bounded
@given(st.integers(1, 6), small, st.lists(st.integers(0, 5), min_size=1, max_size=9), st.booleans(), seeds)
def test_embedding(vocabulary, width, ids, padded, seed):
    rng = np.random.default_rng(seed)
    weight = leaf(rng, vocabulary, width)
    ids = np.array(ids) % vocabulary
    padding = int(ids[0]) if padded else None
    ours = F.embedding(jadro.tensor(ids), weight[0], padding_idx=padding)
    theirs = torch.nn.functional.embedding(torch.tensor(ids), weight[1], padding_idx=padding)
    agree_backward(ours, theirs, [weight], rng)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda m: m.Linear(5, 7), (3, 5)),
        (lambda m: m.Linear(5, 7, bias=False), (2, 3, 5)),
        (lambda m: m.Conv1d(4, 6, 3, stride=2, padding=1, groups=2), (2, 4, 9)),
        (lambda m: m.Conv2d(4, 6, (3, 2), dilation=2), (2, 4, 9, 8)),
        (lambda m: m.BatchNorm1d(4), (6, 4)),
        (lambda m: m.BatchNorm2d(4), (2, 4, 3, 5)),
        (lambda m: m.Sequential(m.Conv2d(3, 4, 3), m.BatchNorm2d(4), m.ReLU(), m.MaxPool2d(2)), (2, 3, 8, 9)),
    ],
)
def test_state_dicts_load_unchanged(make, shape):
    """float32, through the modules: PyTorch's names, shapes and order, both ways."""
    torch.manual_seed(0)
    theirs, ours = make(torch.nn), make(nn)
    state = theirs.state_dict()
    assert list(ours.state_dict()) == list(state)
    ours.load_state_dict(state)
    x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    exact = make(torch.nn).double()
    exact.load_state_dict(state)
    exact, naive = exact(torch.tensor(x).double()).detach().numpy(), theirs(torch.tensor(x)).detach().numpy()
    from jadro.testing.cases import assert_close

    assert_close(ours(jadro.tensor(x)).numpy(), exact, [naive])
