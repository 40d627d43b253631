"""Layers, losses and models of 16-bit floats on CUDA, on CuPy's arrays or those of the stand-in."""

import numpy as np
import pytest
from test_cuda_dispatch import IMAGES, MODELS, draw, host

import jadro
from jadro import nn, optim
from jadro.nn import functional as F
from jadro.ops.activation import Rectifier
from jadro.ops.batch_norm import batch_norm_then

NARROW = {"half": 2.0**-10, "bfloat16": 2.0**-7}  # a unit in the last place

pytestmark = pytest.mark.usefixtures("cuda_device")


@pytest.fixture(params=NARROW)
def kind(request):
    if request.param == "bfloat16":
        pytest.importorskip("ml_dtypes")
    return request.param


def narrowed(a, kind):
    return getattr(jadro.tensor(a, device="cuda"), kind)().detach()


def check_rounded(f, arrays, kind):
    """f of 16-bit numbers gives what it gives of the same numbers in float32, but for the rounding of what it stores:
    results and gradients."""
    found = []
    for narrow in (True, False):
        given = [narrowed(a, kind) for a in arrays]
        given = given if narrow else [t.float().detach() for t in given]
        for t in given:
            t.requires_grad = True
        y = f(*given)
        assert y.dtype == given[0].dtype
        dy = narrowed(draw(*y.shape, seed=9), kind)
        y.backward(dy if narrow else dy.float().detach())
        assert all(t.grad.dtype == t.dtype for t in given)
        found.append([host(t.float()) for t in (y.detach(), *(t.grad for t in given))])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=NARROW[kind], atol=NARROW[kind] * abs(b).max())


def test_products_of_16_bits(kind):
    """Convolution with bias and its gradients, and the linear layer: near the CPU's in float32, in the dtype given."""
    x, w, b = IMAGES, draw(6, 4, 3, 3, seed=1), draw(6, seed=2)
    ends = []
    for device in ("cpu", "cuda"):
        given = [jadro.tensor(a, device=device) for a in (x, w, b)]
        given = [(t if device == "cpu" else getattr(t, kind)()).detach() for t in given]
        for t in given:
            t.requires_grad = True
        y = F.conv2d(given[0], given[1], given[2], padding=1)
        (y * y).sum().backward()
        assert all(t.grad.dtype == t.dtype == y.dtype for t in given)
        ends.append([host(t.detach().float()) for t in (y, *(t.grad for t in given))])
    for a, b in zip(*ends, strict=True):
        assert np.max(np.abs(a - b)) <= 4 * NARROW[kind] * np.max(np.abs(a))


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_of_16_bits_is_that_of_float32_rounded(kind, training):
    """With a residual sum and LeakyReLU, planes of whole packs and others; the running moments move too."""
    for size in (8, 7):
        found = []
        for narrow in (True, False):
            norm = nn.BatchNorm2d(5).to("cuda")
            for i, t in enumerate((norm.weight, norm.bias, norm.running_mean, norm.running_var)):
                t.data[...] = getattr(jadro.tensor(1 + 0.5 * abs(draw(5, seed=i)), device="cuda"), kind)().float().data
            norm.train(training)
            given = [jadro.tensor(draw(6, 5, size, size, seed=i), device="cuda") for i in range(3)]
            given = [getattr(t, kind)().detach() for t in given]
            norm, given = (getattr(norm, kind)(), given) if narrow else (norm, [t.float().detach() for t in given])
            for t in given[:2]:
                t.requires_grad = True
            x, add, dy = given
            y = batch_norm_then(
                x, norm.running_mean, norm.running_var, norm.weight, norm.bias, training, 0.1, 1e-5, add, Rectifier(0.1)
            )
            y.backward(dy)
            tensors = (
                y.detach(),
                x.grad,
                add.grad,
                norm.weight.grad,
                norm.bias.grad,
                norm.running_mean,
                norm.running_var,
            )
            found.append([host(t.float()) for t in tensors])
        for a, b in zip(*found, strict=True):
            np.testing.assert_allclose(a, b, rtol=2 * NARROW[kind], atol=2 * NARROW[kind] * abs(b).max())


NORMS = {
    "layer": lambda x, w, b: F.layer_norm(x, 8, w, b),
    "group": lambda x, w, b: F.group_norm(x, 2, w[:4], b[:4]),
    "instance": lambda x, w, b: F.instance_norm(x, None, None, w[:4], b[:4]),
}


@pytest.mark.parametrize("name", NORMS)
def test_norms_of_16_bits_are_those_of_float32_rounded(name, kind):
    check_rounded(NORMS[name], (IMAGES, draw(8, seed=1), draw(8, seed=2)), kind)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("options", [{}, {"ignore_index": 2, "label_smoothing": 0.1}], ids=["plain", "smoothed"])
def test_losses_of_16_bits_are_those_of_float32_rounded(options, reduction, kind):
    target, weight = np.arange(40) % 7, 1 + 0.5 * abs(draw(7, seed=1))

    def loss(x):
        w = jadro.tensor(weight, device="cuda").to(x)
        return F.cross_entropy(x, jadro.tensor(target, device="cuda"), w, reduction=reduction, **options)

    check_rounded(loss, (draw(40, 7),), kind)


def test_a_loss_of_more_rows_than_the_largest_half():
    x = narrowed(np.zeros((70000, 2)), "half")
    x.requires_grad = True
    loss = F.cross_entropy(x, jadro.tensor(np.zeros(70000, np.int64), device="cuda"))
    loss.backward(jadro.tensor(1024.0, device="cuda", dtype="float16"))
    assert loss.item() == pytest.approx(np.log(2), rel=2.0**-11)
    np.testing.assert_allclose(host(x.grad.float())[:, 0], -512 / 70000, rtol=2.0**-10)


def test_a_model_of_16_bits_trains(kind):
    """Its parameters, its loss and SGD's momentum in 16 bits."""
    jadro.manual_seed(5)
    make, x, target = MODELS["lenet"]
    model = getattr(make().to("cuda"), kind)()
    x, target = getattr(jadro.tensor(x, device="cuda"), kind)(), jadro.tensor(target, device="cuda")
    sgd = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(12):
        sgd.zero_grad()
        loss = F.cross_entropy(model(x), target)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        sgd.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
