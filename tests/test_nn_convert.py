"""Weights written in other libraries' layouts: each evaluated by that library's own equations, in NumPy."""

import numpy as np
import pytest

import jadro
from jadro import nn
from jadro.nn import convert

I, H, T, B = 3, 4, 5, 2
KINDS = ["RNN", "LSTM", "GRU"]
GATES = {"RNN": 1, "LSTM": 4, "GRU": 3}
FORMS = [
    {},
    {"num_layers": 2, "bidirectional": True},
    {"bias": False, "bidirectional": True},
]
IDS = ["plain", "stacked", "no bias"]


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def layer_of(kind, options):
    return getattr(nn, kind)(I, H, dtype="float64", **options)


def inputs_of(options):
    """The width of each layer's input."""
    directions = 2 if options.get("bidirectional") else 1
    return [directions * H if layer else I for layer in range(options.get("num_layers", 1))], directions


def run_stack(step, parts, x, options):
    """y [T,B,D*H] of cells `step(part, x_t, h, c) -> h, c` from zero states; parts[layer][direction]."""
    for directions in parts:
        sides = []
        for d, part in enumerate(directions):
            h, c, ys = np.zeros((B, H)), np.zeros((B, H)), []
            for x_t in x[:: -1 if d else 1]:
                h, c = step(part, x_t, h, c)
                ys.append(h)
            sides.append(np.stack(ys[:: -1 if d else 1]))
        x = np.concatenate(sides, 2)
    return x


def assert_evaluates_to(layer, x, expected):
    np.testing.assert_allclose(layer(jadro.tensor(x))[0].numpy(), expected, rtol=1e-12, atol=1e-14)


# --- PyTorch ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("options", FORMS, ids=IDS)
@pytest.mark.parametrize("kind", KINDS)
def test_torch(kind, options):
    torch = pytest.importorskip("torch")
    theirs, x = getattr(torch.nn, kind)(I, H, **options).double(), draw(T, B, I)
    ours = layer_of(kind, options)
    convert.from_torch(ours, theirs.state_dict())
    assert_evaluates_to(ours, x, theirs(torch.tensor(x))[0].detach().numpy())
    other = getattr(torch.nn, kind)(I, H, **options).double()
    fresh = layer_of(kind, options)
    other.load_state_dict({name: torch.from_numpy(a) for name, a in convert.to_torch(fresh).items()})
    assert_evaluates_to(fresh, x, other(torch.tensor(x))[0].detach().numpy())


# --- Keras: kernels [I, G*H] applied as x @ kernel; LSTM i f c o, GRU z r h -------------------------------------------
def keras_step(kind, bias):
    def lstm(part, x, h, c):
        kernel, recurrent, *b = part
        z = x @ kernel + h @ recurrent + (b[0] if bias else 0)
        i, f, g, o = np.split(z, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c

    def gru(part, x, h, c):
        kernel, recurrent, *b = part
        input_bias, recurrent_bias = b[0] if bias else (0, 0)
        xz, xr, xh = np.split(x @ kernel + input_bias, 3, axis=1)
        hz, hr, hh = np.split(h @ recurrent + recurrent_bias, 3, axis=1)
        z, r = sigmoid(xz + hz), sigmoid(xr + hr)
        return z * h + (1 - z) * np.tanh(xh + r * hh), c

    def rnn(part, x, h, c):
        kernel, recurrent, *b = part
        return np.tanh(x @ kernel + h @ recurrent + (b[0] if bias else 0)), c

    return {"LSTM": lstm, "GRU": gru, "RNN": rnn}[kind]


def keras_weights(kind, options):
    """Arrays as get_weights() gives them."""
    widths, directions = inputs_of(options)
    rows, found = GATES[kind] * H, []
    for width in widths:
        for _ in range(directions):
            shapes = [(width, rows), (H, rows)]
            if options.get("bias", True):
                shapes.append((2, rows) if kind == "GRU" else (rows,))
            found += [draw(*s, seed=len(found) + i) for i, s in enumerate(shapes)]
    return found


@pytest.mark.parametrize("options", FORMS, ids=IDS)
@pytest.mark.parametrize("kind", KINDS)
def test_keras(kind, options):
    weights, x, bias = keras_weights(kind, options), draw(T, B, I, seed=9), options.get("bias", True)
    directions, each = inputs_of(options)[1], 3 if bias else 2
    flat = [weights[i : i + each] for i in range(0, len(weights), each)]
    parts = [flat[i : i + directions] for i in range(0, len(flat), directions)]
    layer = layer_of(kind, options)
    convert.from_keras(layer, weights)
    assert_evaluates_to(layer, x, run_stack(keras_step(kind, bias), parts, x, options))
    for a, b in zip(convert.to_keras(layer), weights, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)
    fresh = layer_of(kind, options)  # whose two biases are one in Keras
    twin = layer_of(kind, options)
    convert.from_keras(twin, convert.to_keras(fresh))
    assert_evaluates_to(twin, x, fresh(jadro.tensor(x))[0].numpy())


# --- ONNX: the equations of the operators' specification; LSTM i o f c, GRU z r h -------------------------------------
def onnx_step(kind, attributes):
    def lstm(part, x, h, c):
        w, r, b = part["W"], part["R"], part["B"]
        i, o, f, g = np.split(x @ w.T + h @ r.T + b[: 4 * H] + b[4 * H :], 4, axis=1)
        p_i, p_o, p_f = np.split(part.get("P", np.zeros(3 * H)), 3)
        i, f = sigmoid(i + p_i * c), sigmoid(f + p_f * c)
        c = f * c + i * np.tanh(g)
        return sigmoid(o + p_o * c) * np.tanh(c), c

    def gru(part, x, h, c):
        (wz, wr, wh), (rz, rr, rh) = np.split(part["W"], 3), np.split(part["R"], 3)
        bz, br, bh, cz, cr, ch = np.split(part["B"], 6)
        z, r = sigmoid(x @ wz.T + h @ rz.T + bz + cz), sigmoid(x @ wr.T + h @ rr.T + br + cr)
        if attributes.get("linear_before_reset"):
            n = np.tanh(x @ wh.T + r * (h @ rh.T + ch) + bh)
        else:
            n = np.tanh(x @ wh.T + (r * h) @ rh.T + ch + bh)
        return (1 - z) * n + z * h, c

    def rnn(part, x, h, c):
        a = x @ part["W"].T + h @ part["R"].T + part["B"][:H] + part["B"][H:]
        return (np.maximum(a, 0) if attributes.get("activations") else np.tanh(a)), c

    return {"LSTM": lstm, "GRU": gru, "RNN": rnn}[kind]


def onnx_weights(kind, options):
    """W, R, B and the attributes of one operator a layer."""
    (widths, D), rows, found = inputs_of(options), GATES[kind] * H, []
    attributes = {"hidden_size": H, "direction": "bidirectional" if D == 2 else "forward"}
    attributes |= {"linear_before_reset": 1} if kind == "GRU" else {}
    attributes |= {"activations": ["Relu"] * D} if options.get("nonlinearity") == "relu" else {}
    for k, width in enumerate(widths):
        given = {"W": draw(D, rows, width, seed=k), "R": draw(D, rows, H, seed=k + 5), "attributes": attributes}
        if options.get("bias", True):
            given["B"] = draw(D, 2 * rows, seed=k + 9)
        found.append(given)
    return found


def onnx_parts(weights):
    """Each direction's own tensors; B is zeros where it was left out."""
    found = []
    for given in weights:
        zeros = np.zeros((len(given["W"]), 2 * given["W"].shape[1]))
        tensors = {"B": zeros, **{k: a for k, a in given.items() if k != "attributes"}}
        found.append([{k: a[d] for k, a in tensors.items()} for d in range(len(zeros))])
    return found


ONNX_FORMS = [(kind, options) for kind in KINDS for options in FORMS] + [("RNN", {"nonlinearity": "relu"})]


@pytest.mark.parametrize(("kind", "options"), ONNX_FORMS, ids=str)
def test_onnx(kind, options):
    weights, x = onnx_weights(kind, options), draw(T, B, I, seed=9)
    layer = layer_of(kind, options)
    convert.from_onnx(layer, weights)
    step = onnx_step(kind, weights[0]["attributes"])
    assert_evaluates_to(layer, x, run_stack(step, onnx_parts(weights), x, options))
    for given, back in zip(weights, convert.to_onnx(layer), strict=True):
        assert given.keys() == back.keys() and given["attributes"] == back["attributes"]
        for name in given.keys() - {"attributes"}:
            np.testing.assert_array_equal(back[name], given[name], strict=True)


@pytest.mark.parametrize(
    "options", [{}, {"bidirectional": True}, {"bias": False}], ids=["plain", "both ways", "no bias"]
)
@pytest.mark.parametrize("kind", KINDS)
def test_onnx_runtime_computes_what_the_layer_does(kind, options):
    onnxruntime = pytest.importorskip("onnxruntime")
    from benchmarks.peers import onnx_model

    layer, x = getattr(nn, kind)(I, H, **options), draw(T, B, I).astype(np.float32)
    (given,) = convert.to_onnx(layer)
    attributes = given.pop("attributes")
    D = len(given["W"])
    node = onnx_model.node(kind, ["x", *given], ["y"], **attributes)
    data = onnx_model.model([node], given, x.shape, (T, D, B, H))
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    y = session.run(None, {"x": x})[0].transpose(0, 2, 1, 3).reshape(T, B, D * H)
    np.testing.assert_allclose(layer(x)[0].numpy(), y, rtol=1e-5, atol=1e-6)


# --- cuDNN: gates i f g o and r z n; matrices of all layers, then biases of all ---------------------------------------
def cudnn_step(kind):
    def gates(part, x, h):
        w, r, b, c = part
        return [(x @ wk.T + bk, h @ rk.T + ck) for wk, rk, bk, ck in zip(w, r, b, c, strict=True)]

    def lstm(part, x, h, c):
        i, f, g, o = (a + b for a, b in gates(part, x, h))
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c

    def gru(part, x, h, c):
        (ar, br), (ai, bi), (an, bn) = gates(part, x, h)
        update = sigmoid(ai + bi)
        return (1 - update) * np.tanh(an + sigmoid(ar + br) * bn) + update * h, c

    def rnn(part, x, h, c):
        ((a, b),) = gates(part, x, h)
        return np.tanh(a + b), c

    return {"LSTM": lstm, "GRU": gru, "RNN": rnn}[kind]


@pytest.mark.parametrize("options", FORMS, ids=IDS)
@pytest.mark.parametrize("kind", KINDS)
def test_cudnn(kind, options):
    (widths, D), G, x = inputs_of(options), GATES[kind], draw(T, B, I, seed=9)
    parts = [
        [
            [draw(G, H, w, seed=k), draw(G, H, H, seed=k + 20), draw(G, H, seed=k + 40), draw(G, H, seed=k + 60)]
            for k in range(layer * D, layer * D + D)
        ]
        for layer, w in enumerate(widths)
    ]
    flat = [part for directions in parts for part in directions]
    vector = [a.reshape(-1) for part in flat for a in part[:2]]
    if options.get("bias", True):
        vector += [a.reshape(-1) for part in flat for a in part[2:]]
    else:
        for part in flat:
            part[2:] = [np.zeros((G, H))] * 2
    weights = np.concatenate(vector)
    layer = layer_of(kind, options)
    convert.from_cudnn(layer, weights)
    assert_evaluates_to(layer, x, run_stack(cudnn_step(kind), parts, x, options))
    np.testing.assert_array_equal(convert.to_cudnn(layer), weights, strict=True)


# --- bad input --------------------------------------------------------------------------------------------------------
def test_what_does_not_fit_is_refused_and_changes_nothing():
    lstm, gru = layer_of("LSTM", {}), layer_of("GRU", {"bias": False})
    before = [convert.to_torch(layer) for layer in (lstm, gru)]
    k, (o,) = convert.to_keras(lstm), convert.to_onnx(lstm)
    (g,) = convert.to_onnx(gru)
    for call, error, message in [
        (lambda: convert.to_keras(nn.Linear(2, 3)), TypeError, "to_keras: layer is a Linear, expected an RNN"),
        (lambda: convert.from_torch(lstm, {}), (ValueError, KeyError), "weight_ih_l0"),
        (lambda: convert.from_keras(lstm, k[:2]), ValueError, "weights has 2 arrays, expected 3"),
        (lambda: convert.from_keras(lstm, [k[0].T, *k[1:]]), ValueError, r"weights\[0\] has shape \(16, 3\), expected"),
        (lambda: convert.from_keras(lstm, [*k[:2], k[2].astype(int)]), TypeError, r"weights\[2\] has dtype int64"),
        (lambda: convert.from_onnx(lstm, [o, o]), ValueError, "weights has 2 operators, expected 1"),
        (lambda: convert.from_onnx(lstm, [{"W": o["W"]}]), ValueError, "has no R"),
        (lambda: convert.from_onnx(lstm, [{**o, "P": o["B"]}]), ValueError, "has P, but the layer has no peepholes"),
        (lambda: convert.from_onnx(lstm, [{**o, "X": o["B"]}]), ValueError, r"has \['X'\], expected"),
        (lambda: convert.from_onnx(lstm, [{**o, "W": o["R"]}]), ValueError, r"\['W'\] has shape"),
        (lambda: convert.from_onnx(lstm, [{**o, "attributes": {"clip": 1.0}}]), ValueError, "has clip=1.0, the layer"),
        (lambda: convert.from_onnx(lstm, [{**o, "attributes": {"beta": 1}}]), ValueError, "attribute beta"),
        (
            lambda: convert.from_onnx(gru, [{**g, "attributes": {"hidden_size": H}}]),
            ValueError,
            "no linear_before_reset",
        ),
        (
            lambda: convert.from_onnx(gru, [{**g, "B": np.ones((1, 6 * H))}]),
            ValueError,
            "has B, but the layer has bias",
        ),
        (lambda: convert.from_cudnn(lstm, np.zeros(7)), ValueError, r"weights has shape \(7,\), expected \(144,\)"),
    ]:
        with pytest.raises(error, match=message):
            call()
    for layer, old in zip((lstm, gru), before, strict=True):
        for name, array in convert.to_torch(layer).items():
            np.testing.assert_array_equal(array, old[name])
