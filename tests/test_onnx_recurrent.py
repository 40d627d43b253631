"""ONNX's RNN, LSTM and GRU with every attribute, against their equations in NumPy, and weights in both directions."""

import numpy as np
import pytest
from onnx_cases import model_of

import jadro
from jadro import nn

onnx = pytest.importorskip("onnx")

from jadro.onnx import export, load  # noqa: E402

T, B, I, H = 5, 3, 4, 3
GATES = {"RNN": 1, "LSTM": 4, "GRU": 3}
USUAL = {"RNN": ["Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"]}
DIRECTIONS = ["forward", "reverse", "bidirectional"]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# By name: f(x, alpha, beta), how many of the two it takes, and their defaults.
FUNCTIONS = {
    "Tanh": (lambda x, a, b: np.tanh(x), 0, ()),
    "Sigmoid": (lambda x, a, b: sigmoid(x), 0, ()),
    "Relu": (lambda x, a, b: np.maximum(x, 0), 0, ()),
    "Softsign": (lambda x, a, b: x / (1 + np.abs(x)), 0, ()),
    "Softplus": (lambda x, a, b: np.log1p(np.exp(x)), 0, ()),
    "LeakyRelu": (lambda x, a, b: np.where(x > 0, x, a * x), 1, (0.01,)),
    "ThresholdedRelu": (lambda x, a, b: np.where(x > a, x, 0), 1, (1.0,)),
    "Elu": (lambda x, a, b: np.where(x > 0, x, a * np.expm1(x)), 1, (1.0,)),
    "Affine": (lambda x, a, b: a * x + b, 2, (1.0, 0.0)),
    "ScaledTanh": (lambda x, a, b: a * np.tanh(b * x), 2, (1.0, 1.0)),
    "HardSigmoid": (lambda x, a, b: np.clip(a * x + b, 0, 1), 2, (0.2, 0.5)),
}


def step_of(kind, acts, clip, given, attributes):
    """h, c = step(x, h, c) of one direction."""
    w, r = given["W"], given["R"]
    bw, br = np.split(given.get("B", np.zeros(2 * len(w))), 2)
    pi, po, pf = np.split(given.get("P", np.zeros(3 * H)), 3)

    def bound(x):
        return np.clip(x, -clip, clip) if clip else x

    def rnn(x, h, c):
        return acts[0](bound(x @ w.T + h @ r.T + bw + br)), c

    def gru(x, h, c):
        (wz, wr, wh), (rz, rr, rh) = np.split(w, 3), np.split(r, 3)
        (bz, b_r, bh), (cz, c_r, ch) = np.split(bw, 3), np.split(br, 3)
        z = acts[0](bound(x @ wz.T + h @ rz.T + bz + cz))
        reset = acts[0](bound(x @ wr.T + h @ rr.T + b_r + c_r))
        if attributes.get("linear_before_reset"):
            a = x @ wh.T + bh + reset * (h @ rh.T + ch)
        else:
            a = x @ wh.T + bh + (reset * h) @ rh.T + ch
        return (1 - z) * acts[1](bound(a)) + z * h, c

    def lstm(x, h, c):
        i, o, f, g = np.split(x @ w.T + h @ r.T + bw + br, 4, 1)
        i = acts[0](bound(i + pi * c))
        f = 1 - i if attributes.get("input_forget") else acts[0](bound(f + pf * c))
        c = f * c + i * acts[1](bound(g))
        return acts[0](bound(o + po * c)) * acts[2](c), c

    return {"RNN": rnn, "GRU": gru, "LSTM": lstm}[kind]


def written_out(kind, given, attributes):
    """Y, Y_h and Y_c by the equations, row by row."""
    names = attributes.get("activations", USUAL[kind] * 2)
    alphas, betas = list(attributes.get("activation_alpha", [])), list(attributes.get("activation_beta", []))
    functions = []
    for name in names:
        f, takes, defaults = FUNCTIONS[name]
        a = (alphas.pop(0) if alphas else defaults[0]) if takes > 0 else None
        b = (betas.pop(0) if betas else defaults[1]) if takes > 1 else None
        functions.append(lambda x, f=f, a=a, b=b: f(x, a, b))
    direction, each = attributes.get("direction", "forward"), len(USUAL[kind])
    sides = 2 if direction == "bidirectional" else 1
    x, lengths = given["X"], given.get("lengths", np.full(B, T))
    y, yh, yc = np.zeros((T, sides, B, H)), np.zeros((sides, B, H)), np.zeros((sides, B, H))
    for d in range(sides):
        own = {k: given[k][d] for k in "WRBP" if k in given}
        step = step_of(kind, functions[d * each : (d + 1) * each], attributes.get("clip"), own, attributes)
        for n in range(B):
            h = given["h"][d, n][None] if "h" in given else np.zeros((1, H))
            c = given["c"][d, n][None] if "c" in given else np.zeros((1, H))
            steps = range(lengths[n])
            for t in reversed(steps) if d or direction == "reverse" else steps:
                h, c = step(x[t, n][None], h, c)
                y[t, d, n] = h[0]
            yh[d, n], yc[d, n] = h[0], c[0]
    return (y, yh, yc) if kind == "LSTM" else (y, yh)


ORDER = {"X": 0, "W": 1, "R": 2, "B": 3, "lengths": 4, "h": 5, "c": 6, "P": 7}


def operands(kind, direction, names, dtype=np.float64):
    """Random operands of the names."""
    rng, d = np.random.default_rng(3), 2 if direction == "bidirectional" else 1
    rows = GATES[kind] * H
    shapes = {
        "X": (T, B, I), "W": (d, rows, I), "R": (d, rows, H), "B": (d, 2 * rows), "h": (d, B, H), "c": (d, B, H),
        "P": (d, 3 * H),
    }  # fmt: skip
    made = {n: rng.standard_normal(shapes[n]).astype(dtype) for n in shapes if n in names or n in "XWR"}
    if "lengths" in names:
        made["lengths"] = np.array([3, 0, 5])
    return made


def graph_of(kind, given, attributes):
    """A Graph of one node, W and what follows as inputs."""
    layout = attributes.get("layout", 0)
    names = [next((n for n in given if ORDER[n] == k), "") for k in range(8)]
    outs = ["Y", "Y_h", "Y_c"][: 3 if kind == "LSTM" else 2]
    node = onnx.helper.make_node(kind, names[: 8 if kind == "LSTM" else 6], outs, hidden_size=H, **attributes)
    inputs = {n: np.asarray(a, np.int32) if n == "lengths" else a.astype(np.float32) for n, a in given.items()}
    if layout:
        inputs.update({n: inputs[n].swapaxes(0, 1) for n in "Xhc" if n in inputs})
    shapes = dict.fromkeys(outs, (np.float32, None))
    return load(model_of([node], inputs, shapes, opset=14)), inputs


def check(kind, names=(), **attributes):
    direction = attributes.get("direction", "forward")
    given = operands(kind, direction, names)
    graph, inputs = graph_of(kind, given, attributes)
    found = graph(**inputs)
    for y, wanted in zip(found, written_out(kind, given, attributes), strict=True):
        if attributes.get("layout"):
            wanted = np.moveaxis(wanted, -2, 0)
        np.testing.assert_allclose(y.numpy(), wanted, 1e-4, 2e-5)


@pytest.mark.parametrize("layout", [0, 1])
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("kind", GATES)
def test_plain(kind, direction, layout):
    check(kind, direction=direction, layout=layout)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("kind", GATES)
def test_every_input(kind, direction):
    check(kind, ["B", "h", "c", "P", "lengths"] if kind == "LSTM" else ["B", "h", "lengths"], direction=direction)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("LSTM", {"input_forget": 1}), ("LSTM", {"clip": 0.5}), ("GRU", {"linear_before_reset": 1}),
        ("GRU", {"linear_before_reset": 1, "clip": 0.4}), ("GRU", {"clip": 0.4}), ("RNN", {"clip": 0.3}),
    ],
    ids=str,
)  # fmt: skip
def test_attributes(kind, attributes, direction):
    check(kind, ["B", "h", "lengths"], direction=direction, **attributes)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("kind", GATES)
def test_activations(kind, name, direction):
    """Each function in the place of the last one; the other direction keeps the usual ones."""
    names = [*USUAL[kind][:-1], name]
    names += USUAL[kind] if direction == "bidirectional" else []
    check(kind, ["B", "h", "lengths"], direction=direction, activations=names)


@pytest.mark.parametrize("kind", GATES)
def test_numbers_of_activations(kind):
    """In the order of the functions that take them, the defaults where they end."""
    takers = {"RNN": ["Affine"], "LSTM": ["HardSigmoid", "Tanh", "ScaledTanh"], "GRU": ["HardSigmoid", "LeakyRelu"]}
    names = takers[kind]
    both = {"direction": "bidirectional", "activations": names * 2}
    check(kind, ["B"], activation_alpha=[0.3, 0.7], activation_beta=[0.4], **both)


def test_attributes_of_composed_loops():
    """What the native loop would have done, without it."""
    usual = {"activations": ["HardSigmoid", "Tanh", "Tanh"]}
    check("LSTM", ["B", "h", "c", "P", "lengths"], input_forget=1, clip=0.5, **usual)
    check("GRU", ["B", "h", "lengths"], clip=0.5, activations=["HardSigmoid", "Tanh"])
    check("GRU", [], linear_before_reset=1, activations=["HardSigmoid", "Tanh"])


@pytest.mark.parametrize("activations", [None, ["HardSigmoid", "Tanh", "Tanh"]], ids=["native", "composed"])
def test_gradients_reach_every_operand(activations):
    """By directions in float64, through lengths, the reverse direction and peepholes."""
    attributes = {"direction": "reverse", **({"activations": activations} if activations else {})}
    given = operands("LSTM", "reverse", ["B", "h", "c", "P", "lengths"])
    graph, _ = graph_of("LSTM", given, attributes)
    floats = [n for n in given if n != "lengths"]

    def function(*xs):
        y, h, c = graph(**dict(zip(floats, xs, strict=True)), lengths=given["lengths"])
        return (y * y).sum() + (h * 0.7).sum() + (c * c).sum()

    assert jadro.testing.gradcheck(function, [jadro.tensor(given[n], requires_grad=True) for n in floats])


def test_an_activation_that_nobody_knows():
    given = operands("RNN", "forward", [])
    graph, inputs = graph_of("RNN", given, {"activations": ["Cube"]})
    with pytest.raises(ValueError, match=r"activations has 'cube', expected one of \['affine'"):
        graph(**inputs)


@pytest.mark.parametrize(
    ("layer", "options"),
    [
        (nn.RNN, {"nonlinearity": "relu"}), (nn.RNN, {"bias": False}), (nn.LSTM, {}), (nn.GRU, {}),
        (nn.LSTM, {"num_layers": 2, "bidirectional": True, "dropout": 0.3}), (nn.GRU, {"reset_after": False}),
        (nn.LSTM, {"peephole": True}), (nn.LSTM, {"peephole": True, "coupled": True, "gate_clip": 0.7}),
        (nn.GRU, {"num_layers": 2, "batch_first": True}), (nn.RNN, {"num_layers": 3, "bidirectional": True}),
    ],
    ids=str,
)  # fmt: skip
def test_layers_go_out_and_come_back(layer, options, tmp_path):
    module = layer(I, H, **options)
    x = jadro.randn(B, T, I) if options.get("batch_first") else jadro.randn(T, B, I)
    path = tmp_path / "layer.onnx"
    export(module, x, path, dynamic_axes={"x": {0: "first", 1: "second"}})
    module.eval()
    y, state = module(x)
    found = load(path)(x)
    wanted = [y, *(state if isinstance(state, tuple) else [state])]
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), 1e-5, 1e-6)


def test_states_and_lengths_go_out(tmp_path):
    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.LSTM(I, H, 2)

        def forward(self, x, h, c):
            y, (h, c) = self.rnn(x, (h, c), lengths=[4, 5, 2])
            return y, h, c

    module, path = Tagger(), tmp_path / "tagger.onnx"
    given = [jadro.randn(T, B, I), jadro.randn(2, B, H), jadro.randn(2, B, H)]
    export(module, given, path)
    module.eval()
    for a, b in zip(load(path)(*given), module(*given), strict=True):
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), 1e-5, 1e-6)


@pytest.mark.parametrize(
    ("named", "value"), [("layer_norm", True), ("zoneout", 0.1), ("proj_size", 2), ("cell_clip", 1.0)]
)
def test_options_that_onnx_has_not(named, value, tmp_path):
    with pytest.raises(ValueError, match=rf"onnx\.export: a recurrent layer with {named}, which ONNX"):
        export(nn.LSTM(I, H, **{named: value}), jadro.randn(T, B, I), tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())
