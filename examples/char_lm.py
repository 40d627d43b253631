"""Trains a character language model by truncated backpropagation through time and writes text with it.

python examples/char_lm.py                     four minutes on the documentation that every Python carries
python examples/char_lm.py --text novel.txt    another text (UTF-8)
python examples/char_lm.py --resume            goes on where the last run stopped
python examples/char_lm.py --sample "import "  only writes, from the checkpoint

The text is read as --batch streams side by side, --length characters a step. The recurrent state goes on from step to
step; the gradient is cut between them. The last 5 % of the text are held back for validation. The checkpoint and the
loss curve are kept in --out.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from schedule import over_budget

import jadro
import jadro.nn.functional as F
from jadro import nn, optim, text, train

CELLS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
GATES = {1: "rnn", 4: "lstm", 3: "gru"}
HELD_BACK = 0.05


class CharModel(nn.Module):
    """scores, state = model(ids [T, B], state): embedding, recurrent layers, one score for each character.

    The characters are a buffer of their code points, so that a checkpoint holds all that writing takes.
    """

    def __init__(
        self, characters: str, cell: str = "lstm", embedding: int = 64, hidden: int = 256, layers: int = 2,
        dropout: float = 0.2,
    ) -> None:  # fmt: skip
        super().__init__()
        self.register_buffer("code_points", jadro.tensor(np.array([ord(c) for c in characters], np.int64)))
        self.embedding = nn.Embedding(len(characters), embedding)
        self.rnn = CELLS[cell](embedding, hidden, layers, dropout=dropout if layers > 1 else 0.0)
        self.dropout = nn.Dropout(dropout)
        self.scores = nn.Linear(hidden, len(characters))

    def forward(self, ids: Any, state: Any = None) -> Any:
        y, state = self.rnn(self.embedding(ids), state)
        return self.scores(self.dropout(y)), state


def loss(scores: jadro.Tensor, target: jadro.Tensor) -> jadro.Tensor:
    """Nats a character."""
    return F.cross_entropy(scores.reshape(-1, scores.shape[-1]), target.reshape(-1))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--text", type=Path, metavar="FILE", help="UTF-8 text to learn (default: the documentation in Python itself)")
    add("--cell", choices=CELLS, default="lstm", help="with --resume, the checkpoint's (default: lstm)")
    add("--steps", type=int, metavar="N", help="stop after N steps, those before --resume counted")
    add("--minutes", type=float, metavar="M", help="stop after M minutes (default: 4, or no limit with --steps)")
    add("--seed", type=int, default=0, help="of weights, dropout and samples (default: 0)")
    add("--resume", action="store_true", help="go on from the checkpoint, with its model")
    add("--sample", metavar="PROMPT", help="write text after PROMPT from the checkpoint, without training")
    add("--device", default="cpu", help="cpu or cuda (default: cpu)")
    add("--out", type=Path, default=Path("out"), metavar="DIR", help="where checkpoint and curve go (default: out)")
    add("--temperature", type=float, default=0.7, help="of samples; 0 takes the best character (default: 0.7)")
    add("--dropout", type=float, default=0.2, help="between the layers (default: 0.2)")
    add("--lr", type=float, default=5e-3, help="learning rate of Adam in the first half of the run (default: 0.005)")
    for name, value, what in (
        ("every", 200, "steps between validations, samples and checkpoints"),
        ("write", 400, "characters of the passage at the end"),
        ("embedding", 64, "numbers a character is turned into"),
        ("hidden", 256, "units of a layer"),
        ("layers", 2, "recurrent layers"),
        ("batch", 50, "streams that are read side by side"),
        ("length", 64, "characters a step"),
    ):
        add(f"--{name}", type=int, default=value, metavar="N", help=f"{what} (default: {value})")
    options = parser.parse_args(arguments)
    for name in ("steps", "minutes", "every", "write", "embedding", "hidden", "layers", "batch", "length", "lr"):
        value = getattr(options, name)
        if value is not None and not 0 < value < math.inf:
            parser.error(f"--{name} is {value}, expected a positive number")
    if options.minutes is None and options.steps is None:
        options.minutes = 4.0
    return options


def read_text(path: Path | None) -> str:
    """The text to learn; ValueError where it cannot be read, or has nothing to learn."""
    if path is None:
        from pydoc_data.topics import topics

        return "\n\n".join(topics[name] for name in sorted(topics))
    try:
        found = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--text {path} cannot be read: {error}") from None
    if len(set(found)) < 2:
        raise ValueError(f"--text {path} has {len(set(found))} distinct characters, expected at least 2")
    return found


def batches_of(ids: np.ndarray, batch: int, length: int) -> tuple[text.StreamBatches, text.StreamBatches]:
    """Streams of the text to learn, and of the part that is held back; ValueError where it is too short for them."""
    cut = len(ids) - int(len(ids) * HELD_BACK)
    held_length = max(1, min(length, len(ids) - cut - 1))
    held_streams = max(1, min(batch, (len(ids) - cut) // (16 * length)))
    try:
        return (
            text.stream_batches(ids[:cut], batch, length),
            text.stream_batches(ids[cut:], held_streams, held_length),
        )
    except ValueError:
        raise ValueError(
            f"the text has {len(ids)} characters: too few for --batch {batch} --length {length}, which need about "
            f"{math.ceil(max(40, (batch * length + 1) / (1 - HELD_BACK)))}"
        ) from None


def restored(path: Path, dropout: float) -> tuple[CharModel, text.Vocabulary]:
    """The model of a checkpoint, whose shape is read off its weights; ValueError where there is none."""
    try:
        weights = jadro.load(path)["model"]
        vocab = text.Vocabulary("".join(map(chr, weights["code_points"].numpy())))
        rows, hidden = weights["rnn.weight_hh_l0"].shape
        layers = sum(name.startswith("rnn.weight_hh") for name in weights)
        embedding = weights["embedding.weight"].shape[1]
        model = CharModel(vocab.characters, GATES[rows // hidden], embedding, hidden, layers, dropout)
        model.load_state_dict(weights)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"--out {path.parent} has no checkpoint to go on from: {error}") from None
    return model, vocab


def write(model: CharModel, vocab: text.Vocabulary, prompt: str, length: int, options: argparse.Namespace) -> str:
    return prompt + "".join(
        text.generate(model, vocab, prompt, length, temperature=options.temperature, seed=options.seed)
    )


def bits(nats: float) -> float:
    return nats / math.log(2)


def make_log(sample: Callable[[], str]) -> Callable[[dict[str, Any]], str | None]:
    """What the trainer shows: nats, bits and speed in the bar; a line and a sample at every record."""

    def log(entry: dict[str, Any]) -> str | None:
        if "val_loss" not in entry:
            nats = entry["loss"]
            return f"{nats:.3f} nats {bits(nats):.3f} bits a character, {entry['rate']:,.0f} characters/s"
        from tqdm import tqdm

        held = entry["val_loss"]
        tqdm.write(f"step {entry['step']}: {entry['loss']:.3f} nats, held back {held:.3f} nats ({bits(held):.3f} bits)")
        tqdm.write(f"    {sample()!r}")
        return None

    return log


def draw(history: dict[str, list[Any]], path: Path) -> None:
    """The loss curve as PNG; says so where matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        print(f"{path} is not drawn: matplotlib is not installed (pip install '.[examples]')")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    axes.plot(history["step"], history["loss"], marker=".", label="training")
    axes.plot(history["step"], history["val_loss"], marker=".", label="held back")
    axes.set(xlabel="step", ylabel="nats a character", title="Character model")
    axes.secondary_yaxis("right", functions=(bits, lambda b: b * math.log(2))).set_ylabel("bits a character")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)
    print(f"loss curve: {path}")


def learn(options: argparse.Namespace, path: Path) -> None:
    """Trains, from the start or from the checkpoint at `path`, and writes a passage."""
    passage = read_text(options.text)
    jadro.manual_seed(options.seed)
    if options.resume:
        model, vocab = restored(path, options.dropout)
    else:
        vocab = text.Vocabulary.from_text(passage)
        shape = (options.embedding, options.hidden, options.layers, options.dropout)
        model = CharModel(vocab.characters, options.cell, *shape)
    ids = vocab.encode(passage)
    batches, held_back = batches_of(ids, options.batch, options.length)
    model.to(device=options.device)
    optimizer = optim.Adam(model.parameters(), lr=options.lr)
    trainer = train.Trainer(
        model,
        loss,
        optimizer,
        clip_norm=1.0,
        scheduler=optim.lr_scheduler.LambdaLR(optimizer, over_budget(options.steps, options.minutes, 0.0, 0.5)),
        scheduler_every="step",
        checkpoint=path,
        log=make_log(lambda: write(model, vocab, passage[:8], 100, options)),
    )
    print(f"{len(ids):,} characters, {len(vocab)} distinct; {sum(p.numel() for p in model.parameters()):,} parameters")
    print(model.rnn)
    limits = {"every": options.every, "steps": options.steps, "minutes": options.minutes}
    history = trainer.fit(batches, sys.maxsize, held_back, resume=options.resume, **limits)
    nats = history["val_loss"][-1]
    print(f"held back: {nats:.4f} nats, {bits(nats):.4f} bits a character after {trainer.step} steps")
    draw(history, path.with_suffix(".png"))
    print(f"checkpoint: {path}\n\n{write(model, vocab, passage[:8], options.write, options)}")


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    path = options.out / "char_lm.safetensors"
    try:
        if options.sample is not None:
            model, vocab = restored(path, options.dropout)
            print(write(model.to(device=options.device), vocab, options.sample, options.write, options))
        else:
            learn(options, path)
    except KeyboardInterrupt:
        kept = f"go on with --resume from {path}" if path.exists() else "before the first checkpoint"
        raise SystemExit(f"char_lm: interrupted; {kept}") from None
    except (OSError, RuntimeError, ValueError) as error:
        raise SystemExit(f"char_lm: {error}") from None


if __name__ == "__main__":
    main()
