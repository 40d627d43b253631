"""Layers against PyTorch's with the same state: outputs, gradients, buffers; shapes and options that do not fit."""

import numpy as np
import pytest

import jadro
from jadro import nn

RNG = np.random.default_rng(0)
RTOL, ATOL = 1e-10, 1e-12  # float64: some thousand roundings, values of size one


def normal(*shape):
    return RNG.normal(size=shape)


def same_state(ours, theirs):
    a, b = ours.state_dict(), theirs.state_dict()
    assert list(a) == list(b)
    for name in a:
        np.testing.assert_allclose(a[name].numpy(), b[name].numpy(), rtol=RTOL, atol=ATOL, err_msg=name)


def assert_same(ours, theirs, *inputs, twice=False):
    """Both in float64 with the state of `theirs`: the same outputs, gradients and buffers, in training and
    evaluation."""
    import torch

    theirs = theirs.double()
    with torch.no_grad():  # no parameter is at a trivial value
        for p in theirs.parameters():
            p.copy_(torch.tensor(RNG.normal(size=p.shape)))
    ours.double().load_state_dict(theirs.state_dict())
    for _ in range(2 if twice else 1):
        x = [jadro.tensor(i, requires_grad=i.dtype.kind == "f") for i in inputs]
        z = [torch.tensor(i, requires_grad=i.dtype.kind == "f") for i in inputs]
        y, expected = ours(*x), theirs(*z)
        np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=RTOL, atol=ATOL)
        if expected.requires_grad:
            dy = RNG.normal(size=y.shape)
            y.backward(dy)
            expected.backward(torch.tensor(dy))
        for a, b in zip([*x, *ours.parameters()], [*z, *theirs.parameters()], strict=True):
            if b.grad is not None:
                np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=RTOL, atol=ATOL)
        same_state(ours, theirs)
    y, expected = ours.eval()(*map(jadro.tensor, inputs)), theirs.eval()(*map(torch.tensor, inputs))
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=RTOL, atol=ATOL)


LAYERS = [
    ("Linear", (4, 3), {}, [(5, 4)]),
    ("Linear", (4, 3), {"bias": False}, [(2, 5, 4)]),
    ("Conv1d", (4, 6, 3), {"stride": 2, "padding": 1}, [(2, 4, 9)]),
    ("Conv1d", (4, 6, 3), {"dilation": 2, "groups": 2, "bias": False}, [(4, 9)]),
    ("Conv2d", (4, 6, 3), {"stride": (2, 1), "padding": (1, 2)}, [(2, 4, 9, 8)]),
    ("Conv2d", (4, 6, (3, 5)), {"groups": 2, "padding": "same"}, [(2, 4, 7, 6)]),
    ("Conv2d", (4, 8, 3), {"groups": 4, "dilation": (1, 2), "padding": "valid", "bias": False}, [(4, 7, 8)]),
    ("MaxPool1d", (3,), {"stride": 2, "padding": 1}, [(2, 3, 9)]),
    ("MaxPool2d", (2,), {}, [(2, 3, 8, 9)]),
    ("MaxPool2d", ((3, 2),), {"stride": 2, "padding": 1, "dilation": (1, 2), "ceil_mode": True}, [(2, 3, 9, 8)]),
    ("AvgPool1d", (3,), {"stride": 2, "padding": 1, "count_include_pad": False}, [(2, 3, 9)]),
    ("AvgPool2d", ((3, 2),), {"padding": (1, 0), "ceil_mode": True}, [(2, 3, 8, 9)]),
    ("AdaptiveAvgPool1d", (4,), {}, [(2, 3, 9)]),
    ("AdaptiveAvgPool2d", ((1, 4),), {}, [(2, 3, 8, 9)]),
    ("AdaptiveAvgPool2d", ((None, 3),), {}, [(3, 8, 9)]),
    ("BatchNorm1d", (4,), {}, [(6, 4)]),
    ("BatchNorm1d", (4,), {"affine": False, "momentum": 0.3, "eps": 0.1}, [(3, 4, 5)]),
    ("BatchNorm2d", (4,), {"momentum": None}, [(3, 4, 5, 2)]),
    ("BatchNorm2d", (4,), {"track_running_stats": False}, [(3, 4, 5, 2)]),
    ("BatchNorm3d", (4,), {}, [(2, 4, 3, 2, 2)]),
    ("LayerNorm", (6,), {}, [(3, 4, 6)]),
    ("LayerNorm", ((4, 6),), {"eps": 0.1}, [(3, 4, 6)]),
    ("LayerNorm", (6,), {"bias": False}, [(3, 6)]),
    ("LayerNorm", ([4, 6],), {"elementwise_affine": False}, [(3, 4, 6)]),
    ("RMSNorm", (6,), {}, [(3, 4, 6)]),
    ("RMSNorm", ((4, 6), 0.1), {"elementwise_affine": False}, [(3, 4, 6)]),
    ("LocalResponseNorm", (3,), {"alpha": 0.3}, [(2, 5, 3, 4)]),
    ("LocalResponseNorm", (4, 0.5, 0.6, 2.0), {}, [(2, 7, 3)]),
    ("LPPool1d", (2, 3), {"stride": 2}, [(2, 3, 9)]),
    ("LPPool2d", (2.0, (3, 2)), {"ceil_mode": True}, [(2, 3, 8, 9)]),
    ("GroupNorm", (2, 6), {}, [(3, 6, 5)]),
    ("GroupNorm", (6, 6), {"affine": False, "eps": 0.1}, [(3, 6, 4, 2)]),
    ("InstanceNorm1d", (4,), {"affine": True}, [(3, 4, 5)]),
    ("BatchNorm2d", (4,), {"bias": False}, [(3, 4, 5, 2)]),
    ("GroupNorm", (2, 4), {"bias": False}, [(3, 4, 5)]),
    ("InstanceNorm2d", (4,), {"affine": True, "bias": False}, [(3, 4, 5, 2)]),
    ("InstanceNorm1d", (4,), {}, [(4, 5)]),
    ("InstanceNorm2d", (4,), {"track_running_stats": True, "affine": True}, [(3, 4, 5, 2)]),
    ("InstanceNorm3d", (4,), {}, [(2, 4, 3, 2, 2)]),
    ("Flatten", (), {}, [(3, 4, 5)]),
    ("Flatten", (0, 1), {}, [(3, 4, 5)]),
    ("Identity", (7,), {"any": 1}, [(3,)]),
    ("ReLU", (), {"inplace": False}, [(3, 4)]),
    ("ReLU6", (), {}, [(30, 4)]),
    ("SiLU", (), {}, [(3, 4)]),
    ("LeakyReLU", (0.2,), {}, [(3, 4)]),
    ("ELU", (0.7,), {}, [(3, 4)]),
    ("Hardtanh", (-0.5, 0.7), {}, [(3, 4)]),
    ("GELU", (), {}, [(3, 4)]),
    ("GELU", (), {"approximate": "tanh"}, [(3, 4)]),
    ("Softplus", (2.0, 1.0), {}, [(3, 4)]),
    ("Sigmoid", (), {}, [(3, 4)]),
    ("Tanh", (), {}, [(3, 4)]),
    ("Hardswish", (), {}, [(9, 4)]),
    ("Mish", (), {"inplace": False}, [(3, 4)]),
    ("SELU", (), {}, [(3, 4)]),
    ("CELU", (0.5,), {}, [(3, 4)]),
    ("Softsign", (), {}, [(3, 4)]),
    ("LogSigmoid", (), {}, [(3, 4)]),
    ("Hardshrink", (0.3,), {}, [(3, 4)]),
    ("Softshrink", (), {"lambd": 0.3}, [(3, 4)]),
    ("Tanhshrink", (), {}, [(3, 4)]),
    ("Threshold", (0.1, 2.0), {}, [(3, 4)]),
    ("GLU", (1,), {}, [(3, 4, 2)]),
    ("Softmin", (), {"dim": 1}, [(3, 4)]),
    ("Softmax2d", (), {}, [(2, 3, 4, 2)]),
    ("Softmax2d", (), {}, [(3, 4, 2)]),
    ("Softmax", (1,), {}, [(3, 4, 2)]),
    ("LogSoftmax", (-1,), {}, [(3, 4, 2)]),
    ("MSELoss", (), {}, [(3, 4), (3, 4)]),
    ("L1Loss", (), {"reduction": "sum"}, [(3, 4), (3, 4)]),
    ("SmoothL1Loss", (), {"beta": 0.5, "reduction": "none"}, [(3, 4), (3, 4)]),
    ("BCEWithLogitsLoss", (), {}, [(3, 4), (3, 4)]),
]


@pytest.mark.parametrize(
    ("name", "args", "options", "shapes"), LAYERS, ids=[f"{n[0]}{i}" for i, n in enumerate(LAYERS)]
)
def test_equals_pytorch(name, args, options, shapes):
    torch = pytest.importorskip("torch")
    ours, theirs = getattr(nn, name)(*args, **options), getattr(torch.nn, name)(*args, **options)
    assert_same(ours, theirs, *[normal(*shape) for shape in shapes], twice="Norm" in name)


@pytest.mark.parametrize(
    "options", [{"max_norm": 1.0}, {"max_norm": 0.7, "norm_type": 1.0, "padding_idx": 1}, {"scale_grad_by_freq": True}]
)
def test_embedding_options_equal_pytorch(options):
    torch = pytest.importorskip("torch")
    ids = np.array([[0, 5, 1], [4, 1, 1]])
    mine, theirs = nn.Embedding(6, 3, **options), torch.nn.Embedding(6, 3, **options)
    mine.load_state_dict(theirs.state_dict())
    y, wanted = mine(ids), theirs(torch.tensor(ids))
    np.testing.assert_allclose(y.data, wanted.detach(), rtol=1e-6)
    np.testing.assert_allclose(mine.weight.data, theirs.weight.detach(), rtol=1e-6)
    (y**2).sum().backward()
    (wanted**2).sum().backward()
    np.testing.assert_allclose(mine.weight.grad.data, theirs.weight.grad, rtol=1e-5)
    (recorded,) = jadro.grad((mine(ids) ** 2).sum(), [mine.weight], create_graph=True)
    np.testing.assert_allclose(recorded.data, theirs.weight.grad, rtol=1e-5)
    with pytest.raises(ValueError, match=r"embedding: x reaches from 9 to 9, expected 0\.\.5"):
        mine(np.array([9]))


@pytest.mark.parametrize("padding_idx", [None, 2, -1])
def test_embedding_equals_pytorch(padding_idx):
    torch = pytest.importorskip("torch")
    ids = RNG.integers(0, 6, (4, 5))
    assert_same(nn.Embedding(6, 3, padding_idx), torch.nn.Embedding(6, 3, padding_idx), ids)


CLASSES = RNG.integers(0, 4, 6)
WEIGHT = np.array([0.5, 1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("CrossEntropyLoss", {}),
        ("CrossEntropyLoss", {"ignore_index": int(CLASSES[0]), "label_smoothing": 0.1, "reduction": "sum"}),
        ("CrossEntropyLoss", {"weight": WEIGHT, "reduction": "none"}),
        ("NLLLoss", {}),
        ("NLLLoss", {"weight": WEIGHT, "ignore_index": int(CLASSES[1])}),
    ],
)
def test_losses_of_classes_equal_pytorch(name, options):
    torch = pytest.importorskip("torch")
    theirs = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    assert_same(getattr(nn, name)(**options), getattr(torch.nn, name)(**theirs), normal(6, 4), CLASSES)


def test_weights_of_a_loss_move_with_it():
    loss = nn.BCEWithLogitsLoss(weight=np.ones(3, np.float32), pos_weight=WEIGHT[:3].astype(np.float32))
    assert list(loss.state_dict()) == ["weight", "pos_weight"]
    assert loss.double().pos_weight.dtype == np.float64


@pytest.mark.parametrize("dtype", [np.float32, "float64"])
def test_dtype_of_a_layer(dtype):
    for layer in (
        nn.Linear(2, 3, dtype=dtype),
        nn.Conv2d(2, 3, 1, dtype=dtype),
        nn.BatchNorm2d(2, dtype=dtype),
        nn.LayerNorm(2, dtype=dtype),
        nn.GroupNorm(1, 2, dtype=dtype),
        nn.InstanceNorm1d(2, affine=True, dtype=dtype),
        nn.Embedding(2, 3, dtype=dtype, device="cpu"),
        nn.LSTM(2, 3, dtype=dtype),
        nn.GRUCell(2, 3, dtype=dtype),
    ):
        assert {p.dtype for p in layer.parameters()} == {np.dtype(dtype)}
        assert {p.device for p in layer.parameters()} == {"cpu"}


# --- what PyTorch has no twin of --------------------------------------------------------------------------------------
@pytest.mark.parametrize("make", [nn.Softmax, nn.Flatten, nn.ReLU, nn.BatchNorm1d, nn.Linear, nn.Residual], ids=str)
def test_arrays_are_taken_too(make):
    args = {nn.BatchNorm1d: (3,), nn.Linear: (3, 2), nn.Residual: (nn.Linear(3, 3),)}.get(make, ())
    layer, x = make(*args).double().eval(), normal(2, 3)
    np.testing.assert_array_equal(layer(x).numpy(), layer(jadro.tensor(x)).numpy())


def test_residual():
    x = jadro.tensor(normal(2, 3), requires_grad=True)
    body = nn.Linear(3, 3).double()
    y = nn.Residual(body)(x)
    np.testing.assert_array_equal(y.numpy(), (body(x) + x).numpy())
    shortcut = nn.Linear(3, 3).double()
    np.testing.assert_array_equal(nn.Residual(body, shortcut)(x).numpy(), (body(x) + shortcut(x)).numpy())
    assert list(nn.Residual(body, shortcut).state_dict())[2] == "shortcut.weight"
    with pytest.raises(ValueError, match=r"Residual: the body gives shape \(2, 1\), expected \(2, 3\)"):
        nn.Residual(nn.Linear(3, 1).double())(x)


def test_dropout():
    layer = nn.Dropout(0.25, inplace=True)
    x = jadro.ones(100, 100)
    jadro.manual_seed(5)
    y = layer(x).numpy()
    kept = y != 0
    np.testing.assert_allclose(y[kept], 1 / 0.75, rtol=1e-6)
    assert abs(kept.mean() - 0.75) < 5 * np.sqrt(0.25 * 0.75 / y.size)
    assert (x.numpy() == 1).all()
    jadro.manual_seed(5)
    np.testing.assert_array_equal(layer(x).numpy(), y)
    assert (layer(x).numpy() != y).any()
    assert (layer.eval()(x).numpy() == 1).all()


def test_pretrained_embedding():
    table = normal(5, 3)
    layer = nn.Embedding.from_pretrained(table, padding_idx=-1)
    assert not layer.weight.requires_grad
    assert layer.padding_idx == 4
    np.testing.assert_array_equal(layer(np.array([[1, 4]])).numpy(), table[[[1, 4]]])
    layer = nn.Embedding.from_pretrained(jadro.tensor(table), freeze=False)
    assert layer.weight.requires_grad
    assert repr(layer) == "Embedding(5, 3)"
    with pytest.raises(ValueError, match="two axes"):
        nn.Embedding.from_pretrained(table[0])


def test_a_padding_row_starts_as_zeros():
    assert (nn.Embedding(4, 3, padding_idx=1).weight.numpy()[1] == 0).all()


def test_reset_running_stats():
    layer = nn.BatchNorm1d(3)
    layer(jadro.randn(5, 3))
    assert int(layer.num_batches_tracked) == 1
    layer.weight.data[...] = 7
    layer.reset_running_stats()
    assert int(layer.num_batches_tracked) == 0
    assert (layer.running_mean.numpy() == 0).all()
    assert (layer.running_var.numpy() == 1).all()
    assert (layer.weight.numpy() == 7).all()
    layer.reset_parameters()
    assert (layer.weight.numpy() == 1).all()


def test_a_refused_batch_does_not_count():
    layer = nn.BatchNorm1d(3)
    for x in (jadro.ones(1, 3), jadro.ones(4, 2)):
        with pytest.raises(ValueError, match="batch_norm"):
            layer(x)
    assert int(layer.num_batches_tracked) == 0
    assert (layer.running_var.numpy() == 1).all()


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (nn.Conv2d(4, 8, 3, padding=1), "Conv2d(4, 8, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))"),
        (
            nn.Conv1d(4, 8, 3, dilation=2, groups=2, bias=False, padding="same"),
            "Conv1d(4, 8, kernel_size=(3,), stride=(1,), padding='same', dilation=(2,), groups=2, bias=False)",
        ),
        (nn.BatchNorm2d(3), "BatchNorm2d(3, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)"),
        (nn.Embedding(3, 2, padding_idx=0), "Embedding(3, 2, padding_idx=0)"),
        (nn.Dropout(0.2), "Dropout(p=0.2)"),
        (nn.MaxPool2d(2), "MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)"),
        (nn.GroupNorm(2, 4), "GroupNorm(2, 4, eps=1e-05, affine=True)"),
        (nn.LayerNorm(4), "LayerNorm((4,), eps=1e-05, elementwise_affine=True)"),
        (nn.Softmax(1), "Softmax(dim=1)"),
        (nn.LeakyReLU(), "LeakyReLU(negative_slope=0.01)"),
        (nn.ELU(), "ELU(alpha=1.0)"),
        (nn.Hardtanh(), "Hardtanh(min_val=-1.0, max_val=1.0)"),
        (nn.GELU(), "GELU(approximate='none')"),
        (nn.Softplus(), "Softplus(beta=1.0, threshold=20.0)"),
        (nn.MSELoss(), "MSELoss(reduction='mean')"),
        (nn.Flatten(), "Flatten(start_dim=1, end_dim=-1)"),
        (nn.AdaptiveAvgPool2d(1), "AdaptiveAvgPool2d(output_size=1)"),
    ],
    ids=lambda v: type(v).__name__,
)
def test_repr(layer, text):
    assert repr(layer) == text


BAD = [
    (ValueError, lambda: nn.Linear(-1, 3)),
    (ValueError, lambda: nn.Conv2d(3, 4, 3, groups=2)),
    (ValueError, lambda: nn.Conv2d(4, 3, 3, groups=2)),
    (ValueError, lambda: nn.Conv2d(0, 4, 3)),
    (ValueError, lambda: nn.Conv2d(3, 4, 0)),
    (ValueError, lambda: nn.Conv2d(3, 4, (3, 3, 3))),
    (TypeError, lambda: nn.Conv2d(3, 4, 2.5)),
    (ValueError, lambda: nn.Conv2d(3, 4, 3, stride=0)),
    (ValueError, lambda: nn.Conv2d(3, 4, 3, groups=0)),
    (ValueError, lambda: nn.BatchNorm2d(0)),
    (ValueError, lambda: nn.GroupNorm(3, 4)),
    (ValueError, lambda: nn.LayerNorm(())),
    (ValueError, lambda: nn.LayerNorm((3, 0))),
    (ValueError, lambda: nn.Embedding(-1, 3)),
    (ValueError, lambda: nn.Embedding(4, 3, padding_idx=4)),
    (ValueError, lambda: nn.Dropout(1.5)),
    (ValueError, lambda: nn.Dropout(float("nan"))),
    (ValueError, lambda: nn.Hardtanh(1, 1)),
    (ValueError, lambda: nn.GELU("fast")),
    (ValueError, lambda: nn.MSELoss(reduction="average")),
    (ValueError, lambda: nn.SmoothL1Loss(beta=-1)),
    (ValueError, lambda: nn.CrossEntropyLoss(label_smoothing=2)),
    (ValueError, lambda: nn.BatchNorm1d(3)(jadro.ones(3))),
    (ValueError, lambda: nn.BatchNorm2d(3)(jadro.ones(2, 3))),
    (ValueError, lambda: nn.BatchNorm3d(3)(jadro.ones(2, 3, 4, 4))),
    (ValueError, lambda: nn.InstanceNorm1d(3)(jadro.ones(2, 4, 5))),
    (ValueError, lambda: nn.InstanceNorm2d(3)(jadro.ones(4, 5))),
    (ValueError, lambda: nn.Linear(3, 2)(jadro.ones(2, 4))),
    (ValueError, lambda: nn.Conv2d(3, 2, 3)(jadro.ones(1, 4, 5, 5))),
    (ValueError, lambda: nn.Conv2d(3, 2, 7)(jadro.ones(1, 3, 5, 5))),
    (ValueError, lambda: nn.Embedding(3, 2)(np.array([3]))),
    (TypeError, lambda: nn.Embedding(3, 2)(np.array([0.5]))),
]


@pytest.mark.parametrize(("error", "call"), BAD, ids=range(len(BAD)))
def test_bad_input(error, call):
    with pytest.raises(error, match=r"^\w+: "):
        call()
