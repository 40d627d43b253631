"""Recurrent layers of 16-bit floats on CUDA, in both loops and with every option, held to the reference by the
tolerance rule: the naive implementation is the reference in the same 16 bits."""

import numpy as np
import pytest
from conftest import Backend, backend_names
from rnn_problems import CELLS, Problem, all_of, sets_of
from test_cuda_rnn_options import WHOLE_ROWS
from test_cuda_tensor_core import KINDS, rounded

import jadro
from jadro import nn
from jadro.testing.cases import rnn
from jadro.testing.cases.base import FLOOR_ULPS, NAIVE_RUNS, largest, root_mean_square

EPS = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
# Past the tile of 16 rows and 64 outputs, rows that lie on 16 bytes and not, several chunks of a warp's depth.
TILES = [
    rnn.RnnCase("outputs_past_the_tile", "lstm", 3, 17, 8, 24, directions=2),
    rnn.RnnCase("rows_on_packs", "gru", 3, 35, 16, 32),
    rnn.RnnCase("loose_rows", "gru", 2, 33, 5, 27, layers=2),
    rnn.RnnCase("deep", "rnn_tanh", 2, 5, 3, 150),
]
PLAIN = [case for case in rnn.CASES if case.batch]

kinds = pytest.mark.parametrize("kind", KINDS[:2])


@pytest.fixture(params=[name for name in backend_names() if name.startswith("cuda")] or ["none"])
def device(request):
    if request.param == "none":
        pytest.skip("neither a GPU nor the kernels for the host are there")
    return Backend(request.param)


def single(arrays):
    return {name: a.astype(np.float64) for name, a in arrays.items()}


def hold(got, exact, naive, what, kind):
    """The rule of `assert_close`, of a type that NumPy may not know."""
    difference, *allowed = (a.astype(np.float64) - exact for a in (got, *naive))
    for norm in (root_mean_square, largest):
        bound = 2 * max(map(norm, allowed)) + FLOOR_ULPS * EPS[kind] * norm(exact)
        assert norm(difference) <= bound, f"{what}: {norm.__name__} error {norm(difference):.3g} exceeds {bound:.3g}"


class By:
    """The kernels of `core` with a loop of that name, or "auto" where it does not serve."""

    def __init__(self, core, loop):
        self.core, self.loop = core, loop

    def __getattr__(self, name):
        function = getattr(self.core, name)

        def call(*args, **options):
            try:
                return function(*args, algorithm=self.loop, **options)
            except ValueError as error:
                if "do not fit" not in str(error):
                    raise
                return function(*args, **options)

        return call if name.endswith("ward") else function


@kinds
@pytest.mark.parametrize("loop", ["persistent", "steps"])
@pytest.mark.parametrize("case", [*PLAIN, *TILES], ids=str)
def test_layers(case, loop, kind, device):
    inputs = {name: rounded(a, kind) for name, a in case.make_inputs(np.float32).items()}
    device.core, core = By(device.core, loop), device.core
    got = device.run(case, inputs)
    device.core = core
    exact, naive = case.reference(single(inputs)), case.reference(inputs)
    for name, a in got.items():
        assert a.dtype == inputs["x"].dtype
        hold(a, exact[name], [naive[name]], f"{case}: {name}", kind)


@kinds
@pytest.mark.parametrize("loop", ["persistent", "steps"])
@pytest.mark.parametrize("case", TILES[:3], ids=str)
def test_the_order_of_threads_changes_no_bit(case, loop, kind, device):
    if device.name == "cuda":
        pytest.skip("a GPU has an order of its own")
    inputs = {name: rounded(a, kind) for name, a in case.make_inputs(np.float32).items()}
    first = case.run(By(device.core, loop), inputs)
    device.core.set_backward(True)
    try:
        second = case.run(By(device.core, loop), inputs)
    finally:
        device.core.set_backward(False)
    for name, a in second.items():
        np.testing.assert_array_equal(a.view(np.uint16), first[name].view(np.uint16), name)


def results_of(problem, arrays, weights, kind):
    """As `Problem.native`, of a layer of 16-bit floats."""
    narrow = {"float16": "half", "bfloat16": "bfloat16"}[kind]
    layer, endings = problem.layer([{n: a.astype(np.float32) for n, a in named.items()} for named in weights])
    getattr(layer, narrow)()
    there = {n: jadro.tensor(a.astype(np.float32), device="cuda") for n, a in arrays.items()}
    there = {n: getattr(t, narrow)().detach() for n, t in there.items()}
    tensors = {n: t for n, t in there.items() if n[0] != "d"}
    for t in tensors.values():
        t.requires_grad = True
    found = problem.call(layer, tensors)
    assert {t.dtype for t in found.values()} == {there["x"].dtype}
    parameters = dict(layer.named_parameters())
    inputs, names = [*tensors.values(), *parameters.values()], [f"d{n}" for n in (*tensors, *parameters)]
    outs, seeds = [found[n] for n in problem.output_shapes], [there[f"d{n}"] for n in problem.output_shapes]
    values = [
        np.zeros(t.shape) if g is None else g.float().cpu().numpy()
        for t, g in zip(inputs, jadro.grad(outs, inputs, seeds, allow_unused=True), strict=True)
    ]
    return {n: y.detach().float().cpu().numpy() for n, y in found.items()} | dict(
        zip(names, values, strict=True)
    ), endings


def check_options(problem, kind):
    arrays = {n: rounded(a, kind) for n, a in problem.arrays(np.float32).items()}
    weights = [{n: rounded(a, kind) for n, a in named.items()} for named in problem.weights(np.float32)]
    found, endings = results_of(problem, arrays, weights, kind)
    runs = [(single(arrays), list(map(single, weights))), *naive_runs(problem, arrays, weights)]
    (exact, dexact), *naive = [problem.reference(*run) for run in runs]
    for name, a in exact.items():
        hold(found[name], a, [run[name] for run, _ in naive], f"{problem}: {name}", kind)
    for k, (named, end) in enumerate(zip(dexact, endings, strict=True)):
        for name, g in named.items():
            what = f"{problem}: gradient of {name}{end}"
            hold(found[f"d{name}{end}"], g, [dw[k][name] for _, dw in naive], what, kind)


def naive_runs(problem, arrays, weights):
    """As `Problem.naive` moves them: what a number's neighbours would give."""
    yield arrays, weights
    rng = problem.rng("neighbours")

    def moved(named):
        ends = {n: np.where(rng.random(a.shape) < 0.5, -np.inf, np.inf).astype(a.dtype) for n, a in named.items()}
        return {n: np.nextafter(a, ends[n]) for n, a in named.items()}

    for _ in range(NAIVE_RUNS - 1):
        yield moved(arrays), [moved(named) for named in weights]


@kinds
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("cell", CELLS)
def test_one_option(cell, training, kind, cuda_device):
    for names in [(), *sets_of(cell, 1)]:
        check_options(Problem(cell, names, training=training, device="cuda"), kind)


@kinds
@pytest.mark.parametrize("cuda_device", ["persistent", "steps"], indirect=True)
@pytest.mark.parametrize("cell", CELLS)
def test_all_that_one_launch_serves(cell, kind, cuda_device):
    for sizes in ((3, 5, 4, 17), (2, 29, 19, 24)):
        check_options(Problem(cell, all_of(cell, *WHOLE_ROWS), *sizes, device="cuda"), kind)


@kinds
def test_a_model_trains(kind, cuda_device):
    """Layers that are stacked, their loss and SGD's momentum, all in 16 bits."""
    jadro.manual_seed(1)
    rng = np.random.default_rng(1)
    narrow = {"float16": "half", "bfloat16": "bfloat16"}[kind]
    layer, out = (getattr(m.to("cuda"), narrow)() for m in (nn.LSTM(6, 24, num_layers=2), nn.Linear(24, 2)))
    given = rng.standard_normal((7, 16, 6))
    x = getattr(jadro.tensor(given, device="cuda"), narrow)()
    target = jadro.tensor((given[-1, :, 0] > 0).astype(np.int64), device="cuda")
    sgd = jadro.optim.SGD([*layer.parameters(), *out.parameters()], lr=0.5, momentum=0.9)
    losses = []
    for _ in range(15):
        sgd.zero_grad()
        loss = nn.functional.cross_entropy(out(layer(x)[0][-1]), target)
        loss.backward()
        sgd.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
