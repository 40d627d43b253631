"""Truncated backpropagation through time by the Trainer: burn-in steps and document boundaries."""

import numpy as np
import pytest

import jadro
import jadro.nn.functional as F
from jadro import nn, optim
from jadro.text import stream_batches
from jadro.train import Trainer

IDS = np.random.default_rng(0).integers(0, 5, 200)
OWNERS = np.cumsum(np.random.default_rng(1).random(200) < 0.1)


class Writer(nn.Module):
    """Keeps what it was called with."""

    def __init__(self):
        super().__init__()
        self.embedding, self.rnn, self.scores = nn.Embedding(5, 4), nn.GRU(4, 6), nn.Linear(6, 5)
        self.calls = []

    def forward(self, ids, state=None, **options):
        self.calls.append((ids, state, options))
        y, state = self.rnn(self.embedding(ids), state, **options)
        return self.scores(y), state


def loss(scores, target):
    return F.cross_entropy(scores.reshape(-1, 5), target.reshape(-1))


def trainer():
    jadro.manual_seed(1)
    model = Writer()
    return Trainer(model, loss, optim.SGD(model.parameters(), 0.5))


def test_burn_in_warms_the_state_without_a_gradient():
    batches = stream_batches(IDS, 3, 6, burn_in=4)
    whole, hand = trainer(), trainer()
    whole.fit(batches, 1, progress=False)
    for x, target in batches:
        with jadro.no_grad():
            _, state = hand.model(x[:4])
        value = loss(hand.model(x[4:], state)[0], target)
        hand.optimizer.zero_grad()
        value.backward()
        hand.optimizer.step()
    for mine, theirs in zip(whole.model.parameters(), hand.model.parameters(), strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())
    assert [len(ids) for ids, _, _ in whole.model.calls] == [4, 6] * len(batches)
    assert all((state is None) == (len(ids) == 4) for ids, state, _ in whole.model.calls)
    assert whole.evaluate(batches) == pytest.approx(hand.evaluate(batches))


@pytest.mark.parametrize("burn_in", [0, 4])
def test_the_model_gets_the_resets_of_its_steps(burn_in):
    batches, train = stream_batches(IDS, 3, 6, documents=OWNERS, burn_in=burn_in), trainer()
    train.fit(batches, 1, progress=False)
    calls = iter(train.model.calls)
    for x, _, reset in batches:
        for part in (slice(burn_in), slice(burn_in, None)) if burn_in else (slice(None),):
            ids, _, options = next(calls)
            np.testing.assert_array_equal(ids.numpy(), x.numpy()[part])
            np.testing.assert_array_equal(options["reset"].numpy(), reset.numpy()[part])
    assert next(calls, None) is None


@pytest.mark.parametrize("cell", [nn.RNN, nn.LSTM, nn.GRU])
def test_documents_are_read_as_if_each_stood_alone(cell):
    """Batches with carried state and resets: the losses of one pass are those of the documents, one by one."""
    owners = np.repeat(np.arange(9), [7, 1, 12, 3, 20, 5, 1, 8, 23])
    ids = IDS[: len(owners)]
    jadro.manual_seed(1)
    embedding, rnn, scores = nn.Embedding(5, 4), cell(4, 6, 2, dtype="float64"), nn.Linear(6, 5, dtype="float64")
    state, found = None, []
    for x, target, reset in stream_batches(ids, 1, 6, documents=owners):
        y, state = rnn(embedding(x).double(), state, reset=reset)
        value = F.cross_entropy(scores(y).reshape(-1, 5), target.reshape(-1), reduction="none")
        found.append(value.numpy())
    alone = []
    for owner in range(9):
        part = ids[owners == owner]
        y, _ = rnn(embedding(jadro.tensor(part[:, None])).double())
        after = np.append(part[1:], -100)
        alone.append(F.cross_entropy(scores(y).reshape(-1, 5), jadro.tensor(after), reduction="none").numpy())
    found = np.concatenate(found)
    np.testing.assert_allclose(found, np.concatenate(alone)[: len(found)], rtol=1e-12, atol=1e-14)
