"""Reshaping, joining and indexing: values against NumPy, gradients against differences, views that share memory."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import jadro
from jadro.testing import gradcheck


def leaf(*shape, seed=0):
    return jadro.tensor(np.random.default_rng(seed).standard_normal(shape), requires_grad=True)


@pytest.mark.parametrize(
    ("ours", "numpy"),
    [
        (lambda x: x.reshape(6, 4), lambda x: x.reshape(6, 4)),
        (lambda x: x.reshape((4, -1)), lambda x: x.reshape(4, 6)),
        (lambda x: x.view(-1), lambda x: x.ravel()),
        (lambda x: x.flatten(1), lambda x: x.reshape(2, 12)),
        (lambda x: x.flatten(0, 1), lambda x: x.reshape(6, 4)),
        (lambda x: x.permute(2, 0, 1), lambda x: x.transpose(2, 0, 1)),
        (lambda x: x.permute((0, -1, 1)), lambda x: x.transpose(0, 2, 1)),
        (lambda x: x.transpose(0, 2), lambda x: x.swapaxes(0, 2)),
        (lambda x: x.transpose(2, 0, 1), lambda x: x.transpose(2, 0, 1)),
        (lambda x: x.T, lambda x: x.T),
        (lambda x: x.mT, lambda x: x.swapaxes(1, 2)),
        (lambda x: x.unsqueeze(-1), lambda x: x[..., None]),
        (lambda x: x.unsqueeze(1).squeeze(1), lambda x: x),
        (lambda x: x[None].squeeze(), lambda x: x),
        (lambda x: x.squeeze(0), lambda x: x),
        (lambda x: x.unsqueeze(0).expand(3, -1, -1, -1), lambda x: np.broadcast_to(x, (3, 2, 3, 4))),
        (lambda x: x.repeat(2, 1, 3), lambda x: np.tile(x, (2, 1, 3))),
        (lambda x: x.repeat(2, 1, 1, 1), lambda x: np.tile(x, (2, 1, 1, 1))),
        (lambda x: x.flip(0, 2), lambda x: np.flip(x, (0, 2))),
        (lambda x: jadro.cat([x, x * 2], 1), lambda x: np.concatenate([x, x * 2], 1)),
        (lambda x: jadro.cat([x, x[:0]], axis=0), lambda x: x),
        (lambda x: jadro.stack([x, x], -1), lambda x: np.stack([x, x], -1)),
        (lambda x: x.split(2, 2)[1], lambda x: x[:, :, 2:]),
        (lambda x: x.split([1, 3], -1)[1], lambda x: x[:, :, 1:]),
        (lambda x: x.chunk(2, 1)[1], lambda x: x[:, 2:]),
        (lambda x: x.unbind(1)[2], lambda x: x[:, 2]),
    ],
)
def test_values_and_gradients(ours, numpy):
    x = leaf(2, 3, 4)
    np.testing.assert_array_equal(ours(x).data, numpy(x.data))
    gradcheck(ours, [x])


@given(data=st.data(), shape=hnp.array_shapes(min_dims=1, max_dims=4, max_side=4))
@settings(max_examples=80, deadline=None)
def test_indexing_is_numpys(data, shape):
    x = jadro.tensor(np.arange(np.prod(shape), dtype=np.float64).reshape(shape), requires_grad=True)
    basic = hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True)
    index = data.draw(st.one_of(basic, hnp.integer_array_indices(shape, dtype=np.int64), hnp.arrays(bool, shape)))
    np.testing.assert_array_equal(x[index].data, x.data[index])
    seed = np.random.default_rng(0).standard_normal(np.shape(x.data[index]))
    x[index].backward(seed)
    expected = np.zeros(shape)
    np.add.at(expected, index, seed)
    np.testing.assert_allclose(x.grad.data, expected, rtol=1e-13, atol=1e-13)


def test_indices_may_be_tensors_and_lists():
    x = leaf(4, 3)
    np.testing.assert_array_equal(x[jadro.tensor([0, 2]), 1].data, x.data[[0, 2], 1])
    np.testing.assert_array_equal(x[x > 0].data, x.data[x.data > 0])
    assert x[[]].shape == (0, 3)
    gradcheck(lambda x: x[[1, 1, 3]] * x[jadro.tensor([0, 1, 1])], [x])
    with pytest.raises(TypeError, match="an index has dtype float32"):
        x[jadro.ones(2)]
    with pytest.raises(IndexError):
        x[7]


def test_views_share_memory_and_writes():
    x = jadro.zeros(2, 3)
    x[0].fill_(1)
    x.view(6)[5] = 7
    x.T[0, 1] = 3
    assert x.tolist() == [[1, 1, 1], [3, 0, 7]]
    with pytest.raises(ValueError, match="view: shape is"):
        x.T.view(6)
    assert x.T.reshape(6).tolist() == [1, 3, 1, 0, 1, 7]


def test_expanded_tensors_are_not_written_to():
    with pytest.raises(ValueError, match="read-only"):
        jadro.zeros(3).expand(2, 3).fill_(1)


def test_flip_by_either_name():
    x = jadro.arange(6).reshape(2, 3)
    assert x.flip(0).tolist() == x.flip(dims=(0,)).tolist() == [[3, 4, 5], [0, 1, 2]]
    assert x.flip(0, 1).tolist() == x.flip(dims=(0, 1)).tolist() == [[5, 4, 3], [2, 1, 0]]


def test_t_is_for_matrices():
    assert jadro.zeros(2, 3).t().shape == (3, 2) and jadro.zeros(2).t().shape == (2,)
    with pytest.raises(ValueError, match=r"t: x has shape \(2, 3, 4\), expected at most two axes"):
        jadro.zeros(2, 3, 4).t()


def test_cat_begins_with_nothing():
    x = jadro.ones(2, 3)
    assert jadro.cat([jadro.zeros(0), x, x], dim=1).shape == (2, 6)
    assert jadro.ones(1, 1, 3).squeeze(()).shape == (1, 1, 3)


def test_cat_promotes():
    assert jadro.cat([jadro.ones(2), jadro.tensor([1, 2])]).dtype == np.float32
    x = jadro.ones(2, requires_grad=True)
    jadro.cat([x, jadro.zeros(2, dtype="float64")]).sum().backward()
    assert x.grad.dtype == np.float32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: x.reshape(5), "reshape: shape is .5,., which cannot hold 6"),
        (lambda x: x.reshape(-1, -1), "cannot hold"),
        (lambda x: x.reshape(-1, 4), "cannot hold"),
        (lambda x: x.permute(0, 0), "each of the 2 axes once"),
        (lambda x: x.transpose(0, 2), "transpose: dim is 2, expected -2..1"),
        (lambda x: x.unsqueeze(4), "unsqueeze: dim is 4"),
        (lambda x: x.expand(3, 3), "expand: sizes is .3, 3., which x of shape .2, 3. cannot"),
        (lambda x: x.flatten(1, 0), "start_dim <= end_dim"),
        (lambda x: jadro.cat([]), "cat: tensors is empty"),
        (lambda x: jadro.cat([x, x.T]), r"cat: tensors\[1\] has shape \(3, 2\)"),
        (lambda x: jadro.stack([x, x[0]]), r"stack: tensors\[1\] has shape \(3,\), expected \(2, 3\)"),
        (lambda x: x.split(0), "split_size is 0"),
        (lambda x: x.split([1, 2]), "expected sizes that sum to 2"),
        (lambda x: x.chunk(0), "chunks is 0"),
        (lambda x: x.repeat(2), "repeat: sizes is"),
    ],
)
def test_shapes_that_do_not_fit(call, message):
    with pytest.raises(ValueError, match=message):
        call(jadro.zeros(2, 3))


def test_reshape_of_nothing():
    assert jadro.zeros(0, 3).reshape(0, 5).shape == (0, 5)
    assert jadro.zeros(0, 3).flatten().shape == (0,)
    assert jadro.tensor(1.0).flatten().shape == (1,)


@pytest.mark.parametrize("dim", [0, 1])
def test_gather(dim):
    torch = pytest.importorskip("torch")
    x = leaf(3, 4)
    index = np.random.default_rng(0).integers(0, 3, (2, 4))
    theirs = torch.from_numpy(x.data).gather(dim, torch.from_numpy(index))
    np.testing.assert_array_equal(x.gather(dim, index).data, theirs.numpy())
    gradcheck(lambda x: x.gather(dim, index), [x])
    for bad, message in ((index + 5, "index reaches"), (index[0], "index has shape")):
        with pytest.raises(ValueError, match=message):
            x.gather(dim, bad)


def test_index_select():
    x = leaf(3, 4)
    np.testing.assert_array_equal(x.index_select(1, np.array([3, 3, 0])).data, x.data[:, [3, 3, 0]])
    gradcheck(lambda x: x.index_select(0, np.array([2, 2])), [x])
