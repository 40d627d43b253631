"""Models made node by node: weights and their names, training, fused calls, bodies, and what is refused."""

import sys

import numpy as np
import pytest
from onnx_cases import model_of

import jadro
from jadro import nn, optim

onnx = pytest.importorskip("onnx")

from onnx import helper  # noqa: E402

from jadro.onnx import load  # noqa: E402

node = helper.make_node
F32, F64 = np.float32, np.float64
draw = np.random.default_rng(0)


def normal(*shape, dtype=F32):
    return draw.standard_normal(shape).astype(dtype)


def small_network():
    """conv, batch norm, ReLU, pooling, linear under PyTorch's names, and the same as layers."""
    layers = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    layers.append(nn.Linear(16, 3))
    weights = {name: t.numpy().copy() for name, t in layers.state_dict().items() if t.ndim}
    nodes = [
        node("Conv", ["x", "0.weight", "0.bias"], ["a"], pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["a", *(f"1.{n}" for n in MOMENTS)], ["b"]),
        node("Relu", ["b"], ["c"]),
        node("MaxPool", ["c"], ["d"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", ["d"], ["e"]),
        node("Gemm", ["e", "5.weight", "5.bias"], ["y"], transB=1),
    ]
    return layers, model_of(nodes, {"x": (F32, ["n", 2, 4, 4])}, {"y": (F32, ["n", 3])}, weights)


MOMENTS = ("weight", "bias", "running_mean", "running_var")


def test_weights_have_their_names_and_train_as_those_of_layers():
    layers, model = small_network()
    graph = load(model)
    assert not graph.training
    assert [n for n, _ in graph.named_parameters()] == [n for n, _ in layers.named_parameters()]
    assert {n for n, _ in graph.named_buffers()} == {"1.running_mean", "1.running_var"}
    x, target = normal(5, 2, 4, 4), np.array([0, 2, 1, 1, 0])
    for module in (graph, layers):
        module.train()
        step = optim.SGD(module.parameters(), lr=0.1)
        for _ in range(3):
            step.zero_grad()
            nn.functional.cross_entropy(module(jadro.tensor(x)), target).backward()
            step.step()
    for name, wanted in layers.state_dict().items():
        if wanted.ndim:
            np.testing.assert_allclose(graph.state_dict()[name].numpy(), wanted.numpy(), 1e-5, 1e-6, err_msg=name)
    graph.load_state_dict({n: t for n, t in layers.state_dict().items() if t.ndim})
    layers.eval(), graph.eval()
    np.testing.assert_allclose(graph(x=x).numpy(), layers(x).numpy(), 1e-5, 1e-6)


def test_the_callers_model_stays_as_it_is():
    nodes = [node("HammingWindow", ["n"], ["y"])]
    model = model_of(nodes, {"n": (np.int64, ())}, {"y": (F32, [None])})
    before = model.SerializeToString()
    load(model)(n=np.array(5))
    assert model.SerializeToString() == before


@pytest.mark.parametrize("name", ["forward", "a.forward", ".w", "w.", "1", "a b/c::d", "T"])
def test_any_name_of_a_weight(name):
    w = normal(3)
    graph = load(model_of([node("Add", ["x", name], ["y"])], {"x": (F32, [3])}, {"y": (F32, [3])}, {name: w}))
    (parameter,) = graph.parameters()
    np.testing.assert_array_equal(parameter.numpy(), w)
    np.testing.assert_array_equal(graph(np.ones(3, F32)).numpy(), 1 + w)


def test_a_weight_below_another():
    weights = {"a": normal(3), "a.b": normal(3)}
    nodes = [node("Add", ["x", "a"], ["h"]), node("Mul", ["h", "a.b"], ["y"])]
    graph = load(model_of(nodes, {"x": (F32, [3])}, {"y": (F32, [3])}, weights))
    np.testing.assert_array_equal(graph(np.ones(3, F32)).numpy(), (1 + weights["a"]) * weights["a.b"])
    assert len(list(graph.parameters())) == 2


def test_weights_of_a_graph_that_has_them_as_constants():
    constant = node("Constant", [], ["w"], value=onnx.numpy_helper.from_array(normal(3), "w"))
    graph = load(model_of([constant, node("Mul", ["x", "w"], ["y"])], {"x": (F32, [3])}, {"y": (F32, [3])}))
    assert [name for name, _ in graph.named_parameters()] == ["w"]


def test_settings_are_no_parameters():
    weights = {"roi": np.zeros(0, F32), "scales": np.array([1, 1, 2, 2], F32), "low": np.array(0, F32)}
    nodes = [node("Resize", ["x", "roi", "scales"], ["h"]), node("Clip", ["h", "low"], ["y"])]
    graph = load(model_of(nodes, {"x": (F32, [1, 1, 2, 2])}, {"y": (F32, [1, 1, 4, 4])}, weights))
    assert not list(graph.parameters())
    assert graph(np.ones((1, 1, 2, 2), F32)).shape == (1, 1, 4, 4)


def test_initializers_that_are_listed_as_inputs():
    model = model_of(
        [node("Add", ["x", "w"], ["y"])], {"x": (F32, [3]), "w": (F32, [3])}, {"y": (F32, [3])}, {"w": np.ones(3, F32)}
    )
    graph = load(model)
    assert graph.inputs == ["x"]
    assert graph(np.zeros(3, F32)).tolist() == [1, 1, 1]


def test_dropout_draws_in_training_mode_only():
    graph = load(model_of([node("Dropout", ["x"], ["y"])], {"x": (F32, [1000])}, {"y": (F32, [1000])}))
    x = np.ones(1000, F32)
    np.testing.assert_array_equal(graph(x).numpy(), x)
    graph.train()
    kept = graph(x).numpy()
    assert set(kept.tolist()) == {0.0, 2.0} and 400 < (kept > 0).sum() < 600


def test_random_numbers_are_drawn_in_every_call():
    nodes = [node("RandomNormal", [], ["r"], shape=[8]), node("Add", ["x", "r"], ["y"])]
    graph = load(model_of(nodes, {"x": (F32, [8])}, {"y": (F32, [8])}))
    assert graph(np.zeros(8, F32)).tolist() != graph(np.zeros(8, F32)).tolist()


def test_values_are_let_go_after_their_last_use():
    """Also those that only a body takes, and outputs that nobody takes."""
    then = body_of([node("Neg", ["c"], ["z"])], {}, {"z": (F32, [2])})
    other = body_of([node("Identity", ["c"], ["z"])], {}, {"z": (F32, [2])})
    nodes = [
        node("Relu", ["x"], ["a"]), node("Neg", ["a"], ["b"]), node("Exp", ["b"], ["c"]), node("Exp", ["a"], ["none"]),
        node("If", ["on"], ["d"], then_branch=then, else_branch=other), node("Mul", ["d", "a"], ["y"]),
    ]  # fmt: skip
    graph = load(model_of(nodes, {"x": (F32, [2]), "on": (np.bool_, ())}, {"y": (F32, [2])}))
    values = {"": None, "x": jadro.ones(2), "on": jadro.tensor(True)}
    graph._program.run(values, False)
    assert set(values) == {"", "x", "on", "y"}


# --- calls that are made one ------------------------------------------------------------------------------------------
CHAINS = {
    "relu": [("Relu", [], {})],
    "leaky": [("LeakyRelu", [], {"alpha": 0.2})],
    "clip": [("Clip", ["zero", "six"], {})],
    "another clip": [("Clip", ["six", "seven"], {})],
    "norm": [("BatchNormalization", ["one", "shift", "shift", "spread"], {}), ("Relu", [], {})],
    "caffe": [
        ("BatchNormalization", ["one", "shift", "shift", "spread"], {}), ("Mul", ["factor"], {}), ("Add", ["term"], {}),
        ("Relu", [], {}),
    ],
    "paddle": [("Add", ["term"], {}), ("Mul", ["six"], {}), ("Add", ["seven"], {})],
    "residual": [("BatchNormalization", ["one", "shift", "shift", "spread"], {}), ("Add", ["r"], {}), ("Relu", [], {})],
    "a row for all": [("Add", ["row"], {}), ("Relu", [], {})],
    "a sum for all": [("Add", ["s"], {}), ("Relu", [], {})],
}  # fmt: skip


def chained(then, bias, dtype=F32):
    """A convolution and what follows, its inputs and the results by NumPy's broadcasting of each node alone."""
    rng = np.random.default_rng(1)
    weights = {
        "w": rng.standard_normal((4, 3, 3, 3)), "b": rng.standard_normal(4), "one": rng.standard_normal(4),
        "shift": rng.standard_normal(4), "spread": rng.random(4) + 0.5, "factor": rng.standard_normal((4, 1, 1)),
        "term": rng.standard_normal((1, 4, 1, 1)), "zero": 0.0, "six": 1.5, "seven": 2.5, "row": rng.standard_normal(6),
    }  # fmt: skip
    nodes, last = [node("Conv", ["x", "w", *(["b"] if bias else [])], ["h"], pads=[1, 1, 1, 1])], "h"
    for i, (op, others, attributes) in enumerate(then):
        nodes.append(node(op, [last, *others], [f"h{i}"], **attributes))
        last = f"h{i}"
    used = {name for n in nodes for name in n.input}
    given = {n: np.asarray(w, dtype) for n, w in weights.items() if n in used}
    inputs = {"x": rng.standard_normal((2, 3, 5, 6)).astype(dtype)}
    extra = {"r": rng.standard_normal((2, 4, 5, 6)), "s": rng.standard_normal((2, 4, 1, 1))}
    inputs.update({n: a.astype(dtype) for n, a in extra.items() if n in used})
    return model_of(nodes, inputs, {last: (dtype, [2, 4, 5, 6])}, given), inputs


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("name", CHAINS)
def test_chains(name, bias):
    """One call without gradients, and what the nodes give one by one."""
    model, inputs = chained(CHAINS[name], bias)
    graph = load(model)
    fuses = name != "another clip"
    assert (len(graph._program.steps) == 1) == fuses
    recorded = graph(**inputs)
    with jadro.no_grad():
        alone = graph(**inputs)
    from onnx.reference import ReferenceEvaluator

    (wanted,) = ReferenceEvaluator(model).run(None, inputs)
    np.testing.assert_allclose(alone.numpy(), wanted, 1e-4, 1e-5)
    np.testing.assert_allclose(recorded.numpy(), wanted, 1e-4, 1e-5)
    recorded.sum().backward()
    assert all(p.grad is not None for p in graph.parameters())


@pytest.mark.parametrize(
    "shape", [(1, 4, 1), (4, 1), (4,), (4, 4, 1, 1), (1, 1, 1, 1, 1), (4, 1, 1), (1, 4, 1, 1)], ids=str
)
@pytest.mark.parametrize("op", ["Add", "Mul"])
def test_what_stands_beside_other_axes_is_no_channel(op, shape):
    """Batch, channels, rows and columns are all four."""
    x, weights = normal(4, 3, 4, 4), {"w": normal(4, 3, 1, 1), "k": normal(*shape)}
    nodes = [node("Conv", ["x", "w"], ["h"]), node(op, ["h", "k"], ["y"])]
    graph = load(model_of(nodes, {"x": (F32, [4, 3, 4, 4])}, {"y": (F32, [None])}, weights))
    h = np.einsum("ncij,fc->nfij", x, weights["w"][:, :, 0, 0])
    with jadro.no_grad():
        np.testing.assert_allclose(graph(x).numpy(), h + weights["k"] if op == "Add" else h * weights["k"], 1e-4, 1e-5)


def test_channels_of_sequences_and_volumes():
    for space in ((6,), (3, 4, 5)):
        each = (1, 4, *(1,) * len(space))
        x, weights = normal(2, 3, *space), {"w": normal(4, 3, *(1,) * len(space)), "k": normal(*each)}
        nodes = [node("Conv", ["x", "w"], ["h"]), node("Mul", ["h", "k"], ["a"]), node("Relu", ["a"], ["y"])]
        graph = load(model_of(nodes, {"x": x}, {"y": (F32, [None])}, weights))
        assert len(graph._program.steps) == 1
        wanted = np.einsum("nc...,fc->nf...", x, weights["w"].reshape(4, 3)) * weights["k"]
        with jadro.no_grad():
            np.testing.assert_allclose(graph(x).numpy(), np.maximum(wanted, 0), 1e-4, 1e-5)


def test_a_result_that_is_used_twice_is_no_inner_one():
    nodes = [node("Conv", ["x", "w"], ["h"]), node("Relu", ["h"], ["a"]), node("Add", ["a", "h"], ["y"])]
    inputs, weights = {"x": normal(1, 2, 4, 4)}, {"w": normal(3, 2, 1, 1)}
    graph = load(model_of(nodes, inputs, {"y": (F32, [1, 3, 4, 4]), "h": (F32, [1, 3, 4, 4])}, weights))
    y, h = graph(**inputs)
    np.testing.assert_allclose(y.numpy(), np.maximum(h.numpy(), 0) + h.numpy())


# --- bodies and functions ---------------------------------------------------------------------------------------------
def body_of(nodes, inputs, outputs, weights=()):
    return model_of(nodes, inputs, outputs, weights).graph


def test_if_takes_from_around_and_from_itself():
    y = {"y": (F32, [2])}
    then = body_of([node("Mul", ["x", "w"], ["y"])], {}, y, {"w": np.full(2, 3, F32)})
    other = body_of([node("Sub", ["x", "w"], ["y"])], {}, y, {"w": np.full(2, 5, F32)})
    nodes = [node("If", ["c"], ["z"], then_branch=then, else_branch=other)]
    graph = load(model_of(nodes, {"c": (np.bool_, ()), "x": (F32, [2])}, {"z": (F32, [2])}))
    x = np.array([1, 2], F32)
    assert graph(np.array(True), x).tolist() == [3, 6]
    assert graph(np.array(False), x).tolist() == [-4, -3]


def test_a_loop_is_recorded():
    """x -> x^2, three times; the gradient of x^8 is 8 x^7."""
    step = body_of(
        [node("Mul", ["h", "h"], ["g"]), node("Identity", ["c"], ["d"])],
        {"t": (np.int64, ()), "c": (np.bool_, ()), "h": (F64, [2])},
        {"d": (np.bool_, ()), "g": (F64, [2])},
    )
    nodes = [node("Loop", ["n", "", "x"], ["y"], body=step)]
    graph = load(model_of(nodes, {"n": (np.int64, ()), "x": (F64, [2])}, {"y": (F64, [2])}))
    x = jadro.tensor([1.1, 0.9], dtype=F64, requires_grad=True)
    y = graph(np.array(3), x)
    y.sum().backward()
    np.testing.assert_allclose(y.numpy(), x.numpy() ** 8)
    np.testing.assert_allclose(x.grad.numpy(), 8 * x.numpy() ** 7)


def test_functions_of_the_model():
    twice = helper.make_function(
        "own", "Twice", ["a"], ["b"], [node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 21)]
    )
    nodes = [node("Twice", ["x"], ["y"], domain="own")]
    graph = load(model_of(nodes, {"x": (F32, [2])}, {"y": (F32, [2])}, functions=[twice], domains=["own"]))
    x = jadro.tensor([1.0, 2.0], requires_grad=True)
    y = graph(x)
    y.sum().backward()
    assert y.tolist() == [2, 4] and x.grad.tolist() == [2, 2] and not graph.reference


def test_operators_that_are_functions_have_gradients():
    nodes = [node("MeanVarianceNormalization", ["x"], ["y"], axes=[0, 2, 3])]
    graph = load(model_of(nodes, {"x": (F32, [2, 3, 4, 4])}, {"y": (F32, [2, 3, 4, 4])}))
    x = jadro.tensor(normal(2, 3, 4, 4), requires_grad=True)
    graph(x)[0].sum().backward()
    assert not graph.reference and np.abs(x.grad.numpy()).max() > 0


def test_sequences_carry_gradients():
    nodes = [
        node("SplitToSequence", ["x"], ["s"], axis=0),
        node("SequenceErase", ["s", "one"], ["t"]),
        node("ConcatFromSequence", ["t"], ["y"], axis=0),
    ]
    graph = load(model_of(nodes, {"x": (F32, [3, 2])}, {"y": (F32, [2, 2])}, {"one": np.array(1)}))
    x = jadro.tensor(normal(3, 2), requires_grad=True)
    graph(x).sum().backward()
    assert x.grad.tolist() == [[1, 1], [0, 0], [1, 1]]


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("k", [-1, 0, 2])
def test_trilu(upper, k):
    nodes = [node("Trilu", ["x", "k"], ["y"], upper=upper)]
    graph = load(model_of(nodes, {"x": (F32, [2, 3, 4])}, {"y": (F32, [2, 3, 4])}, {"k": np.array(k)}))
    x = jadro.tensor(normal(2, 3, 4), requires_grad=True)
    y, keep = graph(x), (np.triu if upper else np.tril)
    np.testing.assert_array_equal(y.numpy(), keep(x.numpy(), k))
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), keep(np.ones((2, 3, 4)), k))


@pytest.mark.parametrize("p", [1, 2, 3])
def test_global_lp_pool(p):
    graph = load(
        model_of([node("GlobalLpPool", ["x"], ["y"], p=p)], {"x": (F64, [2, 3, 4, 5])}, {"y": (F64, [2, 3, 1, 1])})
    )
    x = jadro.tensor(normal(2, 3, 4, 5, dtype=F64), requires_grad=True)
    wanted = (np.abs(x.numpy()) ** p).sum((2, 3), keepdims=True) ** (1 / p)
    np.testing.assert_allclose(graph(x).detach().numpy(), wanted)
    assert jadro.testing.gradcheck(graph, [x])


def test_casts_pass_gradients_between_floats():
    nodes = [node("Cast", ["x"], ["h"], to=onnx.TensorProto.DOUBLE), node("CastLike", ["h", "x"], ["y"])]
    graph = load(model_of(nodes, {"x": (F32, [3])}, {"y": (F32, [3])}))
    x = jadro.tensor(normal(3), requires_grad=True)
    (graph(x) * 2).sum().backward()
    assert x.grad.tolist() == [2, 2, 2] and x.grad.dtype == F32


# --- bad input --------------------------------------------------------------------------------------------------------
@pytest.fixture
def graph():
    return load(model_of([node("Add", ["a", "b"], ["y"])], {"a": (F32, [2]), "b": (F32, [2])}, {"y": (F32, [2])}))


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((1,), {}), ((1, 2, 3), {}), ((1, 2), {"b": 2}), ((1,), {"c": 2}), ((), {"a": 1, "b": 2, "c": 3})],
    ids=["none", "too few", "too many", "twice", "unknown", "one more"],
)
def test_inputs_that_do_not_fit(graph, args, kwargs):
    one = np.ones(2, F32)
    with pytest.raises(TypeError, match=r"Graph: .* expected \['a', 'b'\]"):
        graph(*[one] * len(args), **dict.fromkeys(kwargs, one))


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x0a" * 50], ids=["empty", "text", "bytes"])
def test_content_that_is_no_model(content, tmp_path):
    with pytest.raises(ValueError, match=r"onnx\.load: the content is no valid ONNX model"):
        load(content)
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"onnx\.load: .*model\.onnx' is no valid ONNX model"):
        load(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "model.onnx")


def test_a_model_cut_short(tmp_path):
    content = small_network()[1].SerializeToString()
    with pytest.raises(ValueError, match="no valid ONNX model"):
        load(content[: len(content) // 2])


def test_an_operator_that_nobody_knows():
    nodes = [node("Fancy", ["x"], ["y"], domain="com.other")]
    with pytest.raises(ValueError, match=r"onnx\.load: no way to compute com\.other:Fancy"):
        load(model_of(nodes, {"x": (F32, [2])}, {"y": (F32, [2])}, domains=["com.other"]))


def test_shapes_that_do_not_fit_say_so():
    graph = load(small_network()[1])
    with pytest.raises(ValueError, match="conv2d: weight has shape"):
        graph(np.zeros((1, 3, 4, 4), F32))


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(RuntimeError, match=r"pip install 'jadro\[onnx\]'"):
        load(b"")
