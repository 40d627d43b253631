"""Layers in one native call: the results of the layers one by one, and really fewer calls."""

import numpy as np
import pytest

import jadro
from jadro import nn
from jadro.ops.activation import Rectifier
from jadro.ops.batch_norm import batch_norm_then
from jadro.testing import gradcheck, gradgradcheck


def draw(*shape, dtype=np.float64, seed=0):
    return jadro.tensor(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


def one_by_one(model):
    """The same model, with a hook on every layer: nothing is taken together."""
    for module in model.modules():
        module.register_forward_hook(lambda *_: None)
    return model


def block(dtype=np.float64, shortcut=None, stride=1):
    jadro.manual_seed(3)
    body = nn.Sequential(
        nn.Conv2d(4, 6, 3, stride=stride, padding=1, bias=False, dtype=dtype),
        nn.BatchNorm2d(6, dtype=dtype),
        nn.ReLU(),
        nn.Conv2d(6, 4, 3, padding=1, dtype=dtype),
        nn.BatchNorm2d(4, dtype=dtype),
    )
    model = nn.Sequential(nn.Residual(body, shortcut), nn.ReLU(), nn.Conv2d(4, 5, 1, dtype=dtype), nn.ReLU())
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            with jadro.no_grad():
                module.weight.copy_(draw(module.num_features, seed=1) + 1)
                module.bias.copy_(draw(module.num_features, seed=2))
                module.running_mean.copy_(draw(module.num_features, seed=4))
                module.running_var.copy_(draw(module.num_features, seed=5).square() + 0.5)
    return model


def native_calls(capfd, run):
    """Names of the native calls that `run` makes, in order."""
    jadro.verbose(True)
    try:
        capfd.readouterr()
        run()
        lines = capfd.readouterr().err.splitlines()
    finally:
        jadro.verbose(False)
    return [
        word for line in lines for word in line.replace(",", " ").split() if word.endswith(("ward", "data", "weight"))
    ]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_training_gives_what_the_layers_give(training, dtype):
    fused, apart = block(dtype).train(training), one_by_one(block(dtype).train(training))
    results = []
    for model in (fused, apart):
        x = draw(2, 4, 7, 8, dtype=dtype).requires_grad_()
        y = model(x)
        y.backward(draw(*y.shape, dtype=dtype, seed=9))
        results.append([y, x.grad, *(p.grad for p in model.parameters()), *model.buffers()])
    for a, b in zip(*results, strict=True):
        scale = max(1.0, float(np.abs(b.numpy()).max()))
        np.testing.assert_allclose(
            a.detach().numpy(), b.detach().numpy(), rtol=0, atol=200 * np.finfo(dtype).eps * scale
        )


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("padding_mode", ["zeros", "reflect"])
def test_evaluation_gives_what_the_layers_give(bias, affine, padding_mode):
    def make():
        jadro.manual_seed(1)
        model = nn.Sequential(
            nn.Conv2d(3, 5, 3, padding=1, bias=bias, padding_mode=padding_mode),
            nn.BatchNorm2d(5, affine=affine),
            nn.ReLU(),
        )
        with jadro.no_grad():
            model[1].running_mean.copy_(draw(5, seed=4))
            model[1].running_var.copy_(draw(5, seed=5).square() + 0.5)
        return model.eval()

    x = draw(2, 3, 6, 7, dtype=np.float32)
    with jadro.no_grad():
        np.testing.assert_allclose(make()(x).numpy(), one_by_one(make())(x).numpy(), rtol=0, atol=2e-6)


def test_evaluation_of_residual_blocks_gives_what_the_layers_give():
    x = draw(2, 4, 7, 8)
    for shortcut, stride in ((None, 1), (nn.Conv2d(4, 4, 1, dtype=np.float64), 1)):
        with jadro.no_grad():
            together = block(shortcut=shortcut, stride=stride).eval()(x)
            apart = one_by_one(block(shortcut=shortcut, stride=stride).eval())(x)
        np.testing.assert_allclose(together.numpy(), apart.numpy(), rtol=0, atol=1e-13)


def test_calls_are_really_fewer(capfd):
    x = draw(2, 4, 7, 8).requires_grad_()
    model = block()
    forward = ["conv2d_forward", "batch_norm_forward"] * 2 + ["conv2d_forward"]
    assert native_calls(capfd, lambda: model(x)) == forward
    with jadro.no_grad():
        assert native_calls(capfd, lambda: model.eval()(x)) == ["conv2d_forward"] * 3
        assert "activation_forward" in native_calls(capfd, lambda: one_by_one(model)(x))


def test_changes_are_seen_at_once():
    """However they are made: nothing that was folded is kept."""
    model, x = (
        nn.Sequential(nn.Conv2d(2, 3, 1, bias=False), nn.BatchNorm2d(3)).eval(),
        draw(1, 2, 4, 4, dtype=np.float32),
    )
    with jadro.no_grad():
        before = model(x).numpy().copy()
        model[0].weight.data *= 2
        np.testing.assert_allclose(model(x).numpy(), 2 * before, rtol=1e-6)
        model[1].running_var.numpy()[...] *= 4
        np.testing.assert_allclose(model(x).numpy(), before, rtol=1e-4)
        model[1].bias.data += 1
        np.testing.assert_allclose(model(x).numpy(), before + 1, rtol=1e-4, atol=1e-6)
        model.train()
        assert abs(float(model(x).numpy().mean()) - 1) < 1e-4


class Twice(nn.ReLU):
    def forward(self, x):
        return 2 * super().forward(x)


def test_hooks_subclasses_and_replaced_methods_are_respected():
    x = draw(2, 3, 5, 5, dtype=np.float32)
    conv, relu = nn.Conv2d(3, 4, 3), nn.ReLU()
    seen = []
    model = nn.Sequential(conv, relu)
    handle = relu.register_forward_hook(lambda module, args, output: seen.append((args[0], output)))
    y = model(x)
    np.testing.assert_array_equal(seen[0][0].detach().numpy(), conv(x).detach().numpy())
    np.testing.assert_array_equal(seen[0][1].detach().numpy(), y.detach().numpy())
    handle.remove()
    handle = conv.register_forward_pre_hook(lambda module, args: (args[0] * 0,))
    np.testing.assert_allclose(
        model(x).detach().numpy(), np.maximum(conv.bias.numpy(), 0)[:, None, None] + 0 * y.detach().numpy()
    )
    handle.remove()
    np.testing.assert_array_equal(model(x).detach().numpy(), y.detach().numpy())
    np.testing.assert_array_equal(nn.Sequential(conv, Twice())(x).detach().numpy(), 2 * y.detach().numpy())
    conv.forward = lambda x: x
    np.testing.assert_array_equal(model(x).numpy(), np.maximum(x.numpy(), 0))


RECTIFIERS = [Rectifier(), Rectifier(most=0.75), Rectifier(0.25)]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", [nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d])
@pytest.mark.parametrize("rectifier", RECTIFIERS)
def test_gradients_of_norm_sum_and_rectifier(kind, training, rectifier):
    shape = (3, 2, *(4, 2, 2)[: {nn.BatchNorm1d: 1, nn.BatchNorm2d: 2, nn.BatchNorm3d: 3}[kind]])
    norm = kind(2, dtype=np.float64).train(training)
    x, add = draw(*shape).requires_grad_(), draw(*shape, seed=1).requires_grad_()

    def run(x, add, weight, bias):
        moments = norm.running_mean, norm.running_var
        return batch_norm_then(x, *moments, weight, bias, training, 0.0, 1e-5, add, rectifier)

    weight, bias = draw(2, seed=2).requires_grad_(), draw(2, seed=3).requires_grad_()
    gradcheck(run, (x, add, weight, bias))
    gradgradcheck(run, (x, add, weight, bias))
    gradcheck(lambda x, w, b: run(x, None, w, b), (x, weight, bias))
    gradgradcheck(lambda x, w, b: run(x, None, w, b), (x, weight, bias))


@pytest.mark.parametrize("layer", [nn.Conv2d, nn.ConvTranspose2d])
@pytest.mark.parametrize("behind", [nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(0.25)])
def test_gradients_of_convolution_and_rectifier(layer, behind):
    jadro.manual_seed(5)
    model = nn.Sequential(layer(2, 3, 3, padding=1, dtype=np.float64), behind)
    x = (8 * draw(2, 2, 4, 5)).requires_grad_()
    gradcheck(model, (x,))
    gradgradcheck(model, (x,))


LAYERS_BEHIND = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "leaky": lambda: nn.LeakyReLU(0.2),
    "falling": lambda: nn.LeakyReLU(-0.2),
    "prelu": lambda: nn.PReLU(4, dtype=np.float64),
    "prelu_of_one": lambda: nn.PReLU(dtype=np.float64),
}


@pytest.mark.parametrize("name", LAYERS_BEHIND)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("recorded", [True, False])
def test_rectifiers_give_what_the_layers_give(name, training, recorded):
    def make():
        jadro.manual_seed(3)
        body = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, dtype=np.float64), nn.BatchNorm2d(4, dtype=np.float64))
        layers = [
            *(nn.Conv2d(3, 4, 3, padding=1, dtype=np.float64), LAYERS_BEHIND[name]()),
            *(nn.BatchNorm2d(4, dtype=np.float64), LAYERS_BEHIND[name](), nn.Residual(body), LAYERS_BEHIND[name]()),
            *(nn.ConvTranspose2d(4, 4, 2, 2, dtype=np.float64), LAYERS_BEHIND[name]()),
        ]
        for layer in layers:
            if isinstance(layer, nn.PReLU):
                with jadro.no_grad():
                    layer.weight.copy_(draw(layer.num_parameters, seed=8))
        return nn.Sequential(*layers).train(training)

    results = []
    for model in (make(), one_by_one(make())):
        x = (6 * draw(2, 3, 7, 8)).requires_grad_()
        if not recorded:
            with jadro.no_grad():
                results.append([model(x)])
            continue
        y = model(x)
        y.backward(draw(*y.shape, seed=9))
        results.append([y, x.grad, *(p.grad for p in model.parameters())])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("name", LAYERS_BEHIND)
def test_rectifiers_take_no_call(name, capfd):
    x = draw(2, 3, 7, 8)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, dtype=np.float64), LAYERS_BEHIND[name]())
    alone = ["activation_forward"] if name == "falling" else []
    with jadro.no_grad():
        assert native_calls(capfd, lambda: model(x)) == ["conv2d_forward", *alone]
    kept = ["prelu_forward"] if name.startswith("prelu") else alone
    assert native_calls(capfd, lambda: model(x)) == ["conv2d_forward", *kept]


def test_infinity_meets_no_slope_of_zero():
    x = jadro.tensor(np.array([[[[-np.inf, 1.0, np.nan, 9.0]]]], np.float32))
    conv = nn.Conv2d(1, 1, 1, bias=False)
    with jadro.no_grad():
        conv.weight.fill_(1)
        y = nn.Sequential(conv, nn.ReLU6())(x).numpy().ravel()
        np.testing.assert_array_equal(y, np.float32([0, 1, np.nan, 6]))
        norm = nn.BatchNorm2d(1, eps=0.0).eval()
        y = nn.Sequential(norm, nn.ReLU6())(x).numpy().ravel()
        np.testing.assert_array_equal(y, np.float32([0, 1, np.nan, 6]))


def test_a_residual_sum_that_does_not_fit_is_named():
    body = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3))
    for model in (nn.Residual(body), nn.Residual(body).eval(), nn.Residual(nn.Conv2d(2, 3, 3))):
        with jadro.no_grad(), pytest.raises(ValueError, match=r"Residual: the body gives shape \(1, 3, 3, 3\)"):
            model(draw(1, 2, 5, 5, dtype=np.float32))
