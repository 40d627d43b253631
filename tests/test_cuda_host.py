"""The CUDA kernels on the CPU (-DJADRO_CUDA_HOST=ON): the machine that runs them, and what no other test asks."""

import importlib.util

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jadro.testing import cases
from jadro.testing.cases import batch_norm, conv2d, rnn

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("jadro._cuda_host") is None, reason="the kernels were not built for the host"
)


@pytest.fixture
def host():
    from jadro import _cuda_host

    yield _cuda_host
    _cuda_host.set_backward(False)


def self_test(host, name):
    out = np.full(128, -1, np.int32)
    host.self_test(name, out)
    return out


@pytest.mark.parametrize("backward", [False, True])
def test_barriers_and_shuffles(host, backward):
    host.set_backward(backward)
    reversed_ = np.concatenate([np.arange(64)[::-1] + 1000 * block for block in range(2)])
    np.testing.assert_array_equal(self_test(host, "reverse"), np.repeat(reversed_.reshape(4, 32).sum(axis=1), 32))
    np.testing.assert_array_equal(self_test(host, "together")[:6], [7, 8, 9, 9, 8, 7])
    votes = sum(1 << lane for lane in range(0, 32, 3))
    np.testing.assert_array_equal(self_test(host, "votes")[:32].astype(np.uint32), np.full(32, votes, np.uint32))


@pytest.mark.parametrize("name", ["lost", "overrun"])
def test_a_lost_barrier_and_an_overrun_are_errors_and_do_no_harm(host, name):
    for _ in range(3):
        with pytest.raises(RuntimeError, match=f"{name}: CUDA says a thread waits for ever"):
            self_test(host, name)
        np.testing.assert_array_equal(self_test(host, "together")[:6], [7, 8, 9, 9, 8, 7])


def test_a_missing_barrier_shows_in_the_order_of_the_threads(host):
    forward = self_test(host, "race")
    host.set_backward(True)
    assert (forward != self_test(host, "race")).any()


def has_kernels(host, case):
    return all(hasattr(host, name) for name in case.kernels)


@pytest.mark.parametrize("case", cases.ALL, ids=str)
def test_the_order_of_threads_changes_no_bit(case, host):
    if not has_kernels(host, case):
        pytest.skip("no such CUDA kernel")
    inputs = case.make_inputs(np.float32)
    first = case.run(host, inputs)
    host.set_backward(True)
    for name, result in case.run(host, inputs).items():
        np.testing.assert_array_equal(result, first[name], name)


class Forced:
    """The recurrent kernels with an algorithm forced."""

    def __init__(self, host, algorithm):
        self.host, self.algorithm = host, algorithm

    def __getattr__(self, name):
        found = getattr(self.host, name)
        if name == "rnn_reserve_size":
            return found
        return lambda *args: found(*args, algorithm=self.algorithm)


# float64 weights of over 64 units do not fit in the host's shared memory: those cases take single steps alone.
LOOPS = [(case, "steps") for case in rnn.CASES] + [(case, "persistent") for case in rnn.CASES if case.hidden <= 64]


@pytest.mark.parametrize(("case", "algorithm"), LOOPS, ids=str)
def test_both_recurrent_loops_match_the_reference(case, algorithm, host, dtype):
    inputs = case.make_inputs(dtype)
    cases.assert_close_to_reference(case.run(Forced(host, algorithm), inputs), case)


# On the stand-in's five processors these take every tile of rnn_plan.h in both directions, one and several passes, and
# blocks that share out the rows.
TILES = [(1, 23), (3, 90), (5, 23), (5, 90), (9, 64), (20, 37), (33, 12), (45, 30)]


@pytest.mark.parametrize(("batch", "hidden"), TILES)
@pytest.mark.parametrize("cell", ["rnn_tanh", "gru", "lstm"])
def test_every_tile_of_the_persistent_loop(cell, batch, hidden, host, dtype):
    case = rnn.RnnCase("tiles", cell, 3, batch, 4, hidden)
    inputs = case.make_inputs(dtype)
    found = case.run(Forced(host, "auto"), inputs)
    cases.assert_close_to_reference(found, case)
    host.set_backward(True)
    for name, result in case.run(Forced(host, "auto"), inputs).items():
        np.testing.assert_array_equal(result, found[name], name)


def test_a_forced_loop_that_cannot_serve_says_why(host):
    case = rnn.RnnCase("large", "lstm", 2, 1, 3, 400)
    with pytest.raises(ValueError, match="lstm_forward: algorithm is 'persistent', but the weights of 400 units do"):
        case.run(Forced(host, "persistent"), case.make_inputs(np.float32))
    with pytest.raises(ValueError, match="lstm_forward: algorithm is 'fastest', expected auto, persistent or steps"):
        case.run(Forced(host, "fastest"), case.make_inputs(np.float32))


@pytest.mark.parametrize("cell", sorted(rnn.GATES))
def test_a_card_without_room_for_all_blocks_takes_single_steps(cell, host, request):
    case = rnn.RnnCase("crowded", cell, 3, 2, 4, 12)
    inputs = case.make_inputs(np.float32)
    expected = case.run(Forced(host, "steps"), inputs)
    request.addfinalizer(lambda: host.set_room(2**31 - 1))
    host.set_room(2)
    for name, result in case.run(host, inputs).items():
        np.testing.assert_array_equal(result, expected[name], name)
    with pytest.raises(RuntimeError, match=r"_forward: CUDA says too many blocks in cooperative launch"):
        case.run(Forced(host, "persistent"), inputs)


def test_a_large_hidden_size_takes_single_steps(host):
    case = rnn.RnnCase("large", "gru", 2, 3, 5, 170)
    cases.assert_close_to_reference(case.run(host, case.make_inputs(np.float32)), case)


def test_targets_and_ids_out_of_range_are_nan(host, dtype):
    """The GPU cannot raise without being waited for."""
    x, target, losses, lse = np.zeros((4, 3), dtype), np.array([0, 3, -1, -100]), np.empty(4, dtype), np.empty(4, dtype)
    host.cross_entropy_forward(x, target, None, losses, lse, -100, 0.0)
    np.testing.assert_array_equal(np.isnan(losses), [False, True, True, False])
    dx = np.empty_like(x)
    host.cross_entropy_backward(x, target, None, lse, np.ones(4, dtype), dx, -100, 0.0)
    np.testing.assert_array_equal(np.isnan(dx).all(axis=1), [False, True, True, False])
    table, y = np.ones((3, 2), dtype), np.empty((4, 2), dtype)
    host.embedding_forward(table, np.array([0, 3, -1, 2]), y)
    np.testing.assert_array_equal(np.isnan(y).all(axis=1), [False, True, True, False])
    dweight = np.empty_like(table)
    host.embedding_backward(np.ones((4, 2), dtype), np.array([0, 3, -1, 2]), dweight, -1)
    np.testing.assert_array_equal(dweight[:, 0], [1, 0, 1])


def test_batch_norm_of_packs_and_of_single_numbers_agree(host, dtype):
    """Planes of whole 16 bytes go by packs, where the arrays lie so."""
    case = batch_norm.BatchNormCase("packs", 3, 5, 48, relu=True, add=True)
    inputs = case.make_inputs(dtype)

    def unaligned(shape, kind):
        size = int(np.prod(shape))
        room = np.empty(size + 4, kind)
        first = next(i for i in range(4) if (room.ctypes.data + i * room.itemsize) % 16)
        return room[first : first + size].reshape(shape)

    packs, singles = case.run(host, inputs), case.run(host, inputs, unaligned)
    for name, result in packs.items():
        np.testing.assert_array_equal(result, singles[name], name)
    cases.assert_close_to_reference(packs, case)


@st.composite
def convolutions(draw):
    axes = draw(st.sampled_from([2, 2, 3]))

    def sizes(low, high, count=axes):
        return tuple(draw(st.integers(low, high)) for _ in range(count))

    groups = draw(st.sampled_from([1, 1, 2, 3]))
    kernel, dilation = sizes(1, 4), sizes(1, 3)
    mode = draw(st.sampled_from(["zeros", "zeros", "reflect", "replicate", "circular"]))
    image = tuple(d * (k - 1) + 1 + draw(st.integers(0, 5)) for k, d in zip(kernel, dilation, strict=True))
    most = min(image) - 1 if mode == "reflect" else min(*image, 4)
    return conv2d.Conv2dCase(
        "drawn", draw(st.integers(1, 3)), groups * draw(st.integers(1, 7)), image, groups * draw(st.integers(1, 7)),
        kernel, sizes(1, 5), sizes(0, most, 2 * axes), dilation, groups, draw(st.booleans()), padding_mode=mode,
        algorithm=draw(st.sampled_from(["auto", "direct", "im2col"])),
    )  # fmt: skip


@settings(max_examples=40, deadline=None, derandomize=True)
@given(convolutions())
def test_drawn_convolutions_match_the_reference(case):
    from jadro import _cuda_host

    cases.assert_close_to_reference(case.run(_cuda_host, case.make_inputs(np.float64)), case)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    cell=st.sampled_from(sorted(rnn.GATES)),
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 40), st.integers(1, 9), st.integers(1, 23)),
    layers=st.integers(1, 2),
    directions=st.integers(1, 2),
    bias=st.booleans(),
    algorithm=st.sampled_from(["persistent", "steps"]),
)
def test_drawn_recurrent_layers_match_the_reference(cell, sizes, layers, directions, bias, algorithm):
    from jadro import _cuda_host

    case = rnn.RnnCase("drawn", cell, *sizes, layers, directions, bias)
    got = case.run(Forced(_cuda_host, algorithm), case.make_inputs(np.float64))
    cases.assert_close_to_reference(got, case)
