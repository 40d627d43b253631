"""Vocabulary, stream batches, generation."""

import collections
import math

import numpy as np
import pytest

import jadro
from jadro import nn
from jadro.text import Vocabulary, generate, stream_batches

TEXTS = ["hello world", "a", "aaaa", "příliš žluťoučký kůň", "日本語 😀 text", "\n\t \0", "e\u0301\ud800"]


# --- vocabulary -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_encode_and_decode(text):
    vocab = Vocabulary.from_text(text)
    assert vocab.characters == "".join(sorted(set(text)))
    assert len(vocab) == len(set(text))
    ids = vocab.encode(text)
    assert (ids.dtype, ids.shape) == (np.int64, (len(text),))
    assert ids.tolist() == [vocab.characters.index(c) for c in text]
    for given in (ids, jadro.tensor(ids), ids.tolist(), ids.astype(np.int32)):
        assert vocab.decode(given) == text
    assert vocab.decode(int(ids[0])) == text[0]
    assert vocab.encode("").tolist() == []
    assert vocab.decode([]) == ""


def test_the_order_of_the_characters_is_kept():
    vocab = Vocabulary("helo")
    assert vocab.encode("hello").tolist() == [0, 1, 2, 2, 3]
    assert vocab.decode([3, 0]) == "oh"


def test_equality_and_copies(tmp_path):
    vocab = Vocabulary.from_text("hello")
    jadro.save({"vocab": vocab.to_dict()}, tmp_path / "x")
    twin = Vocabulary.from_dict(jadro.load(tmp_path / "x")["vocab"])
    assert vocab == twin
    assert hash(vocab) == hash(twin)
    assert vocab != Vocabulary("abc")
    assert repr(vocab) == "Vocabulary('ehlo')"


@pytest.mark.parametrize(
    ("error", "words", "call"),
    [
        (ValueError, "empty", lambda v: Vocabulary.from_text("")),
        (TypeError, "bytes", lambda v: Vocabulary.from_text(b"abc")),
        (ValueError, "no characters", lambda v: Vocabulary("")),
        (ValueError, "'b' is there twice", lambda v: Vocabulary("abcb")),
        (TypeError, "list", lambda v: Vocabulary(["a", "b"])),
        (ValueError, "from_dict", lambda v: Vocabulary.from_dict({"chars": "abc"})),
        (ValueError, "'x' at position 2", lambda v: v.encode("abx")),
        (ValueError, "'é' at position 0", lambda v: v.encode("éa")),
        (TypeError, "int", lambda v: v.encode(3)),
        (ValueError, "holds 3 at position 1, expected 0..2", lambda v: v.decode([0, 3])),
        (ValueError, "holds -1", lambda v: v.decode(-1)),
        (TypeError, "float32", lambda v: v.decode([0.5])),
    ],
)
def test_bad_vocabulary(error, words, call):
    with pytest.raises(error, match=words):
        call(Vocabulary("abc"))


# --- stream batches ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("n", "rows", "steps"), [(101, 4, 5), (100, 4, 5), (21, 4, 5), (50, 1, 7), (9, 8, 1), (1000, 7, 11)]
)
def test_rows_go_on_and_targets_come_next(n, rows, steps):
    batches = stream_batches(np.arange(n), rows, steps)
    pairs = list(batches)
    length = (n - 1) // rows
    assert len(pairs) == len(batches) == length // steps
    for x, y in pairs:
        assert (x.shape, y.shape, x.dtype, y.dtype) == ((steps, rows), (steps, rows), np.int64, np.int64)
        np.testing.assert_array_equal(y.numpy(), x.numpy() + 1)
    whole = np.concatenate([x.numpy() for x, _ in pairs])
    for b in range(rows):
        np.testing.assert_array_equal(whole[:, b], b * length + np.arange(len(whole)))


def test_batches_can_be_gone_through_again_and_resumed():
    batches = stream_batches(jadro.arange(100), 3, 5)
    assert batches.continuous
    expected = [x.numpy().tolist() for x, _ in batches]
    assert [x.numpy().tolist() for x, _ in batches] == expected
    iterator = iter(batches)
    next(iterator)
    state = batches.state_dict()
    twin = stream_batches(jadro.arange(100), 3, 5)
    twin.load_state_dict(state)
    assert [x.numpy().tolist() for x, _ in twin] == expected[1:]
    with pytest.raises(ValueError, match="load_state_dict"):
        stream_batches(jadro.arange(100), 3, 6).load_state_dict(state)


@pytest.mark.parametrize(
    ("error", "words", "args"),
    [
        (ValueError, "0 entries: too few, 2 rows of 3 steps need 7", ([], 2, 3)),
        (ValueError, "6 entries: too few", (np.arange(6), 2, 3)),
        (ValueError, "1 entries: too few", (Vocabulary("a").encode("a"), 1, 1)),
        (ValueError, "one axis", (np.zeros((10, 2), np.int64), 2, 3)),
        (ValueError, "batch_size is 0", (np.arange(10), 0, 3)),
        (ValueError, "steps is -1", (np.arange(10), 2, -1)),
        (TypeError, "float64", (np.arange(10.0), 2, 3)),
        (TypeError, "Vocabulary", ("some text", 2, 3)),
    ],
)
def test_bad_streams(error, words, args):
    with pytest.raises(error, match=f"stream_batches: .*{words}"):
        stream_batches(*args)


@pytest.mark.parametrize("burn_in", [0, 4])
def test_documents_become_resets(burn_in):
    """Cut by hand: a reset where another document begins, no target across the cut."""
    owners = np.repeat([5, 3, 5, 8, 8, 9], [7, 1, 30, 2, 20, 41])
    ids = np.arange(len(owners)) % 90
    batches = stream_batches(ids, 3, 6, documents=owners, burn_in=burn_in)
    assert batches.resets and batches.continuous == (burn_in == 0)
    length = (len(ids) - 1) // 3
    assert len(batches) == (length - burn_in) // 6 > 2
    for i, (x, target, reset) in enumerate(batches):
        assert x.shape == reset.shape == (burn_in + 6, 3) and target.shape == (6, 3) and reset.dtype == np.bool_
        for t, b in np.ndindex(x.shape):
            at = b * length + i * 6 + t
            first = t == 0 and (i == 0 or burn_in > 0)
            assert x.numpy()[t, b] == ids[at]
            assert reset.numpy()[t, b] == (first or at == 0 or owners[at] != owners[at - 1])
            if t >= burn_in:
                goes_on = owners[at] == owners[at + 1]
                assert target.numpy()[t - burn_in, b] == (ids[at + 1] if goes_on else -100)


def test_burn_in_steps_stand_in_front():
    batches = stream_batches(np.arange(101), 4, 5, burn_in=3)
    assert not batches.continuous and not batches.resets and len(batches) == (25 - 3) // 5
    for i, (x, target) in enumerate(batches):
        np.testing.assert_array_equal(x.numpy()[:, 1], 25 + 5 * i + np.arange(8))
        np.testing.assert_array_equal(target.numpy()[:, 1], 25 + 5 * i + np.arange(4, 9))


@pytest.mark.parametrize(
    ("error", "words", "options"),
    [
        (ValueError, r"documents has shape \(9,\), expected \(10,\)", {"documents": np.arange(9)}),
        (TypeError, "documents has dtype float64", {"documents": np.arange(10.0)}),
        (ValueError, "ids has 10 entries: too few, 2 rows of 6 steps need 13", {"burn_in": 3}),
        (ValueError, "burn_in is -1", {"burn_in": -1}),
    ],
)
def test_bad_documents_and_burn_in(error, words, options):
    with pytest.raises(error, match=f"stream_batches: {words}"):
        stream_batches(np.arange(10), 2, 3, **options)


def test_a_text_of_one_character_works():
    x, y = next(iter(stream_batches(Vocabulary("a").encode("a" * 9), 2, 4)))
    assert (x.numpy() == 0).all()
    assert (y.numpy() == 0).all()


# --- generation -------------------------------------------------------------------------------------------------------
VOCAB = Vocabulary("abcd")
SCORES = np.log([0.1, 0.2, 0.3, 0.4])


class Counter(nn.Module):
    """Says the same scores at every step; its state is the number of characters it was shown."""

    def __init__(self, scores=SCORES):
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.scores = np.asarray(scores)
        self.seen = []
        self.modes = []

    def forward(self, ids, state):
        assert ids.dtype == np.int64
        self.modes.append((self.training, self.dropout.training, jadro.is_grad_enabled()))
        self.seen.append((ids.numpy()[:, 0].tolist(), state))
        return jadro.tensor(np.tile(self.scores, (*ids.shape, 1))), (state or 0) + len(ids)


def test_every_character_is_read_once_and_the_state_is_carried():
    model = Counter()
    text = "".join(generate(model, VOCAB, "abc", 5, seed=0))
    assert len(text) == 5
    ids = VOCAB.encode(text).tolist()
    assert model.seen == [([0, 1, 2], None)] + [([i], 3 + n) for n, i in enumerate(ids[:4])]


def test_the_mode_is_restored_between_the_characters():
    model = Counter()
    model.dropout.eval()
    for _ in generate(model, VOCAB, "a", 3, seed=0):
        assert (model.training, model.dropout.training, jadro.is_grad_enabled()) == (True, False, True)
    assert model.modes == [(False, False, False)] * 3


def test_a_plain_function_will_do():
    def model(ids, state):
        return jadro.tensor(np.eye(4)[(ids.numpy() + 1) % 4] * 100), None

    assert "".join(generate(model, VOCAB, "a", 6, temperature=0)) == "bcdabc"
    assert "".join(generate(model, VOCAB, "a", 6, seed=3)) == "bcdabc"


def shares(length=4000, **options):
    counts = collections.Counter(generate(Counter(), VOCAB, "a", length, seed=1, **options))
    return np.array([counts[c] / length for c in "abcd"])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.1, 0.2, 0.3, 0.4]),
        ({"temperature": 0}, [0, 0, 0, 1]),
        ({"temperature": 0.5}, np.array([1, 4, 9, 16]) / 30),
        ({"temperature": 1e-300}, [0, 0, 0, 1]),
        ({"top_k": 1}, [0, 0, 0, 1]),
        ({"top_k": 2}, [0, 0, 3 / 7, 4 / 7]),
        ({"top_k": 9}, [0.1, 0.2, 0.3, 0.4]),
        ({"top_p": 1.0}, [0.1, 0.2, 0.3, 0.4]),
        ({"top_p": 0.71}, [0, 2 / 9, 3 / 9, 4 / 9]),
        ({"top_p": 0.69}, [0, 0, 3 / 7, 4 / 7]),
        ({"top_p": 1e-9}, [0, 0, 0, 1]),
        ({"top_k": 3, "top_p": 0.6}, [0, 0, 3 / 7, 4 / 7]),
    ],
)
def test_characters_are_drawn_by_their_probabilities(options, expected):
    got, expected = shares(**options), np.array(expected)
    np.testing.assert_array_equal(got > 0, expected > 0)
    assert (np.abs(got - expected) <= 5 * np.sqrt(expected * (1 - expected) / 4000)).all()


def test_the_seed_decides():
    def write(**options):
        return "".join(generate(Counter(), VOCAB, "a", 30, **options))

    assert write(seed=1) == write(seed=1) != write(seed=2)
    jadro.manual_seed(1)
    first = write()
    assert first != write()
    jadro.manual_seed(1)
    assert write() == first


def test_masked_characters_never_come():
    model = Counter([0.0, -math.inf, 0.0, -math.inf])
    assert set(generate(model, VOCAB, "b", 50, seed=0)) == {"a", "c"}


def test_it_runs_as_it_is_asked():
    model = Counter()
    characters = generate(model, VOCAB, "a", 10**9, seed=0)
    for _ in range(3):
        next(characters)
    assert len(model.seen) == 3
    assert list(generate(model, VOCAB, "a", 0)) == []


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_carrying_the_state_equals_reading_everything_again(kind):
    jadro.manual_seed(0)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.rnn, self.out = nn.Embedding(4, 8), getattr(nn, kind)(8, 16, 2), nn.Linear(16, 4)

        def forward(self, ids, state=None):
            y, state = self.rnn(self.embedding(ids), state)
            return self.out(y), state

    model = Net().double()
    text = "".join(generate(model, VOCAB, "abca", 20, temperature=0))
    expected = "abca"
    for _ in range(20):
        scores, _ = model(VOCAB.encode(expected)[:, None])
        expected += VOCAB.decode(int(scores.numpy()[-1, 0].argmax()))
    assert "abca" + text == expected


@pytest.mark.parametrize(
    ("error", "words", "options"),
    [
        (ValueError, "the prompt is empty", {"prompt": ""}),
        (ValueError, "'x' at position 1", {"prompt": "ax"}),
        (ValueError, "length is -1", {"length": -1}),
        (TypeError, "length is 1.5", {"length": 1.5}),
        (ValueError, "temperature is -1", {"temperature": -1}),
        (ValueError, "temperature is nan", {"temperature": math.nan}),
        (ValueError, "temperature is inf", {"temperature": math.inf}),
        (ValueError, "top_k is 0", {"top_k": 0}),
        (ValueError, "top_p is 0", {"top_p": 0}),
        (ValueError, "top_p is 1.1", {"top_p": 1.1}),
    ],
)
def test_bad_options_are_refused_at_once(error, words, options):
    model = Counter()
    with pytest.raises(error, match=words):
        generate(model, VOCAB, **{"prompt": "a", "length": 3, **options})
    assert not model.seen


@pytest.mark.parametrize("scores", [[0.0, math.nan, 0.0, 0.0], [0.0, math.inf, 0.0, 0.0], [-math.inf] * 4, [0.0] * 3])
def test_bad_scores(scores):
    model = Counter(scores)
    with pytest.raises(ValueError, match="generate: the model"):
        next(generate(model, VOCAB, "a", 3))
    assert model.training
