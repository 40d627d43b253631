"""The examples, run as a user runs them, small."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import jadro
import jadro.nn.functional as F
from jadro import nn, optim, text

ROOT = Path(__file__).parent.parent
WORDS = "the quick brown fox jumps over the lazy dog. " * 60
SMALL = ["--hidden", "12", "--embedding", "6", "--batch", "4", "--length", "8", "--every", "5", "--write", "20"]


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "examples" / script, *arguments]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120)


@pytest.fixture
def words(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text(WORDS)
    return path


def char_lm(out, words, *arguments):
    return run("char_lm.py", "--text", words, "--out", out, *SMALL, *arguments)


# --- the character model ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_char_lm_learns_draws_and_writes(tmp_path, words, cell):
    done = char_lm(tmp_path / "out", words, "--steps", 10, "--cell", cell)
    assert done.returncode == 0, done.stderr
    assert re.search(r"held back: \d\.\d+ nats, \d\.\d+ bits a character after 10 steps", done.stdout)
    assert (tmp_path / "out" / "char_lm.png").read_bytes().startswith(b"\x89PNG")
    passage = done.stdout.rsplit("\n\n", 1)[1].rstrip("\n")
    assert passage.startswith("the quic") and len(passage) == 28
    history = jadro.load(tmp_path / "out" / "char_lm.safetensors")["trainer"]["history"]
    assert history["step"] == [5, 10] and history["val_loss"][1] < history["val_loss"][0]


def test_char_lm_resumes_with_the_numbers_of_an_unbroken_run(tmp_path, words):
    """The learning rate follows the steps done of all steps, so that both runs are told the same total."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert char_lm(whole, words, "--steps", 10).returncode == 0
    # Interrupted in step 8: the checkpoint is that of step 5.
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'examples')!r}); import char_lm; from jadro import train\n"
        "step = train.Trainer._train\n"
        "def stop(self, *a):\n"
        "    if self.step == 7: raise KeyboardInterrupt\n"
        "    return step(self, *a)\n"
        "train.Trainer._train = stop\n"
        "char_lm.main(sys.argv[1:])\n"
    )
    command = [sys.executable, "-c", script, "--text", words, "--out", broken, *SMALL, "--steps", "10"]
    stopped = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=120)
    assert stopped.returncode == 1 and "--resume" in stopped.stderr
    assert jadro.load(broken / "char_lm.safetensors")["trainer"]["step"] == 5
    resumed = char_lm(broken, words, "--steps", 10, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    ends = [jadro.load(folder / "char_lm.safetensors") for folder in (whole, broken)]
    assert ends[0]["trainer"]["history"] == ends[1]["trainer"]["history"]
    for name, value in ends[0]["model"].items():
        np.testing.assert_array_equal(np.asarray(value), np.asarray(ends[1]["model"][name]), err_msg=name)


def test_char_lm_samples_from_the_checkpoint(tmp_path, words):
    assert char_lm(tmp_path / "out", words, "--steps", 5).returncode == 0
    first, second = (run("char_lm.py", "--out", tmp_path / "out", "--sample", "the", "--write", 30) for _ in range(2))
    assert first.returncode == 0 and first.stdout == second.stdout
    assert first.stdout.startswith("the") and len(first.stdout) == 3 + 30 + 1
    unknown = run("char_lm.py", "--out", tmp_path / "out", "--sample", "Ω")
    assert unknown.returncode == 1 and "Ω" in unknown.stderr


def test_char_lm_keeps_the_checkpoint_when_interrupted(tmp_path, words):
    checkpoint = tmp_path / "out" / "char_lm.safetensors"
    command = [sys.executable, ROOT / "examples" / "char_lm.py", "--text", words, "--out", tmp_path / "out", *SMALL]
    process = subprocess.Popen(
        [str(c) for c in [*command, "--steps", "1000000"]], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which a shell ignores in the background
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1 and "interrupted; go on with --resume" in error
    assert "Traceback" not in error
    assert jadro.load(checkpoint)["trainer"]["step"] >= 5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0 distinct characters"),
        (b"aaaaaaaaaaaaaaaa", "1 distinct characters"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"too short", "too few"),
        (None, "cannot be read"),
    ],
)
def test_char_lm_says_what_is_wrong_with_a_text(tmp_path, content, message):
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    done = char_lm(tmp_path / "out", path, "--steps", 2)
    assert done.returncode == 1
    assert message in done.stderr and "Traceback" not in done.stderr


def test_char_lm_says_what_is_wrong_with_a_checkpoint(tmp_path, words):
    missing = run("char_lm.py", "--out", tmp_path / "none", "--sample", "a")
    assert missing.returncode == 1 and "checkpoint" in missing.stderr
    out = tmp_path / "out"
    assert char_lm(out, words, "--steps", 5).returncode == 0
    whole = (out / "char_lm.safetensors").read_bytes()
    (out / "char_lm.safetensors").write_bytes(whole[: len(whole) // 2])
    for arguments in (["--sample", "the"], ["--resume", "--steps", 9]):
        done = char_lm(out, words, *arguments)
        assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert (out / "char_lm.safetensors").read_bytes() == whole[: len(whole) // 2]


def test_char_lm_trains_as_pytorch_does():
    """The same data, weights and settings, without dropout: the losses of 25 steps with carried state agree."""
    torch = pytest.importorskip("torch")
    import char_lm

    vocab = text.Vocabulary.from_text(WORDS)
    batches = text.stream_batches(vocab.encode(WORDS), 5, 20)
    jadro.manual_seed(3)
    model = char_lm.CharModel(vocab.characters, "lstm", 8, 24, 2, 0.0)
    embedding, rnn = torch.nn.Embedding(len(vocab), 8), torch.nn.LSTM(8, 24, 2)
    scores = torch.nn.Linear(24, len(vocab))
    for name, module in (("embedding", embedding), ("rnn", rnn), ("scores", scores)):
        ours = getattr(model, name).state_dict()
        module.load_state_dict({key: torch.tensor(np.asarray(value)) for key, value in ours.items()})
    theirs = [*embedding.parameters(), *rnn.parameters(), *scores.parameters()]
    adam, torch_adam = optim.Adam(model.parameters(), lr=2e-3), torch.optim.Adam(theirs, lr=2e-3)
    state = torch_state = None
    for step, (x, y) in zip(range(25), batches, strict=False):
        out, state = model(x, state)
        loss = F.cross_entropy(out.reshape(-1, len(vocab)), y.reshape(-1))
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        state = tuple(s.detach() for s in state)
        ids, target = torch.tensor(x.numpy()), torch.tensor(y.numpy())
        hidden, torch_state = rnn(embedding(ids), torch_state)
        torch_loss = torch.nn.functional.cross_entropy(scores(hidden).flatten(0, 1), target.flatten())
        torch_adam.zero_grad()
        torch_loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs, 1.0)
        torch_adam.step()
        torch_state = tuple(s.detach() for s in torch_state)
        assert loss.item() == pytest.approx(torch_loss.item(), rel=2e-5), step
    assert step == 24


def test_the_rate_follows_the_budget(monkeypatch):
    """Up, level, down to a fiftieth; by steps or by the clock, whichever is further."""
    import schedule

    factor = schedule.over_budget(100, None, warmup=0.2, hold=0.5)
    assert [factor(n) for n in (0, 10, 20, 50)] == pytest.approx([0.02, 0.51, 1.0, 1.0])
    assert [factor(n) for n in (75, 100, 120)] == pytest.approx([0.51, 0.02, 0.02])
    clock = iter([0.0, 30.0, 90.0, 30.0])
    monkeypatch.setattr(schedule.time, "monotonic", lambda: next(clock))
    factor = schedule.over_budget(100, 2.0, warmup=0.0, hold=0.5)
    assert [factor(n) for n in (1, 1, 100)] == pytest.approx([1.0, 0.51, 0.02])


# --- gradient flow ---------------------------------------------------------------------------------------------------


def test_gradient_flow_shows_what_vanishes_and_explodes(tmp_path):
    done = run("gradient_flow.py", "--steps", 40, "--hidden", 16, "--gains", 0.5, 3, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "gradient_flow.png").read_bytes().startswith(b"\x89PNG")
    lines = re.findall(r"(\w+) +gain (\S+): (\S+) at the last step, (\S+) at the first", done.stdout)
    change = {(kind, float(gain)): float(first) / float(last) for kind, gain, last, first in lines}
    assert change["RNN", 0.5] < 1e-10 and change["RNN", 3.0] > 1e2
    assert len(change) == 6 and all(1e-3 < change[kind, 0.5] < 10 for kind in ("LSTM", "GRU"))


# --- the recurrent policy --------------------------------------------------------------------------------------------


def test_recurrent_rl_learns_draws_and_compares(tmp_path):
    small = ["--environments", 8, "--length", 64, "--delay", 3, "--hidden", 24, "--lr", 0.01]
    done = run("recurrent_rl.py", "--steps", 60, *small, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "recurrent_rl.png").read_bytes().startswith(b"\x89PNG")
    rates = {
        name: float(number.replace(",", ""))
        for name, number in re.findall(r"^(\w[\w ]+?) +([\d.,]+)$", done.stdout, re.M)
    }
    assert rates["random"] == 0.25 and rates["LSTM"] > 0.6
    assert rates["one call"] > rates["step by step"]


def test_recurrent_rl_asks_after_every_delay_and_pays_for_the_symbol():
    import recurrent_rl

    task = recurrent_rl.Recall(50, 5, np.random.default_rng(0))
    shown, waited, delays = task.symbol.copy(), np.zeros(50, int), set()
    for _ in range(60):
        asked = task.seen[:, -1] == 1
        assert (task.seen[:, :4].sum(1) == ~asked).all()
        action = np.where(np.arange(50) % 2 == 0, shown, (shown + 1) % 4)
        reward, ended = task.step(action)
        np.testing.assert_array_equal(ended, asked)
        np.testing.assert_array_equal(reward, asked & (np.arange(50) % 2 == 0))
        delays |= set(waited[ended])
        waited = np.where(ended, 0, waited + 1)
        shown = np.where(ended, task.seen[:, :4].argmax(1), shown)
        np.testing.assert_array_equal(task.seen[:, 4] == 1, ended)
    assert delays == {2, 3, 4, 5}


def test_recurrent_rl_sums_its_advantages_within_episodes():
    import recurrent_rl

    reward, value = np.array([[0.0], [1.0], [2.0]]), np.array([[0.3], [0.5], [0.7]])
    found = recurrent_rl.advantages(reward, value, np.array([[False], [True], [False]]), np.array([0.9]))
    g, k = recurrent_rl.DISCOUNT, recurrent_rl.DISCOUNT * recurrent_rl.TRACE
    last = 1 - 0.5
    np.testing.assert_allclose(found[:, 0], [g * 0.5 - 0.3 + k * last, last, 2 + g * 0.9 - 0.7])


# --- the residual network --------------------------------------------------------------------------------------------


def idx_files(folder, images=96):
    """A tiny set in Fashion-MNIST's files: the class is where the bright square stands."""
    import gzip

    folder.mkdir()
    rng = np.random.default_rng(0)
    for part in ("train", "t10k"):
        labels = rng.integers(0, 10, images).astype(np.uint8)
        pixels = rng.integers(0, 60, (images, 28, 28)).astype(np.uint8)
        for image, label in zip(pixels, labels, strict=True):
            image[4 + label * 2 : 8 + label * 2, 8:20] = 255
        for name, array, kind in ((f"{part}-images-idx3", pixels, 3), (f"{part}-labels-idx1", labels, 1)):
            head = bytes([0, 0, 8, kind]) + np.array(array.shape, ">i4").tobytes()
            (folder / f"{name}-ubyte.gz").write_bytes(gzip.compress(head + array.tobytes()))


def test_fashion_mnist_trains_draws_and_resumes(tmp_path):
    idx_files(tmp_path / "data")
    options = ["--data", tmp_path / "data", "--out", tmp_path / "out", "--batch", 32]
    first = run("fashion_mnist.py", *options, "--epochs", 1)
    assert first.returncode == 0, first.stderr
    assert re.search(r"test accuracy: \d+\.\d+% after 3 steps", first.stdout)
    for name in ("confusion", "filters"):
        assert (tmp_path / "out" / f"fashion_mnist_{name}.png").read_bytes().startswith(b"\x89PNG")
    second = run("fashion_mnist.py", *options, "--epochs", 2, "--resume")
    assert "after 6 steps" in second.stdout, second.stderr


def test_fashion_mnist_takes_the_digits_where_it_is_not_installed(monkeypatch, capsys):
    pytest.importorskip("sklearn")
    import fashion_mnist

    monkeypatch.setattr(fashion_mnist, "INSTALLED", Path("/nowhere"))
    ((x, y), (xt, yt)), names = fashion_mnist.load_data(None)
    assert x.shape == (1437, 1, 8, 8) and xt.shape == (360, 1, 8, 8) and len(names) == 10
    assert set(y) == set(yt) == set(range(10))
    assert "dataset-fashion-mnist" in capsys.readouterr().out


def test_fashion_mnist_moves_its_images_by_two_pixels_at_most():
    import fashion_mnist

    x = np.zeros((40, 1, 28, 28), np.float32)
    x[:, 0, 10, 14] = 1.0
    batches = fashion_mnist.Augmented(jadro.data.TensorDataset(x, np.zeros(40, np.int64)), 40, seed=0, flip=False)
    moved, _ = batches.batch(0, 0)
    again, _ = batches.batch(0, 0)
    np.testing.assert_array_equal(moved.numpy(), again.numpy())
    rows, columns = np.nonzero(moved.numpy()[:, 0])[1:]
    assert len(rows) == 40 and set(rows) == set(range(8, 13)) and set(columns) == set(range(12, 17))


def test_fashion_mnist_says_what_is_wrong_with_its_files(tmp_path):
    (tmp_path / "data").mkdir()
    done = run("fashion_mnist.py", "--data", tmp_path / "data", "--out", tmp_path / "out")
    assert done.returncode == 1 and "cannot be read" in done.stderr and "Traceback" not in done.stderr


# --- the README ------------------------------------------------------------------------------------------------------


def test_the_example_of_the_readme_runs():
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S).group(1)
    assert len(code.strip().splitlines()) <= 15
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[1]) < 0.3
