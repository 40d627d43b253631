"""Data sets, batches, and where they stand."""

import numpy as np
import pytest

import jadro
from jadro.data import Batches, DataLoader, Subset, TensorDataset, collate, random_split

X = np.arange(20, dtype=np.float32).reshape(10, 2)
Y = np.arange(10)


def ids(loader):
    """The targets of each batch."""
    return [y.numpy().tolist() for _, y in loader]


def joined(loader):
    return [i for batch in ids(loader) for i in batch]


@pytest.fixture
def dataset():
    return TensorDataset(X, jadro.tensor(Y))


def test_tensor_dataset(dataset):
    assert len(dataset) == 10
    x, y = dataset[3]
    assert (x.tolist(), y.item()) == ([6, 7], 3)
    x, y = dataset[[1, -1]]
    assert (x.shape, y.tolist()) == ((2, 2), [1, 9])
    assert dataset[:4][1].tolist() == [0, 1, 2, 3]
    x, y = dataset.batch(np.array([2, 2]))
    assert y.tolist() == [2, 2]
    with pytest.raises(IndexError):
        dataset[10]


def test_batches_in_order(dataset):
    assert ids(DataLoader(dataset, 4)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert ids(DataLoader(dataset, 4, drop_last=True)) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert len(DataLoader(dataset, 4)) == 3
    assert len(DataLoader(dataset, 4, drop_last=True)) == 2
    assert ids(DataLoader(dataset)) == [[i] for i in range(10)]
    x, y = next(iter(DataLoader(dataset, 4)))
    assert isinstance(x, jadro.Tensor)
    np.testing.assert_array_equal(x.numpy(), X[:4])
    assert (x.dtype, y.dtype) == (np.float32, np.int64)
    assert not list(DataLoader(TensorDataset(X[:0]), 3))


def test_shuffling(dataset):
    loader = DataLoader(dataset, 3, shuffle=True, seed=7)
    first, second = joined(loader), joined(loader)
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second != list(range(10)) != first
    again = DataLoader(dataset, 5, shuffle=True, seed=7)
    assert [joined(again), joined(again)] == [first, second]
    assert joined(DataLoader(dataset, 3, shuffle=True, seed=8)) != first
    for x, y in loader:
        np.testing.assert_array_equal(x.numpy(), X[y.numpy()])


def test_every_order_comes_equally_often():
    """Where each of five rows stands, over 4000 epochs: within five standard errors."""
    loader = DataLoader(TensorDataset(np.arange(5)), 5, shuffle=True, seed=0)
    counts = np.zeros((5, 5))
    for _ in range(4000):
        (rows,) = next(iter(loader))
        counts[np.arange(5), rows.numpy()] += 1
    assert np.abs(counts - 800).max() < 5 * np.sqrt(4000 * 0.2 * 0.8)


def test_the_seed_of_the_library_decides_where_none_is_given(dataset):
    def order():
        jadro.manual_seed(3)
        return joined(DataLoader(dataset, 3, shuffle=True))

    assert order() == order()


def test_a_broken_off_epoch_is_not_gone_on_with(dataset):
    loader = DataLoader(dataset, 3, shuffle=True, seed=1)
    next(iter(loader))
    reference = DataLoader(dataset, 3, shuffle=True, seed=1)
    joined(reference)
    assert joined(loader) == joined(reference)


def test_two_iterators_do_not_disturb_each_other(dataset):
    loader = DataLoader(dataset, 3, shuffle=True, seed=1)
    reference = DataLoader(dataset, 3, shuffle=True, seed=1)
    expected = [joined(reference), joined(reference)]
    pairs = list(zip(loader, loader, strict=True))
    got = [[i for pair in pairs for i in pair[k][1].tolist()] for k in (0, 1)]
    assert got == expected


@pytest.mark.parametrize("taken", [0, 1, 3, 4, 5, 8, 11])
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_state_goes_on_with_the_next_batch(dataset, shuffle, taken):
    """Cut after so many batches, four an epoch; the rest in a new loader with another seed."""
    straight = DataLoader(dataset, 3, shuffle, seed=5)
    expected = [batch for _ in range(3) for batch in ids(straight)]
    loader = DataLoader(dataset, 3, shuffle, seed=5)
    got = []
    for _ in range(3):
        for _, y in loader:
            if len(got) == taken:
                break
            got.append(y.tolist())
            state = loader.state_dict()
        if len(got) == taken:
            break
    if taken == 0:
        state = DataLoader(dataset, 3, shuffle, seed=5).state_dict()
    resumed = DataLoader(dataset, 3, shuffle, seed=6)
    resumed.load_state_dict(state)
    while len(got) < 12:
        got += ids(resumed)
    assert got == expected


def test_a_state_that_does_not_fit(dataset):
    loader = DataLoader(dataset, 3)
    for bad in (None, {}, {"epoch": 0}, DataLoader(dataset, 4).state_dict()):
        with pytest.raises(ValueError, match=r"DataLoader\.load_state_dict"):
            loader.load_state_dict(bad)
    assert loader.state_dict()["epoch"] == -1


def test_subsets(dataset):
    part = Subset(dataset, [7, -1, 2])
    assert len(part) == 3
    assert part[1][1].item() == 9
    assert ids(DataLoader(part, 2)) == [[7, 9], [2]]
    assert ids(DataLoader(Subset(part, [2]), 2)) == [[2]]
    with pytest.raises(ValueError, match="Subset"):
        Subset(dataset, [10])


@pytest.mark.parametrize(
    ("lengths", "sizes"), [((7, 3), [7, 3]), ((0.5, 0.5), [5, 5]), ((0.35, 0.65), [4, 6]), ((10, 0), [10, 0])]
)
def test_random_split(dataset, lengths, sizes):
    parts = random_split(dataset, lengths, seed=4)
    assert [len(part) for part in parts] == sizes
    rows = [part[i][1].item() for part in parts for i in range(len(part))]
    assert sorted(rows) == list(range(10))
    assert rows != sorted(rows)
    twins = random_split(dataset, lengths, seed=4)
    assert [p.indices.tolist() for p in parts] == [p.indices.tolist() for p in twins]


class Squares:
    """A data set that is only indexed."""

    def __len__(self):
        return 5

    def __getitem__(self, i):
        return {"x": np.full(3, float(i)), "square": i * i, "name": str(i), "pair": (i, float(i))}


def test_samples_are_collated():
    first, second, last = DataLoader(Squares(), 2)
    assert first["x"].shape == (2, 3)
    assert first["square"].tolist() == [0, 1]
    assert first["square"].dtype == np.int64
    assert second["name"] == ["2", "3"]
    assert second["pair"][1].dtype == np.float32
    assert last["pair"][0].tolist() == [4]
    assert joined(DataLoader(Subset(TensorDataset(Y, Y), [3]), 1)) == [3]
    with pytest.raises(ValueError, match="collate: sample 1 has shape"):
        collate([np.ones(2), np.ones(3)])
    with pytest.raises(ValueError, match="collate"):
        collate([(1, 2), (1,)])


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (ValueError, lambda d: TensorDataset()),
        (ValueError, lambda d: TensorDataset(X, Y[:9])),
        (ValueError, lambda d: TensorDataset(np.array(3))),
        (ValueError, lambda d: DataLoader(d, 0)),
        (TypeError, lambda d: DataLoader(d, 2.5)),
        (TypeError, lambda d: DataLoader(d, 2, seed="x")),
        (TypeError, lambda d: random_split(d, [10], seed=0.5)),
        (ValueError, lambda d: random_split(d, [5, 6])),
        (ValueError, lambda d: random_split(d, [11, -1])),
        (ValueError, lambda d: random_split(d, [0.5, 0.6])),
        (TypeError, lambda d: len(Batches())),
        (TypeError, lambda d: Batches().batch(0, 0)),
    ],
)
def test_bad_input(dataset, error, call):
    with pytest.raises(error):
        call(dataset)
