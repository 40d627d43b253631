"""What only a card can show: streams, captured graphs, memory that runs out, large problems, several devices."""

import numpy as np
import pytest
from conftest import cuda_is_here

import jadro
from jadro import nn
from jadro.nn import functional as F

pytestmark = pytest.mark.skipif(not cuda_is_here(), reason="there is no GPU")


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def close(found, expected, tolerance=2e-5):
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


def conv_and_pool():
    jadro.manual_seed(1)
    return nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2))


LAYERS = {
    "convolution": (conv_and_pool, (4, 16, 32, 32)),
    "lstm": (lambda: nn.LSTM(24, 40, num_layers=2), (9, 5, 24)),
    "gru, layer norm": (lambda: nn.GRU(24, 40, layer_norm=True), (9, 5, 24)),
}


@pytest.fixture(params=LAYERS)
def layer_and_x(request):
    make, shape = LAYERS[request.param]
    jadro.manual_seed(2)
    return make(), draw(*shape)


def results(layer, x):
    y = layer(x)
    y = y[0] if isinstance(y, tuple) else y
    x.grad = None
    y.backward(y.detach())
    return y, x.grad


def test_work_follows_the_current_stream(layer_and_x):
    import cupy

    layer, x = layer_and_x
    expected = [t.numpy() for t in (r.detach() for r in results(layer, jadro.tensor(x, requires_grad=True)))]
    layer.to("cuda")
    for stream in (cupy.cuda.Stream(non_blocking=True), cupy.cuda.Stream.ptds, cupy.cuda.Stream.null):
        with stream:
            # a product that takes a while comes first on the stream, and x is written behind it
            busy = cupy.ones((2048, 2048), cupy.float32)
            for _ in range(20):
                busy = busy @ busy * 0
            given = jadro.tensor(cupy.asarray(x) + busy[0, 0], requires_grad=True)
            found = [
                r.detach().numpy() if r.device == "cpu" else r.detach().cpu().numpy() for r in results(layer, given)
            ]
        for a, b in zip(found, expected, strict=True):
            close(a, b)


def test_a_captured_graph_gives_the_same_bits(layer_and_x):
    import cupy

    layer, x = layer_and_x
    layer.to("cuda")
    for module in layer.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.track_running_stats = False
    pool = cupy.cuda.MemoryPool()
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream, cupy.cuda.using_allocator(pool.malloc):
        given = jadro.tensor(cupy.zeros(x.shape, cupy.float32), requires_grad=True)
        with jadro.no_grad():
            given.data[...] = cupy.asarray(x)
        expected = [r.detach().cpu().numpy() for r in results(layer, given)]
        with jadro.no_grad():
            given.data[...] = 0
        results(layer, given)
        stream.synchronize()
        stream.begin_capture()
        captured = results(layer, given)
        graph = stream.end_capture()
        with jadro.no_grad():
            given.data[...] = cupy.asarray(x)
        graph.launch(stream)
        stream.synchronize()
        for a, b in zip(captured, expected, strict=True):
            np.testing.assert_array_equal(a.detach().cpu().numpy(), b)


def test_memory_that_runs_out_is_an_error_and_leaves_nothing(layer_and_x):
    import cupy

    layer, x = layer_and_x
    layer.to("cuda")
    pool = cupy.cuda.MemoryPool()
    with cupy.cuda.using_allocator(pool.malloc):
        given = jadro.tensor(x, device="cuda", requires_grad=True)
        first = [r.detach().cpu().numpy() for r in results(layer, given)]
        pool.free_all_blocks()
        held = pool.used_bytes()
        pool.set_limit(size=pool.total_bytes() + 2048)
        with pytest.raises(MemoryError):
            results(layer, given)
        assert pool.used_bytes() <= held
        pool.set_limit(size=0)
        for a, b in zip([r.detach().cpu().numpy() for r in results(layer, given)], first, strict=True):
            np.testing.assert_array_equal(a, b)


LARGE = {
    "convolution": lambda x, w: F.conv2d(x, w, padding=1),
    "strided": lambda x, w: F.conv2d(x, w, padding=1, stride=2),
    "dilated": lambda x, w: F.conv2d(x, w, padding=2, dilation=2),
}


@pytest.mark.parametrize("name", LARGE)
def test_large_convolutions_equal_the_cpu_s_and_themselves(name):
    x, w = draw(16, 64, 56, 56), draw(96, 64, 3, 3, seed=1)
    found = []
    for device in ("cpu", "cuda", "cuda"):
        given = [jadro.tensor(a, device=device, requires_grad=True) for a in (x, w)]
        y = LARGE[name](*given)
        y.backward(jadro.tensor(draw(*y.shape, seed=2), device=device))
        found.append([t.detach().cpu().numpy() for t in (y, *(g.grad for g in given))])
    for a, b, c in zip(*found, strict=True):
        close(b, a)
        np.testing.assert_array_equal(b, c)


@pytest.mark.parametrize("sizes", [(40, 33, 100, 300), (30, 5, 64, 1100), (20, 70, 48, 65)], ids=str)
@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_large_recurrent_layers_equal_the_cpu_s_and_themselves(kind, sizes):
    steps, batch, inputs, hidden = sizes
    jadro.manual_seed(4)
    layer, x = kind(inputs, hidden, bidirectional=True), draw(steps, batch, inputs)
    found = []
    for device in ("cpu", "cuda", "cuda"):
        layer.to(device).zero_grad()
        given = jadro.tensor(x, device=device, requires_grad=True)
        y = layer(given)[0]
        y.backward(jadro.tensor(draw(*y.shape, seed=2), device=device))
        found.append([t.detach().cpu().numpy() for t in (y, given.grad, *(p.grad for p in layer.parameters()))])
    for a, b, c in zip(*found, strict=True):
        close(b, a)
        np.testing.assert_array_equal(b, c)


def test_every_device_has_its_own_work():
    import cupy

    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("there is one device")
    x, w = draw(2, 4, 9, 9), draw(3, 4, 3, 3, seed=1)
    expected = F.conv2d(jadro.tensor(x), jadro.tensor(w)).numpy()
    close(F.conv2d(jadro.tensor(x, device="cuda:1"), jadro.tensor(w, device="cuda:1")).cpu().numpy(), expected)
    with pytest.raises(ValueError, match="expected one device"):
        F.conv2d(jadro.tensor(x, device="cuda:1"), jadro.tensor(w, device="cuda"))
