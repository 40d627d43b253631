"""Every case and model that the package onnx has of ONNX's operators; and the gradients of those that jadro computes
itself."""

import warnings

import numpy as np
import pytest
from onnx_cases import arrays_of, node_cases, stored_arrays, stored_models

import jadro

onnx = pytest.importorskip("onnx")

from jadro.onnx import load  # noqa: E402
from jadro.onnx.operators import OPERATORS, SETTINGS  # noqa: E402

# Cases whose results cannot be those of the reference, and why.
OTHER = {
    # drawn by jadro's generator
    "test_bernoulli", "test_bernoulli_expanded", "test_bernoulli_double", "test_bernoulli_double_expanded",
    "test_bernoulli_seed", "test_bernoulli_seed_expanded", "test_training_dropout_default",
    "test_training_dropout_default_mask", "test_training_dropout", "test_training_dropout_mask",
    # the reference divides by a size of 2.4 cells, the text of the operator, PyTorch and ONNX Runtime by 2
    "test_resize_downsample_scales_linear_align_corners", "test_resize_downsample_scales_cubic_align_corners",
}  # fmt: skip
REFUSED = {"test_scan_sum"}  # Scan of opset 8

NAMES = sorted(node_cases())


def run(model, inputs):
    with warnings.catch_warnings(), jadro.no_grad():
        warnings.simplefilter("ignore")  # of onnx's reference
        results = load(model)(*inputs)
    return results if isinstance(results, tuple) else (results,)


def assert_same(found, wanted, case):
    if wanted is None or isinstance(wanted, list):
        assert isinstance(found, type(wanted))
        for f, w in zip(found or (), wanted or (), strict=True):
            assert_same(f, w, case)
        return
    found, wanted = np.asarray(found), np.asarray(wanted)
    if wanted.dtype.kind in "OU":
        assert found.tolist() == wanted.tolist()
        return
    assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    if wanted.dtype.kind in "fV":
        found, wanted = found.astype(np.float64), wanted.astype(np.float64)
        np.testing.assert_allclose(found, wanted, case.rtol, max(case.atol, 1e-7))
    else:
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("name", NAMES)
def test_operator(name):
    for case in node_cases()[name]:
        if case.name in REFUSED:
            with pytest.raises(ValueError, match="opset"):
                run(case.model, arrays_of(case.data_sets[0][0]))
            continue
        for inputs, outputs in case.data_sets:
            found = run(case.model, arrays_of(inputs))
            assert len(found) == len(outputs), case.name
            for y, wanted in zip(found, arrays_of(outputs), strict=True):
                if case.name in OTHER:
                    assert y.shape == wanted.shape, case.name
                    continue
                try:
                    assert_same(y, wanted, case)
                except AssertionError as error:
                    raise AssertionError(f"{case.name}: {error}") from error


@pytest.mark.parametrize("name", sorted(stored_models()))
def test_stored_model(name):
    folder = stored_models()[name]
    if name.startswith("test_gradient_of"):
        with pytest.raises(ValueError, match=r"no way to compute ai\.onnx\.preview\.training:Gradient"):
            load(folder / "model.onnx")
        return
    model = load(folder / "model.onnx")
    assert set(model.reference) <= {"StringNormalizer"}
    for data in folder.glob("test_data_set_*"):
        with jadro.no_grad():
            found = model(*stored_arrays(data, "input"))
        wanted = stored_arrays(data, "output")
        for y, z in zip(found if isinstance(found, tuple) else (found,), wanted, strict=True):
            if z.dtype.kind == "O":
                assert np.asarray(y).tolist() == z.tolist()
            else:
                np.testing.assert_allclose(np.asarray(y), z, rtol=1e-3, atol=1e-6)


# Operators whose results, or whose cases' inputs, are no floats; and cases that sit on a kink.
FLAT = {
    "ArgMax", "ArgMin", "Bernoulli", "Ceil", "ConstantOfShape", "Equal", "Floor", "Greater", "GreaterOrEqual", "IsNaN",
    "Less", "LessOrEqual", "Round", "Shape", "Sign", "Size", "And", "Or", "Xor", "Not", "Trilu", "Cast", "CastLike",
    "Mod", "Hardmax",
}  # fmt: skip
KINKS = {
    "test_elu_example", "test_leakyrelu_example", "test_l2normalization_axis_0", "test_selu_example",
    "test_thresholdedrelu_example", "test_maxpool_3d_dilations", "test_maxpool_3d_dilations_use_ref_impl",
    "test_reduce_min_default_axes_keepdims_example", "test_pow", "test_acosh_example",
}  # fmt: skip
# Only their first input moves: the others are settings, or, of GridSample, on the borders of cells.
FIRST = {"GridSample", "Resize", "Upsample", "SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss"}


@pytest.mark.parametrize("name", sorted(set(NAMES) & set(OPERATORS) - FLAT))
def test_gradient(name):
    """Along a random direction, against central differences in float64."""
    assert sum(_gradient_holds(case, name) for case in node_cases()[name] if case.name not in KINKS)


def _gradient_holds(case, name):
    """Whether the case has a gradient to check; AssertionError where it is wrong."""
    inputs = arrays_of(case.data_sets[0][0])
    if case.name.endswith("expanded") or not all(x is None or getattr(x, "dtype", None) in PLAIN for x in inputs):
        return False
    model = load(case.model)
    floats = [i for i, x in enumerate(inputs) if _moves(x) and i not in SETTINGS.get(name, ())]
    floats = floats[:1] if name in FIRST else floats
    inputs = [x.astype(np.float64) if x is not None and x.dtype.kind == "f" else x for x in inputs]
    draw = np.random.default_rng(0).standard_normal
    direction = {i: draw(inputs[i].shape) for i in floats}

    def outputs(step, record):
        moved = [x if i not in direction else x + step * direction[i] for i, x in enumerate(inputs)]
        xs = [None if x is None else jadro.tensor(x, requires_grad=record and i in floats) for i, x in enumerate(moved)]
        jadro.manual_seed(0)
        ys = model(*xs)
        return xs, [y for y in (ys if isinstance(ys, tuple) else (ys,)) if getattr(y, "dtype", None) == np.float64]

    xs, ys = outputs(0.0, True)
    weights = [draw(y.shape) for y in ys]
    ways = [(y * w).sum() for y, w in zip(ys, weights, strict=True) if y.requires_grad]
    if not ways or any(y._node is not None and y._node.fn.__name__ == "Opaque" for y in ys):
        return False
    sum(ways[1:], ways[0]).backward()
    found = sum(float((xs[i].grad.numpy() * direction[i]).sum()) for i in floats if xs[i].grad is not None)
    ends = []
    for h in (STEP, -STEP):
        with jadro.no_grad():
            ends.append(sum(float((y.numpy() * w).sum()) for y, w in zip(outputs(h, False)[1], weights, strict=True)))
    assert found == pytest.approx((ends[0] - ends[1]) / (2 * STEP), rel=1e-4, abs=1e-4), case.name
    return True


STEP = 1e-6
PLAIN = (np.float32, np.float64, np.int64, np.int32, np.bool_)


def _moves(x):
    return x is not None and x.dtype.kind == "f" and x.size > 0 and bool(np.isfinite(x).all())


def test_operators_without_a_case_are_known():
    """They have tests of their own in test_onnx_load."""
    assert set(OPERATORS) - set(NAMES) == {"GlobalLpPool", "Scatter"} - set(NAMES)


@pytest.mark.parametrize("name", ["Det"])
def test_without_a_gradient(name):
    """Forward runs, and backward says why it does not."""
    case = node_cases()[name][0]
    model = load(case.model)
    assert model.reference == [name]
    xs = [jadro.tensor(x, requires_grad=True) for x in arrays_of(case.data_sets[0][0])]
    y = model(*xs).sum()
    with pytest.raises(RuntimeError, match=f"{name} is computed by onnx's reference"):
        y.backward()
