"""The library on CUDA arrays: layers, losses, optimizers and errors, against the CPU. With a GPU on CuPy's arrays;
without one on those of the stand-in, whose kernels are CUDA's on the CPU."""

import numpy as np
import pytest

import jadro
from jadro import nn, optim
from jadro.nn import functional as F

pytestmark = pytest.mark.usefixtures("cuda_device")


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def host(t):
    return t.cpu().numpy() if isinstance(t, jadro.Tensor) else t


def flat(result):
    if isinstance(result, jadro.Tensor):
        return [result]
    return [t for part in result for t in flat(part)]


def both(f, *inputs, tolerance=1e-5):
    """f on the CPU and on CUDA: the same results, and the same gradients of a weighted sum of them."""
    found = []
    for device in ("cpu", "cuda"):
        jadro.manual_seed(3)
        given = [
            jadro.tensor(a, device=device, requires_grad=a.dtype.kind == "f") if isinstance(a, np.ndarray) else a
            for a in inputs
        ]
        results = flat(f(*given))
        assert all(t.device == device for t in results)
        floating = [t for t in results if t.is_floating_point() and t.requires_grad]
        if floating:
            seeds = [jadro.tensor(draw(*t.shape, seed=9), device=device, dtype=t.dtype) for t in floating]
            total = sum((t * s).sum() for t, s in zip(floating, seeds, strict=True))
            total.backward()
        grads = [t.grad for t in given if isinstance(t, jadro.Tensor) and t.requires_grad]
        found.append([host(t.detach()) for t in results] + [None if g is None else host(g) for g in grads])
    for a, b in zip(*found, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert a.dtype == b.dtype
            np.testing.assert_allclose(b, a, rtol=tolerance, atol=tolerance)


IMAGES = draw(2, 4, 9, 8)
IDS = np.array([[0, 3, 1], [2, 2, 4]])
OPERATIONS = {
    "arithmetic": (lambda x, y: (x * y - y / 2 + 3) ** 2, (draw(3, 4), draw(4, seed=1))),
    "powers": (lambda x: (x**3.0, x**0, (x * x) ** 0.7), (draw(3, 4),)),
    "comparison": (lambda x, y: x > y, (draw(3, 4), draw(4, seed=1))),
    "functions": (
        lambda x: x.exp() + x.tanh() + x.sigmoid() + x.relu() + x.abs().sqrt() + (x * x + 1).log(), (draw(5),)
    ),
    "reductions": (lambda x: (x.sum(), x.mean(1), x.max(), x.max(1), x.min(0)), (draw(3, 4),)),
    "shapes": (lambda x: (x.reshape(4, 3), x.transpose(0, 1), x.flatten(), x.unsqueeze(0), x[1:, ::2]), (draw(3, 4),)),
    "joins": (lambda x, y: (jadro.cat([x, y]), jadro.stack([x, y])), (draw(3, 4), draw(3, 4, seed=1))),
    "indexing": (lambda x: (x[[0, 0, 2]], x[x > 0]), (draw(3, 4),)),
    "matmul": (lambda x, y: x @ y, (draw(3, 4), draw(4, 2, seed=1))),
    "softmax": (lambda x: (x.softmax(1), F.log_softmax(x, 1)), (draw(3, 4),)),
    "logsumexp": (lambda x: x.logsumexp(1), (draw(3, 4),)),
    "where and clamp": (lambda x: jadro.where(x > 0, x, 2 * x).clamp(-1, 1), (draw(3, 4),)),
    "gelu and others": (lambda x: (F.gelu(x), F.silu(x), F.elu(x), F.softplus(x), F.leaky_relu(x)), (draw(3, 4),)),
    "linear": (F.linear, (draw(5, 4), draw(3, 4, seed=1), draw(3, seed=2))),
    "conv2d": (lambda x, w, b: F.conv2d(x, w, b, padding=1), (IMAGES, draw(6, 4, 3, 3, seed=1), draw(6, seed=2))),
    "conv1d": (lambda x, w: F.conv1d(x, w, stride=2), (draw(2, 3, 11), draw(4, 3, 3, seed=1))),
    "reflected": (lambda x, w: F.conv2d(x, w, padding=2, padding_mode="reflect"), (IMAGES, draw(3, 4, 3, 3, seed=1))),
    "max_pool2d": (lambda x: F.max_pool2d(x, 3, 2, 1), (IMAGES,)),
    "max_pool2d's indices": (lambda x: F.max_pool2d(x, 2, return_indices=True), (IMAGES,)),
    "avg_pool2d": (lambda x: F.avg_pool2d(x, 3, 2, 1), (IMAGES,)),
    "adaptive_avg_pool2d": (lambda x: F.adaptive_avg_pool2d(x, (3, 4)), (IMAGES,)),
    "batch_norm": (
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), (IMAGES, draw(4, seed=1), draw(4, seed=2))
    ),
    "layer_norm": (F.layer_norm, (draw(3, 5), 5, draw(5, seed=1), draw(5, seed=2))),
    "group_norm": (lambda x: F.group_norm(x, 2), (IMAGES,)),
    "dropout": (lambda x: F.dropout(x, 0.4), (draw(50),)),
    "embedding": (F.embedding, (IDS, draw(5, 3))),
    "one_hot": (lambda x: F.one_hot(x, 5), (IDS,)),
    "cross_entropy": (F.cross_entropy, (draw(6, 5), IDS.reshape(-1))),
    "cross_entropy, weighted": (
        lambda x, t, w: F.cross_entropy(x, t, w.detach(), ignore_index=2, label_smoothing=0.1),
        (draw(6, 5), IDS.reshape(-1), abs(draw(5, seed=1))),
    ),
    "cross_entropy, summed": (lambda x, t: F.cross_entropy(x, t, reduction="sum"), (draw(6, 5), IDS.reshape(-1))),
    "cross_entropy, each": (lambda x, t: F.cross_entropy(x, t, reduction="none"), (draw(6, 5), IDS.reshape(-1))),
    "cross_entropy of many rows": (
        lambda x, t, w: F.cross_entropy(x, t, w.detach(), ignore_index=1),
        (draw(2500, 3), np.arange(2500) % 3, np.arange(1, 4, dtype=np.float32)),
    ),
    "cross_entropy of probabilities": (
        lambda x, t: F.cross_entropy(x, t.detach().softmax(1)), (draw(6, 5), draw(6, 5, seed=1))
    ),
    "nll_loss": (lambda x, t: F.nll_loss(F.log_softmax(x, 1), t, reduction="sum"), (draw(6, 5), IDS.reshape(-1))),
    "other losses": (
        lambda x, y: (F.mse_loss(x, y), F.l1_loss(x, y), F.smooth_l1_loss(x, y)), (draw(3, 4), draw(3, 4, seed=1))
    ),
    "pad": (lambda x: F.pad(x, (1, 2, 0, 1)), (IMAGES,)),
    "distances and norms": (
        lambda x, y: (
            F.normalize(x), F.cosine_similarity(x, y), F.pairwise_distance(x, y), F.rms_norm(x, 4),
            F.local_response_norm(x.unsqueeze(0), 2), F.lp_pool1d(x, 2, 2),
        ),
        (draw(3, 4), draw(3, 4, seed=1)),
    ),
    "more losses": (
        lambda x, y, t: (
            F.huber_loss(x, y), F.binary_cross_entropy(x.sigmoid(), y.detach().sigmoid()), F.kl_div(x, y.exp()),
            F.gaussian_nll_loss(x, y, x.exp()), F.soft_margin_loss(x, y), F.triplet_margin_loss(x, y, x * y),
            F.cosine_embedding_loss(x, y, t * 2 - 1), F.multi_margin_loss(x, t),
            F.hinge_embedding_loss(x, (t * 2 - 1).unsqueeze(1).expand(3, 4)),
        ),
        (draw(3, 4), draw(3, 4, seed=1), np.array([0, 1, 1])),
    ),
    "dropout of channels": (
        lambda x: (F.dropout2d(x, 0.4), F.alpha_dropout(x, 0.4, True), F.feature_alpha_dropout(x, 0.4, True)),
        (IMAGES,),
    ),
    "rearranged": (
        lambda x: (
            F.pixel_shuffle(x, 2), F.channel_shuffle(x, 2), F.unfold(x, 3, padding=1),
            F.fold(F.unfold(x, 2, stride=2), (9, 8), 2, stride=2),
        ),
        (IMAGES,),
    ),
    "composed activations": (
        lambda x: (
            F.hardswish(x), F.mish(x), F.selu(x), F.celu(x, 2.0), F.softsign(x), F.hardshrink(x), F.softshrink(x),
            F.threshold(x, 0.1, 2.0), F.glu(x, 1),
        ),
        (draw(3, 4),),
    ),
    "sorted": (
        lambda x: (*x.sort(1, True), *x.topk(2), x.median(), *x.median(0), x.nonzero(), x.cumprod(1)),
        (draw(3, 4),),
    ),
    "scattered": (
        lambda x, i: (
            x.scatter(1, i, 2.0), x.scatter(1, i, x[:2, :3]), x.scatter_add(0, i, x[:2, :3]), x.repeat_interleave(2, 1),
            x.masked_select(x > 0), x.tril(), x.roll(1, 1), x.where(x > 0, 2 * x),
        ),
        (draw(4, 4), np.array([[0, 2, 1], [2, 0, 3]])),
    ),
    "drawn": (
        lambda x: (x.sigmoid().bernoulli(), x.exp().multinomial(3), x.exp().multinomial(9, True), x.new_ones(2)),
        (draw(3, 4),),
    ),
    "pointwise": (
        lambda x, y: (
            x.atan(), x.erf(), x.exp2(), x.frac(), x.lerp(y, 0.3), x.addcmul(x, y), x.isclose(y), x.logical_and(y),
            x.mm(y.T), jadro.addmm(x[:, :3], x, y.T),
        ),
        (draw(3, 4), draw(3, 4, seed=1)),
    ),
    "interpolate, nearest": (
        lambda x: (F.interpolate(x, scale_factor=2), F.interpolate(x, (5, 11)), F.interpolate(x, 3, mode="area")),
        (IMAGES,),
    ),
    "interpolate": (
        lambda x: (
            F.interpolate(x, (4, 16), mode="bilinear"), F.interpolate(x, (13, 5), mode="bicubic", antialias=True)
        ),
        (IMAGES,),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations(name):
    f, inputs = OPERATIONS[name]
    both(f, *inputs)


def lenet():
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3),
        nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Dropout(0.2), nn.Linear(32, 10),
    )  # fmt: skip


class Characters(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.embed = nn.Embedding(7, 5)
        self.rnn = kind(5, 6, num_layers=2, dropout=0.3, bidirectional=True)
        self.out = nn.Linear(12, 7)

    def forward(self, x):
        return self.out(self.rnn(self.embed(x))[0]).flatten(0, 1)


MODELS = {
    "lenet": (lenet, draw(4, 1, 12, 12), np.array([1, 0, 9, 4])),
    **{
        kind.__name__: (lambda kind=kind: Characters(kind), np.arange(12).reshape(4, 3) % 7, np.arange(12) * 5 % 7)
        for kind in (nn.RNN, nn.LSTM, nn.GRU)
    },
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_trains_as_on_the_cpu(name):
    """Loss and parameters after three steps with clipping, the dropout's masks included."""
    make, x, target = MODELS[name]
    ends = []
    for device in ("cpu", "cuda"):
        jadro.manual_seed(5)
        model = make().to(device)
        assert all(p.device == device for p in model.parameters())
        adam = optim.Adam(model.parameters(), lr=0.01)
        for _ in range(3):
            adam.zero_grad()
            loss = F.cross_entropy(model(jadro.tensor(x, device=device)), jadro.tensor(target, device=device))
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            adam.step()
        ends.append([loss.item(), *(host(v) for v in model.state_dict().values())])
    for a, b in zip(*ends, strict=True):
        np.testing.assert_allclose(b, a, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True), lambda p: optim.Adagrad(p, 0.1),
        lambda p: optim.RMSprop(p, 0.01, momentum=0.5), lambda p: optim.AdamW(p, 0.1),
    ],
    ids=["SGD", "Adagrad", "RMSprop", "AdamW"],
)  # fmt: skip
def test_optimizers(make):
    ends = []
    for device in ("cpu", "cuda"):
        p = nn.Parameter(jadro.tensor(draw(7), device=device))
        optimizer = make([p])
        for step in range(4):
            p.grad = jadro.tensor(draw(7, seed=step), device=device)
            optimizer.step()
        ends.append(host(p.detach()))
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-5, atol=1e-6)


def test_evaluation_and_back_to_the_cpu():
    model = lenet().to("cuda").eval()
    x = draw(3, 1, 12, 12)
    with jadro.no_grad():
        y = model(jadro.tensor(x, device="cuda"))
        again = model.to("cpu")(jadro.tensor(x))
    assert y.device == "cuda" and again.device == "cpu"
    np.testing.assert_allclose(host(y), host(again), rtol=1e-4, atol=1e-5)


def test_arrays_of_both_devices_do_not_mix():
    x, w = jadro.tensor(draw(1, 2, 5, 5), device="cuda"), jadro.tensor(draw(3, 2, 3, 3))
    with pytest.raises(ValueError, match="conv2d: weight is on cpu, expected cuda as x is"):
        F.conv2d(x, w)
    with pytest.raises(ValueError, match="linear: weight is on cpu, expected cuda as x is"):
        F.linear(jadro.tensor(draw(2, 3), device="cuda"), jadro.tensor(draw(4, 3)))
    with pytest.raises(ValueError, match="add: operands are on cuda and cpu, expected one device"):
        x + jadro.tensor(draw(5))
    with pytest.raises(ValueError, match="multiply: operands are on cpu and cuda, expected one device"):
        jadro.tensor(draw(5)) * x
    with pytest.raises(TypeError, match=r"embedding_forward: ids is a numpy\.ndarray, expected a CuPy array"):
        F.embedding(IDS, jadro.tensor(draw(5, 3), device="cuda"))


def test_what_the_cpu_alone_has_says_so():
    x, w = jadro.tensor(draw(1, 2, 5, 5), device="cuda"), jadro.tensor(draw(3, 2, 3, 3), device="cuda")
    with pytest.raises(RuntimeError, match="algorithm 'winograd' is not available on cuda"):
        F.conv2d(x, w, algorithm="winograd")
    with pytest.raises(RuntimeError, match=r"GRU\.stepper: the layer is on cuda, expected the CPU"):
        nn.GRU(2, 3).to("cuda").stepper(1)
    lstm = nn.LSTM(2, 3, checkpoint=2).to("cuda")
    with pytest.raises(RuntimeError, match=r"rnn_options_\w+: checkpoint is 2, which is not available on cuda"):
        lstm(jadro.tensor(draw(4, 1, 2), device="cuda"))


def test_tf32_is_asked_for_by_name():
    x, w = jadro.tensor(IMAGES, device="cuda"), jadro.tensor(draw(6, 4, 3, 3, seed=1), device="cuda")
    gru = nn.GRU(6, 7).to("cuda")
    run = {"conv2d": lambda: F.conv2d(x, w, algorithm="im2col"), "gru": lambda: gru(draw_on_cuda(5, 3, 6))[0]}
    for name, f in run.items():
        exact = host(f())
        try:
            jadro.set_float32_matmul_precision("high")
            assert jadro.get_float32_matmul_precision() == "high"
            rounded = host(f())
        finally:
            jadro.set_float32_matmul_precision("highest")
        difference = np.max(np.abs(rounded - exact)) / np.max(np.abs(exact))
        assert 1e-6 < difference < 2e-3, name
        np.testing.assert_array_equal(host(f()), exact)
    with pytest.raises(ValueError, match="precision is 'medium', expected 'highest' or 'high'"):
        jadro.set_float32_matmul_precision("medium")


def draw_on_cuda(*shape):
    return jadro.tensor(draw(*shape), device="cuda")


def test_the_character_model_trains_and_writes(tmp_path, capsys):
    char_lm = pytest.importorskip("char_lm")
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog. " * 40)
    sizes = {"hidden": 8, "embedding": 6, "batch": 4, "length": 6, "steps": 4, "every": 2, "write": 10}
    options = [part for name, size in sizes.items() for part in (f"--{name}", str(size))]
    char_lm.main(["--text", str(text), "--out", str(tmp_path / "out"), "--device", "cuda", *options])
    assert "after 4 steps" in capsys.readouterr().out


def test_onnx_models_go_out_and_come_back(tmp_path):
    pytest.importorskip("onnx")
    from jadro.onnx import export, load

    layers = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    module = nn.Sequential(layers, nn.Linear(36, 3)).to("cuda")
    x = jadro.tensor(draw(2, 2, 6, 6), device="cuda")
    export(module, x, tmp_path / "model.onnx", input_names=["x"], dynamic_axes={"x": {0: "n"}})
    graph = load(tmp_path / "model.onnx").to("cuda")
    module.eval()
    for mode in (jadro.no_grad, jadro.enable_grad):
        with mode():
            assert graph(x).device == "cuda"
            np.testing.assert_allclose(host(graph(x).detach()), host(module(x).detach()), 1e-5, 1e-5)


ONNX_NODES = {
    "Resize": (["x", "", "scales"], {"mode": "linear"}),
    "Upsample": (["x", "scales"], {}),
    "Gather": (["x", "ids"], {"axis": 2}),
    "GatherElements": (["x", "cells"], {"axis": 3}),
    "GatherND": (["x", "ids"], {}),
    "ScatterND": (["x", "row", "part"], {}),
    "ScatterElements": (["x", "cells", "part"], {"axis": 3, "reduction": "add"}),
    "Trilu": (["x"], {}),
    "ReverseSequence": (["x", "lengths"], {"batch_axis": 1, "time_axis": 0}),
    "Shrink": (["x"], {}),
    "ThresholdedRelu": (["x"], {"alpha": 0.3}),
    "Where": (["mask", "x", "part"], {}),
    "TopK": (["x", "k"], {}),
    "Clip": (["x", "low", "high"], {}),
    "Expand": (["x", "shape"], {}),
    "Erf": (["x"], {}),
    "Det": (["x"], {}),
}


@pytest.mark.parametrize("op", ONNX_NODES)
def test_onnx_operators(op):
    onnx = pytest.importorskip("onnx")
    from jadro.onnx import load

    names, attributes = ONNX_NODES[op]
    weights = {
        "scales": np.array([1, 1, 2, 2], np.float32), "ids": np.array([[0, -1], [1, 2 if op == "Gather" else 1]]),
        "cells": np.zeros((2, 2, 3, 3), np.int64), "row": np.array([[0], [1]]), "lengths": np.array([2, 1]),
        "mask": np.array([True, False, True]), "k": np.array([2]), "low": np.float32(-0.5), "high": np.float32(0.7),
        "shape": np.array([2, 2, 3, 3]), "part": draw(2, 2, 3, 3, seed=5),
    }  # fmt: skip
    tensors = [onnx.numpy_helper.from_array(np.asarray(w), name) for name, w in weights.items() if name in names]
    info = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node(op, names, ["y", "places"] if op == "TopK" else ["y"], **attributes)
    graph = onnx.helper.make_graph([node], "one", [info("x", 1, [2, 2, 3, 3])], [info("y", 1, None)], tensors)
    imports = [onnx.helper.make_opsetid("", 9 if op == "Upsample" else 18)]
    model = load(onnx.helper.make_model(graph, opset_imports=imports))
    x = draw(2, 2, 3, 3)
    found = model.to("cuda")(jadro.tensor(x, device="cuda"))
    assert found.device == "cuda"
    np.testing.assert_allclose(host(found.detach()), host(model.to("cpu")(x).detach()), 1e-5, 1e-5)
