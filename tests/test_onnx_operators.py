"""Corners of operators that onnx's own cases leave out, against NumPy, the operators' text or older opsets' rules."""

import numpy as np
import pytest
from onnx_cases import model_of

import jadro

onnx = pytest.importorskip("onnx")

from onnx import helper  # noqa: E402

from jadro.onnx import load  # noqa: E402

node = helper.make_node
F32, F64 = np.float32, np.float64


def normal(*shape, dtype=F64):
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


def one(op, inputs, weights=(), opset=21, outputs=("y",), **attributes):
    """The Graph of one node; inputs by name, weights behind them."""
    names = [*inputs, *dict(weights)]
    ends = {name: (F32, []) for name in outputs if name}
    return load(model_of([node(op, names, list(outputs), **attributes)], inputs, ends, weights, opset))


def test_an_output_that_is_left_out_is_no_input():
    rng = np.random.default_rng(0)
    weights = {"w": rng.standard_normal((1, 8, 3)), "r": rng.standard_normal((1, 8, 2)), "most": np.float64(0.1)}
    nodes = [node("LSTM", ["x", "w", "r"], ["", "h"], hidden_size=2), node("Clip", ["h", "", "most"], ["y"])]
    x = rng.standard_normal((4, 1, 3))
    graph = load(model_of(nodes, {"x": x}, {"y": (F64, [1, 1, 2]), "h": (F64, [1, 1, 2])}, weights))
    y, h = graph(x)
    np.testing.assert_array_equal(y.numpy(), np.minimum(h.numpy(), 0.1))


@pytest.mark.parametrize(
    ("kind", "given", "dtype"),
    [
        ("value_float", 2.5, F32), ("value_floats", [1.5, 2.0], F32), ("value_int", 3, np.int64),
        ("value_ints", [3], np.int64),
    ],
)  # fmt: skip
def test_constants_by_numbers(kind, given, dtype):
    graph = load(model_of([node("Constant", [], ["y"], **{kind: given})], {}, {"y": (dtype, np.shape(given))}))
    assert graph().dtype == dtype
    np.testing.assert_array_equal(graph().detach().numpy(), given)


# --- resizing ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize(("size", "scale", "out"), [(10, 0.7, 7), (20, 1.4, 28), (10, 2.3, 23), (10, 0.9, 9)])
def test_sizes_follow_scales_of_float32(size, scale, out, mode):
    weights = {"roi": np.zeros(0, F32), "s": np.array([1, 1, scale], F32)}
    graph = one("Resize", {"x": (F64, [1, 1, size])}, weights, mode=mode)
    assert graph(normal(1, 1, size)).shape == (1, 1, out)


def test_a_scale_that_changes_no_size_changes_nothing():
    x = normal(1, 1, 7)
    graph = one("Resize", {"x": x}, {"roi": np.zeros(0, F32), "s": np.array([1, 1, 1.1], F32)}, mode="linear")
    np.testing.assert_array_equal(graph(x).numpy(), x)


def resized(x, size, opset=18, **attributes):
    weights = {"roi": np.zeros(0, F32), "none": np.zeros(0, F32), "sizes": np.array([1, 1, size])}
    return one("Resize", {"x": x}, weights, opset, **attributes)(x).numpy().reshape(-1)


def test_coordinates_of_half_pixels():
    x = np.arange(4.0).reshape(1, 1, 4)
    cubic = {"mode": "cubic", "coordinate_transformation_mode": "pytorch_half_pixel"}
    assert resized(x, 1, **cubic).tolist() == [0.0]
    nearest = {"coordinate_transformation_mode": "tf_half_pixel_for_nn", "nearest_mode": "floor"}
    assert resized(x, 8, 11, **nearest).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert resized(x, 2, 11, **nearest).tolist() == [1, 3]


# --- bodies -----------------------------------------------------------------------------------------------------------
def test_loops_of_no_steps_have_the_shapes_that_they_declare():
    body = model_of(
        [node("Identity", ["c"], ["d"]), node("Identity", ["x"], ["row"])],
        {"t": (np.int64, ()), "c": (np.bool_, ())},
        {"d": (np.bool_, ()), "row": (np.int64, [2, 3])},
    ).graph
    nodes = [node("Loop", ["n", ""], ["y"], body=body)]
    x = np.ones((2, 3), np.int64)
    graph = load(model_of(nodes, {"n": (np.int64, ()), "x": x}, {"y": (np.int64, [None, 2, 3])}))
    for steps in (0, 2):
        y = graph(np.array(steps), x)
        assert (y.shape, y.dtype) == ((steps, 2, 3), np.int64)


def test_scans_of_no_rows():
    body = model_of([node("Neg", ["a"], ["b"])], {"a": (F64, [2])}, {"b": (F64, [2])}).graph
    many = (F64, [None, 2])
    scan = node("Scan", ["x"], ["y"], body=body, num_scan_inputs=1)
    graph = load(model_of([scan], {"x": many}, {"y": many}))
    for rows in (0, 3):
        x = normal(rows, 2)
        np.testing.assert_array_equal(graph(x).numpy(), -x)


@pytest.mark.parametrize("outer", [np.float32(7), np.full(3, 7, F32)], ids=["number", "row"])
@pytest.mark.parametrize("inner", [np.float32(2), np.full(3, 2, F32)], ids=["number", "row"])
def test_a_body_names_its_own(inner, outer):
    y = {"y": (F32, [3])}
    then = model_of([node("Mul", ["x", "k"], ["y"])], {}, y, {"k": inner}).graph
    other = model_of([node("Mul", ["x", "j"], ["y"])], {}, y, {"j": np.float32(1)}).graph
    nodes = [node("If", ["c"], ["a"], then_branch=then, else_branch=other), node("Mul", ["a", "k"], ["z"])]
    graph = load(model_of(nodes, {"c": (np.bool_, ()), "x": (F32, [3])}, {"z": (F32, [3])}, {"k": outer}))
    assert graph(np.array(True), np.ones(3, F32)).tolist() == [14, 14, 14]
    assert graph(np.array(False), np.ones(3, F32)).tolist() == [7, 7, 7]


def test_constants_in_bodies_of_a_model_with_weights_are_none():
    k = node("Constant", [], ["k"], value=onnx.numpy_helper.from_array(np.full(3, 2, F32)))
    y = {"y": (F32, [3])}
    branch = model_of([k, node("Mul", ["x", "k"], ["y"])], {}, y).graph
    nodes = [node("If", ["c"], ["a"], then_branch=branch, else_branch=branch), node("Mul", ["a", "w"], ["z"])]
    graph = load(model_of(nodes, {"c": (np.bool_, ()), "x": (F32, [3])}, {"z": (F32, [3])}, {"w": np.ones(3, F32)}))
    assert [name for name, _ in graph.named_parameters()] == ["w"]


@pytest.mark.parametrize("position", [2, -3])
def test_positions_outside_a_sequence(position):
    nodes = [node("SequenceConstruct", ["x", "x"], ["s"]), node("SequenceAt", ["s", "i"], ["y"])]
    graph = load(model_of(nodes, {"x": (F32, [1])}, {"y": (F32, [1])}, {"i": np.array(position)}))
    with pytest.raises(ValueError, match=rf"a position is {position}, expected -2..1 in a sequence of 2"):
        graph(np.ones(1, F32))


# --- pooling, norms, activations --------------------------------------------------------------------------------------
@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 0, 0, 1]])
def test_places_of_maxima_column_by_column(pads):
    x = normal(2, 3, 6, 5)
    y, places = (
        one("MaxPool", {"x": x}, outputs=("y", "i"), kernel_shape=[3, 2], pads=pads, storage_order=order)(x)
        for order in (0, 1)
    )
    np.testing.assert_array_equal(y[0].numpy(), places[0].numpy())
    n, c, h, w = np.unravel_index(y[1].numpy(), x.shape)
    np.testing.assert_array_equal(places[1].numpy(), ((n * 3 + c) * 5 + w) * 6 + h)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_hardmax_before_opset_13_is_over_all_axes_behind(axis):
    x = normal(2, 3, 4)
    rows = x.reshape(int(np.prod(x.shape[:axis])), -1)
    wanted = (rows == rows.max(1, keepdims=True)).reshape(x.shape)
    np.testing.assert_array_equal(one("Hardmax", {"x": x}, opset=11, axis=axis)(x).numpy(), wanted)


@pytest.mark.parametrize("opset", [9, 11, 13])
def test_softmax_of_nothing(opset):
    assert one("Softmax", {"x": (F64, [0, 3])}, opset=opset)(normal(0, 3)).shape == (0, 3)


@pytest.mark.parametrize(
    ("op", "attributes"),
    [("ReduceL2", {}), ("LpPool", {"kernel_shape": [2, 2]}), ("GlobalLpPool", {})],
)
def test_norms_of_zeros_have_gradients_of_zero(op, attributes):
    x = jadro.tensor(np.zeros((1, 2, 4, 4)), requires_grad=True)
    one(op, {"x": (F64, [1, 2, 4, 4])}, **attributes)(x).sum().backward()
    assert not x.grad.numpy().any()


@pytest.mark.parametrize("alpha", [0.5, 1.0, -0.3])
def test_celu(alpha):
    x = normal(20)
    wanted = np.maximum(x, 0) + np.minimum(0, alpha * np.expm1(x / alpha))
    np.testing.assert_allclose(one("Celu", {"x": x}, alpha=alpha)(x).numpy(), wanted, 1e-6)


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool"])
def test_global_pooling_without_space(op):
    x = normal(2, 3)
    np.testing.assert_array_equal(one(op, {"x": x})(x).numpy(), x)


@pytest.mark.parametrize(("opset", "dtype"), [(7, F64), (12, np.bool_)])
def test_the_mask_of_dropout(opset, dtype):
    x = normal(5)
    y, mask = one("Dropout", {"x": x}, opset=opset, outputs=("y", "m"))(x)
    assert mask.dtype == dtype and mask.numpy().all() and y.tolist() == x.tolist()


def test_an_exponent_that_is_learned():
    graph = one("Pow", {"x": (F64, [3])}, {"p": np.array([3.0])})
    graph(np.array([1.0, 2.0, 3.0])).sum().backward()
    (p,) = graph.parameters()
    np.testing.assert_allclose(p.grad.numpy(), [8 * np.log(2) + 27 * np.log(3)])


def test_more_than_there_are():
    with pytest.raises(ValueError, match=r"topk: k is 5, expected 0\.\.3"):
        one("TopK", {"x": (F64, [3])}, {"k": np.array([5])}, outputs=("y", "i"))(normal(3))


# --- what onnx's reference has in another form ------------------------------------------------------------------------
@pytest.mark.parametrize(("mode", "today"), [("bilinear", "linear"), ("nearest", "nearest"), ("bicubic", "cubic")])
def test_grid_sample_of_opset_16(mode, today):
    x, grid = normal(1, 2, 4, 5, dtype=F32), normal(1, 3, 3, 2, dtype=F32)
    inputs = {"x": x, "grid": grid}
    old, new = (one("GridSample", inputs, opset=o, mode=m)(x, grid) for o, m in ((16, mode), (20, today)))
    np.testing.assert_array_equal(old.numpy(), new.numpy())


def test_scatter_of_integers():
    x, i, u = np.zeros(4, np.int64), np.array([3, 1]), np.array([7, 8])
    assert one("Scatter", {"x": x, "i": i, "u": u}, opset=9)(x, i, u).tolist() == [0, 8, 0, 7]


def test_a_graph_holds_its_weights_once():
    graph = one("Add", {"x": (F32, [3])}, {"w": np.ones(3, F32)})
    assert not graph._program.weights and not graph._program.constants
    assert graph.double()(np.ones(3)).tolist() == [2, 2, 2]
