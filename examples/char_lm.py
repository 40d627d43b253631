"""Trains a character language model by truncated backpropagation through time and writes text with it.

python examples/char_lm.py                     four minutes on the documentation that every Python carries
python examples/char_lm.py --text novel.txt    another text (UTF-8)
python examples/char_lm.py --resume            goes on where the last run stopped
python examples/char_lm.py --sample "import "  only writes, from the checkpoint

The text is read as `--batch` streams side by side, `--length` characters a step; the recurrent state goes on from step
to step, the gradient is cut
between them. The last 5 % of the text are held back for validation. The checkpoint and the loss curve are kept in
--out.
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
HELD_BACK = 0.05
SHAPE = ("cell", "embedding", "hidden", "layers", "dropout")  # of the model: kept beside the checkpoint


class CharModel(nn.Module):
    """scores, state = model(ids [T, B], state): embedding, recurrent layers, one score for each character."""

    def __init__(self, characters: int, cell: str, embedding: int, hidden: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, embedding)
        self.rnn = CELLS[cell](embedding, hidden, layers, dropout=dropout if layers > 1 else 0.0)
        self.dropout = nn.Dropout(dropout)
        self.scores = nn.Linear(hidden, characters)

    def forward(self, ids: Any, state: Any = None) -> Any:
        y, state = self.rnn(self.embedding(ids), state)
        return self.scores(self.dropout(y)), state


def loss(scores: jadro.Tensor, target: jadro.Tensor) -> jadro.Tensor:
    """Nats a character."""
    return F.cross_entropy(scores.reshape(-1, scores.shape[-1]), target.reshape(-1))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], formatter_class=argparse.RawTextHelpFormatter)
    add = parser.add_argument
    add("--text", type=Path, metavar="FILE", help="UTF-8 text to learn (default: the documentation in Python itself)")
    add("--cell", choices=CELLS, default="lstm")
    add("--steps", type=int, metavar="N", help="stop after N steps (default: after --minutes)")
    add("--minutes", type=float, metavar="M", help="stop after M minutes (default: 4, or no limit with --steps)")
    add("--seed", type=int, default=0)
    add("--resume", action="store_true", help="go on from the checkpoint")
    add("--sample", metavar="PROMPT", help="write text after PROMPT from the checkpoint, without training")
    add("--device", default="cpu", help="cpu or cuda")
    add("--out", type=Path, default=Path("out"), metavar="DIR", help="where checkpoint and curve go (default: out)")
    add("--every", type=int, default=200, metavar="N", help="steps between validations, samples and checkpoints")
    add("--write", type=int, default=400, metavar="N", help="characters of the passage at the end")
    add("--temperature", type=float, default=0.7)
    for name, value, what in (
        ("embedding", 64, "numbers a character is turned into"),
        ("hidden", 256, "units of a layer"),
        ("layers", 2, "recurrent layers"),
        ("batch", 50, "streams that are read side by side"),
        ("length", 64, "characters a step"),
    ):
        add(f"--{name}", type=int, default=value, metavar="N", help=f"{what} (default: {value})")
    add("--dropout", type=float, default=0.2)
    add("--lr", type=float, default=2e-3)
    options = parser.parse_args(arguments)
    for name in ("steps", "minutes", "every", "write", "embedding", "hidden", "layers", "batch", "length", "lr"):
        value = getattr(options, name)
        if value is not None and not value > 0:
            parser.error(f"--{name} is {value}, expected a positive number")
    if options.minutes is None and options.steps is None:
        options.minutes = 4.0
    return options


def read_text(path: Path | None) -> str:
    """The text to learn; SystemExit where it cannot be read."""
    if path is None:
        from pydoc_data.topics import topics

        return "\n\n".join(topics[name] for name in sorted(topics))
    try:
        found = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SystemExit(f"char_lm: --text {path} cannot be read: {error}") from None
    if len(set(found)) < 2:
        raise SystemExit(f"char_lm: --text {path} has {len(set(found))} distinct characters, expected at least 2")
    return found


def batches_of(ids: np.ndarray, options: argparse.Namespace) -> tuple[Any, Any]:
    """Streams of the text to learn, and of the part that is held back; SystemExit where it is too short for them."""
    cut = len(ids) - int(len(ids) * HELD_BACK)
    held_streams = max(1, min(options.batch, (len(ids) - cut) // (4 * options.length)))
    try:
        return (
            text.stream_batches(ids[:cut], options.batch, options.length),
            text.stream_batches(ids[cut:], held_streams, min(options.length, max(1, len(ids) - cut - 1))),
        )
    except ValueError as error:
        raise SystemExit(
            f"char_lm: the text has {len(ids)} characters, too few for --batch {options.batch} --length "
            f"{options.length}: {error}"
        ) from None


def written(model: nn.Module, vocab: text.Vocabulary, prompt: str, options: argparse.Namespace, length: int) -> str:
    try:
        return prompt + "".join(
            text.generate(model, vocab, prompt, length, temperature=options.temperature, seed=options.seed)
        )
    except ValueError as error:
        raise SystemExit(f"char_lm: {error}") from None


def restore(options: argparse.Namespace) -> tuple[text.Vocabulary, dict[str, Any]]:
    """Vocabulary and shape of the model of the checkpoint; SystemExit where there is none."""
    path = options.out / "char_lm.model.safetensors"
    try:
        kept = jadro.load(path)
        return text.Vocabulary.from_dict(kept["vocabulary"]), {name: kept[name] for name in SHAPE}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SystemExit(f"char_lm: no model to go on with in --out {options.out}: {error}") from None


def load_model(options: argparse.Namespace) -> tuple[nn.Module, text.Vocabulary]:
    vocab, shape = restore(options)
    model = CharModel(len(vocab), **shape).to(options.device)
    try:
        model.load_state_dict(jadro.load(options.out / "char_lm.safetensors")["model"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SystemExit(f"char_lm: the checkpoint in --out {options.out} cannot be used: {error}") from None
    return model, vocab


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
    axes.plot(history["step"], history["loss"], label="training")
    axes.plot(history["step"], history["val_loss"], label="held back")
    axes.set(xlabel="step", ylabel="nats a character", title="Character model")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)
    print(f"loss curve: {path}")


def make_log(model: nn.Module, vocab: text.Vocabulary, prompt: str, options: argparse.Namespace) -> Callable[..., Any]:
    """What the trainer shows: nats, bits and speed in the bar; a line and a sample at every record."""

    def log(entry: dict[str, Any]) -> str | None:
        if "val_loss" not in entry:
            nats = entry["loss"]
            return f"{nats:.3f} nats {nats / math.log(2):.3f} bits a character, {entry['rate']:,.0f} characters/s"
        from tqdm import tqdm

        held = entry["val_loss"]
        tqdm.write(
            f"step {entry['step']}: {entry['loss']:.3f} nats, held back {held:.3f} nats ({held / math.log(2):.3f} bits)"
        )
        tqdm.write(f"    {written(model, vocab, prompt, options, 100)!r}")
        return None

    return log


def learn(options: argparse.Namespace) -> None:
    """Trains, from the start or from the checkpoint, and writes a passage."""
    passage = read_text(options.text)
    jadro.manual_seed(options.seed)
    if options.resume:
        vocab, shape = restore(options)
    else:
        vocab, shape = text.Vocabulary.from_text(passage), {name: getattr(options, name) for name in SHAPE}
    try:
        ids = vocab.encode(passage)
    except ValueError as error:
        raise SystemExit(f"char_lm: the text is not the one of the checkpoint: {error}") from None
    batches, held_back = batches_of(ids, options)
    model = CharModel(len(vocab), **shape).to(options.device)
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.resume:
        (options.out / "char_lm.safetensors").unlink(missing_ok=True)
        jadro.save({"vocabulary": vocab.to_dict(), **shape}, options.out / "char_lm.model.safetensors")
    optimizer = optim.Adam(model.parameters(), lr=options.lr)
    prompt = passage[: min(len(passage), 8)]
    trainer = train.Trainer(
        model,
        loss,
        optimizer,
        clip_norm=1.0,
        scheduler=optim.lr_scheduler.LambdaLR(optimizer, over_budget(options.steps, options.minutes)),
        scheduler_every="step",
        checkpoint=options.out / "char_lm.safetensors",
        log=make_log(model, vocab, prompt, options),
    )
    print(f"{len(ids):,} characters, {len(vocab)} distinct; {sum(p.numel() for p in model.parameters()):,} parameters")
    try:
        history = trainer.fit(
            batches, 10**6, held_back, every=options.every, steps=options.steps, minutes=options.minutes
        )
    except KeyboardInterrupt:
        kept = trainer.checkpoint is not None and trainer.checkpoint.exists()
        raise SystemExit(
            f"interrupted; go on with --resume from {trainer.checkpoint}" if kept else "interrupted before a checkpoint"
        ) from None
    except ValueError as error:
        raise SystemExit(f"char_lm: {error}") from None
    if not history["val_loss"]:
        raise SystemExit(f"char_lm: nothing left to do: the checkpoint has {trainer.step} steps already")
    nats = history["val_loss"][-1]
    print(f"held back: {nats:.4f} nats, {nats / math.log(2):.4f} bits a character after {trainer.step} steps")
    draw(history, options.out / "char_lm.png")
    print(f"checkpoint: {trainer.checkpoint}\n\n{written(model, vocab, prompt, options, options.write)}")


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    if options.sample is not None:
        model, vocab = load_model(options)
        print(written(model, vocab, options.sample, options, options.write))
    else:
        learn(options)


if __name__ == "__main__":
    sys.exit(main())
