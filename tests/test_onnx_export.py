"""Modules written as ONNX models: evaluated by onnx's own reference, by ONNX Runtime where it is, and loaded again."""

import numpy as np
import pytest

import jadro
from jadro import nn

onnx = pytest.importorskip("onnx")

from jadro.onnx import export, load  # noqa: E402

F = nn.functional


def normal(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


class Called(nn.Module):
    """A function as a module."""

    def __init__(self, function, **members):
        super().__init__()
        self.function = function
        for name, member in members.items():
            setattr(self, name, member)

    def forward(self, *xs):
        return self.function(self, *xs) if self._modules or self._parameters else self.function(*xs)


def flat(outputs):
    return [t for part in outputs for t in flat(part)] if isinstance(outputs, (tuple, list)) else [outputs]


def sessions(path, elsewhere):
    """The functions that compute the model: onnx's reference, ONNX Runtime where it is."""
    from onnx.reference import ReferenceEvaluator

    found = []
    if "reference" in elsewhere:
        found.append(lambda feeds: ReferenceEvaluator(str(path)).run(None, feeds))
    try:
        import onnxruntime
    except ImportError:
        return found
    if "runtime" in elsewhere:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        found.append(lambda feeds: session.run(None, feeds))
    return found


BOTH = ("reference", "runtime")


def check(module, *inputs, path, elsewhere=BOTH, **options):
    """Exported, and computed everywhere; gives the model."""
    given = [jadro.as_tensor(x) for x in inputs]
    export(module, tuple(given), path, **options)
    module.eval()
    with jadro.no_grad():
        wanted = [y.numpy() for y in flat(module(*given))]
    model = onnx.load(str(path))
    feeds = dict(zip([i.name for i in model.graph.input], inputs, strict=True))
    runs = [*sessions(path, elsewhere), lambda feeds: [y.detach().numpy() for y in flat(load(path)(**feeds))]]
    for run in runs:
        found = run(feeds)
        assert len(found) == len(wanted)
        for a, b in zip(found, wanted, strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            np.testing.assert_allclose(a, b, 1e-4, 1e-5)
    return model


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.onnx"


MODES = ("reflect", "replicate", "circular")
LAYERS = {
    "convolutions": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, stride=2),
            nn.LeakyReLU(0.1), nn.Conv2d(8, 8, 1, groups=2), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(8, 4), nn.Dropout(), nn.Softmax(1),
        ),
        (2, 3, 16, 16),
    ),
    "padding modes": (
        lambda: nn.Sequential(*(nn.Conv2d(2, 2, 3, padding=1, padding_mode=mode) for mode in MODES)),
        (1, 2, 6, 5),
    ),
    "sides": (lambda: nn.Conv2d(2, 3, 3, stride=2, padding="same"), (1, 2, 6, 5)),
    "sequences": (
        lambda: nn.Sequential(
            nn.Conv1d(3, 8, 3, padding=2, dilation=2), nn.PReLU(8), nn.MaxPool1d(3, 2), nn.AvgPool1d(2, 1, 1),
            nn.ConvTranspose1d(8, 4, 4, 2, 1, 1),
        ),
        (2, 3, 17),
    ),
    "transposed": (lambda: nn.Sequential(nn.ConvTranspose2d(3, 4, 3, 2, 1, 1), nn.ELU(), nn.GELU()), (2, 3, 7, 8)),
    "cells more": (lambda: nn.ConvTranspose2d(3, 4, 3, 2, output_padding=1), (2, 3, 5, 4)),
    "volumes": (
        lambda: nn.Sequential(nn.Conv3d(2, 4, 3, padding=1), nn.BatchNorm3d(4), nn.AvgPool3d(2), nn.MaxPool3d(3, 1, 1)),
        (1, 2, 6, 6, 6),
    ),
    "pooling": (
        lambda: nn.Sequential(
            nn.MaxPool2d(3, 2, 1, ceil_mode=True), nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False)
        ),
        (2, 3, 10, 11),
    ),
    "divisor": (lambda: nn.AvgPool2d(2, divisor_override=3), (2, 3, 10, 10)),
    "norms": (
        lambda: nn.Sequential(
            nn.GroupNorm(2, 4), nn.InstanceNorm2d(4, affine=True), nn.LayerNorm([5, 5]), nn.SiLU(), nn.Softplus(2.0),
            nn.Softplus(), nn.Hardtanh(), nn.Tanh(), nn.Sigmoid(), nn.LogSoftmax(-1),
        ),
        (2, 4, 5, 5),
    ),
    "plain norms": (
        lambda: nn.Sequential(nn.BatchNorm1d(4, affine=False), nn.LayerNorm(4, elementwise_affine=False)), (3, 4)
    ),
    "residual": (
        lambda: nn.Residual(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(4))),
        (2, 4, 6, 6),
    ),
    "linear": (lambda: nn.Sequential(nn.Linear(4, 5, bias=False), nn.Tanh(), nn.Linear(5, 2)), (2, 3, 4)),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name, path):
    make, shape = LAYERS[name]
    jadro.manual_seed(0)
    module = make()
    elsewhere = ["runtime"] if name == "volumes" else BOTH  # the reference pools no volumes
    model = check(module, normal(*shape), path=path, elsewhere=elsewhere)
    own = {t.name for t in model.graph.initializer}
    assert {n for n, _ in module.named_parameters()} <= own, "weights go under their names"


FUNCTIONS = {
    "arithmetic": lambda a, b: (a + b) * 2 - a / (b * b + 1) + (-a) ** 2 + 1 / (b.abs() + 1) + abs(a) % 0.7,
    "functions": lambda a, b: (a.exp().log1p(), a.sin() + b.cos(), a.square().sqrt(), (b * b + 1).log(), a.expm1()),
    "angles": lambda a, b: (a.tan(), a.tanh().asin(), a.tanh().acos(), a.atan(), a.fmod(0.7), (b * b + 0.1).log2()),
    "hyperbolas": lambda a, b: (a.sinh(), a.cosh(), a.asinh(), (a * a + 1.1).acosh(), a.tanh().atanh(), a.exp2()),
    "logarithms": lambda a, b: ((a * a + 0.1).log10(), b.erf()),
    "extremes": lambda a, b: (jadro.maximum(a, b), jadro.minimum(a, b), a.clamp(-0.5, 0.5), a.clamp(min=0.1)),
    "reductions": lambda a, b: (
        a.sum(),
        a.mean(0),
        a.max(axis=1),
        b.amin((0, 1), True),
        a.norm(dim=1),
        b.prod(1, True),
    ),
    "cumulative": lambda a, b: (a.cumsum(1), a.softmax(0), b.log_softmax(1), a.var(1), a.logsumexp(1)),
    "shapes": lambda a, b: (a.reshape(-1), a.T, a[None], a.unsqueeze(1).expand(3, 2, 4), a.flatten(), a.repeat(2, 1)),
    "slices": lambda a, b: (a[:, 1:3], a[0], a[..., -1], a[:, None, ::2], a.flip(1), a[1:, -3:], a[:, 3:0:-2]),
    "arrays": lambda a, b: (a[[2, 0]], a[:, [1, 1, 3]], a[[0, 1], [2, 3]], a.index_select(1, [0, 2])),
    "joining": lambda a, b: (jadro.cat([a, b], 1), jadro.stack([a, b]), *a.split(3, 1), *a.chunk(2, 1)),
    "padding": lambda a, b: (F.pad(a, (1, 2), value=3.0), F.pad(a, (1, 2), "reflect"), F.pad(b, (-1, 1, 0, 1))),
    "products": lambda a, b: (a @ b.T, a[None] @ b.T[None], a @ b[0], F.linear(a[None], b)),
    "casts": lambda a, b: (a.double().sum(), a.double().float() + b),
    "choice": lambda a, b: jadro.where(jadro.tensor([True, False, True, False]), a, b),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name, path):
    elsewhere = ["runtime"] if name == "cumulative" else BOTH  # the reference takes a number for no axis
    check(Called(FUNCTIONS[name]), normal(3, 4), normal(3, 4)[::-1].copy(), path=path, elsewhere=elsewhere)


def test_embedding(path):
    module = nn.Sequential(nn.Embedding(11, 6), nn.Linear(6, 4))
    check(module, np.arange(15).reshape(3, 5) % 11, path=path)


def test_float64(path):
    module = nn.Sequential(nn.Conv1d(2, 3, 3), nn.ReLU6(), nn.Flatten(), nn.Linear(12, 2)).double()
    check(module, normal(2, 2, 6).astype(np.float64), path=path, elsewhere=["reference"])  # ONNX Runtime has float32


def test_other_sizes_of_dynamic_axes(path):
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    axes = {"image": {0: "n"}, "scores": {0: "n"}}
    names = {"input_names": ["image"], "output_names": ["scores"]}
    model = check(module, normal(2, 3, 8, 8), path=path, dynamic_axes=axes, **names)
    assert [d.dim_param or d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == ["n", 3, 8, 8]
    x = normal(5, 3, 8, 8)
    for run in sessions(path, BOTH):
        np.testing.assert_allclose(run({"image": x})[0], module(x).detach().numpy(), 1e-4, 1e-5)


def test_an_axis_of_any_size_that_is_joined_with_another(path):
    module = Called(lambda x: x.reshape(-1, 4).relu())
    check(module, normal(2, 3, 4), path=path, input_names=["x"], dynamic_axes={"x": {0: "n", 1: "t"}})
    assert load(path)(normal(5, 7, 4)).shape == (35, 4)


def test_names_and_training_mode_come_back(path):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
            self.frozen = nn.Linear(3, 3).eval()

        def forward(self, left, right):
            return self.body(left) + self.frozen(right), right

    module = Two()
    model = check(module.train(), normal(4, 3), normal(4, 3), path=path)
    module.train()
    module.frozen.eval()
    export(module, (normal(4, 3), normal(4, 3)), path)
    assert module.training and module.body[1].training and not module.frozen.training
    assert [i.name for i in model.graph.input] == ["left", "right"]
    assert [o.name for o in model.graph.output] == ["output_0", "output_1"]
    state = load(path).state_dict()
    assert all(name in state for name, t in module.state_dict().items() if t.ndim)


# --- what cannot be written -------------------------------------------------------------------------------------------
REFUSED = {
    "a branch on values": (lambda x: x if x.sum() > 0 else -x, "differs from the module's for other signs"),
    "NumPy between": (lambda x: jadro.tensor(np.sort(x.numpy())) + x, "differs from the module's for other values"),
    "NumPy at the end": (lambda x: jadro.tensor(np.sort(x.numpy())), "output 0 does not come from the inputs"),
    "a constant": (lambda x: jadro.ones(3), "output 0 does not come from the inputs"),
    "a mask": (lambda x: x[x > 0], "differs from the module's|an index of masks"),
    "unequal bins": (lambda x: F.adaptive_avg_pool1d(x[None], 3), r"adaptive pooling of \(1, 3, 4\)"),
    "indices": (lambda x: F.max_pool1d(x[None], 2, return_indices=True)[0], "return_indices"),
    "moments of the batch": (lambda x: F.batch_norm(x, None, None, training=True), "batch norm by the moments"),
    "a loss": (lambda x: F.cross_entropy(x, np.array([0, 1, 2])), "cross_entropy has no operator in ONNX"),
    "dropout": (lambda x: F.dropout(x, 0.5, True), "dropout has no operator in ONNX"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, path):
    """With a reason; the file that was there stays."""
    path.write_bytes(b"before")
    function, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        export(Called(function), normal(3, 4), path)
    assert path.read_bytes() == b"before" and [p.name for p in path.parent.iterdir()] == ["model.onnx"]


def test_sizes_that_the_module_fixes(path):
    module = Called(lambda x: x.reshape(1, 12) * 1.0 if x.shape[0] == 3 else x.sum((0, 1), True))
    with pytest.raises(ValueError, match="for other sizes"):
        export(module, normal(3, 4), path, input_names=["x"], dynamic_axes={"x": {0: "n"}})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_names": ["a", "b"]}, "input_names is .* expected 1 names"),
        ({"output_names": ["a", "b"]}, "output_names is .* expected 1 names"),
        ({"dynamic_axes": {"z": {0: "n"}}}, r"dynamic_axes has \['z'\]"),
    ],
)
def test_names_that_do_not_fit(options, message, path):
    with pytest.raises(ValueError, match=message):
        export(nn.Linear(4, 2), normal(3, 4), path, **options)


def test_what_is_no_module(path):
    with pytest.raises(TypeError, match="module is a function, expected a Module"):
        export(lambda x: x, normal(2), path)


def test_a_place_that_cannot_be_written(tmp_path):
    with pytest.raises(OSError):
        export(nn.Linear(4, 2), normal(3, 4), tmp_path / "missing" / "model.onnx")


def test_other_threads_are_not_written_down(path):
    """Calls of another thread during an export are not the module's."""
    import threading

    def with_company(x):
        other = threading.Thread(target=lambda: F.cross_entropy(jadro.randn(2, 3), np.array([0, 1])))
        other.start()
        other.join()
        return x * 2

    check(Called(with_company), normal(3), path=path)


# --- numbers without axes, integers -----------------------------------------------------------------------------------
def test_numbers_keep_that_they_have_no_axes(path):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(jadro.tensor(2.0))

        def forward(self, x):
            return x * self.scale, x.std(), x.var(), x.clamp(0.0, 1.0)

    model = check(Scaled(), normal(3, 4), path=path)
    assert {t.name: len(t.dims) for t in model.graph.initializer}["scale"] == 0
    check(Called(lambda x: x * 2), np.array(3, np.float32), path=path)


def test_integers(path):
    check(Called(lambda x: (x % 3, x + x, x * 2 - 1)), np.array([-4, -1, 0, 5]), path=path)
    check(Called(lambda x: x.sum(1)), np.arange(6, dtype=np.int32).reshape(2, 3), path=path)


def test_sums_of_booleans_are_refused(path):
    with pytest.raises(ValueError, match="ONNX has not all that the module does"):
        export(Called(lambda x: x + x), np.array([True, False]), path)


def test_axes_without_names(path):
    model = check(nn.ReLU(), normal(3, 4), path=path, input_names=["x"], dynamic_axes={"x": [0, 1], "output": [0, 1]})
    assert [d.dim_param for d in model.graph.input[0].type.tensor_type.shape.dim] == ["x_0", "x_1"]


def test_softplus_with_a_low_threshold(path):
    with pytest.raises(ValueError, match=r"softplus with threshold 1\.0, expected at least 15"):
        export(nn.Softplus(1.0, 1.0), normal(3), path)
