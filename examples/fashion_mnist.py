"""Trains a small residual network on Fashion-MNIST and draws its confusion matrix and first filters.

python examples/fashion_mnist.py               twelve minutes
python examples/fashion_mnist.py --resume      goes on where the last run stopped

Fashion-MNIST is Debian's package dataset-fashion-mnist, or --data DIR with its four idx files; where neither is there,
scikit-learn's digits are taken instead. The network is a stem of convolution and pooling, three stages of 32, 64 and
128 channels, each with a residual block, and the mean over the image.
"""

from __future__ import annotations

import argparse
import gzip
import sys
from pathlib import Path
from typing import Any

import numpy as np
from schedule import over_budget

import jadro
from jadro import data, nn, optim, train

INSTALLED = Path("/usr/share/datasets/fashion-mnist")
FASHION = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
Arrays = tuple[np.ndarray, np.ndarray]


def read_idx(path: Path) -> np.ndarray:
    """An array of the idx format (LeCun's MNIST page): two zero bytes, type, rank, big-endian sizes, elements."""
    raw = gzip.decompress(path.read_bytes())
    rank = raw[3]
    shape = np.frombuffer(raw, ">i4", rank, 4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)


def fashion(folder: Path) -> tuple[Arrays, Arrays]:
    """Training and test images [N, 1, 28, 28], standardised, and labels; ValueError where they cannot be read."""
    try:
        (x, y), (xt, yt) = ([read_idx(folder / name) for name in FILES[part]] for part in ("train", "test"))
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise ValueError(f"--data {folder} cannot be read: {error}") from None
    mean, std = x.mean() / 255, x.std() / 255
    images = [((a[:, None] / np.float32(255) - mean) / std).astype(np.float32) for a in (x, xt)]
    return (images[0], y.astype(np.int64)), (images[1], yt.astype(np.int64))


def digits() -> tuple[Arrays, Arrays]:
    """scikit-learn's 1,797 digits of 8x8; the last 360 are the test set."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise RuntimeError("neither Fashion-MNIST nor scikit-learn is installed: pip install '.[examples]'") from None
    found = load_digits()
    x, y = (found.images[:, None] / 8 - 1).astype(np.float32), found.target.astype(np.int64)
    return (x[:-360], y[:-360]), (x[-360:], y[-360:])


def load_data(folder: Path | None) -> tuple[tuple[Arrays, Arrays], tuple[str, ...]]:
    """The data, and the names of the classes."""
    if folder is not None or INSTALLED.is_dir():
        return fashion(folder or INSTALLED), FASHION
    print(
        "Fashion-MNIST is not installed (apt-get install dataset-fashion-mnist, or --data DIR): "
        "scikit-learn's digits instead"
    )
    return digits(), tuple(str(i) for i in range(10))


class Augmented(data.DataLoader):
    """Shuffled batches, each image moved by up to two pixels and, where `flip`, mirrored half the time."""

    def __init__(self, dataset: Any, batch_size: int, seed: int, flip: bool) -> None:
        super().__init__(dataset, batch_size, shuffle=True, drop_last=True, seed=seed)
        self.flip = flip

    def batch(self, epoch: int, i: int) -> Any:
        x, y = super().batch(epoch, i)
        rng = np.random.default_rng((self.seed, epoch, i))
        n, _, height, width = x.shape
        padded = np.pad(x.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)), constant_values=x.numpy().min())
        row = rng.integers(0, 5, (n, 1, 1)) + np.arange(height)[:, None]
        column = rng.integers(0, 5, (n, 1, 1)) + np.arange(width)
        moved = padded[np.arange(n)[:, None, None], 0, row, column]
        if self.flip:
            mirrored = rng.random(n) < 0.5
            moved[mirrored] = moved[mirrored, :, ::-1]
        return jadro.as_tensor(np.ascontiguousarray(moved[:, None])), y


def block(channels: int, out: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(channels, out, 3, stride, padding=1, bias=False), nn.BatchNorm2d(out)]


def stage(channels: int, out: int) -> list[nn.Module]:
    """A convolution to more channels, then y = relu(x + body(x))."""
    body = nn.Sequential(*block(out, out), nn.ReLU(), *block(out, out))
    return [*block(channels, out), nn.ReLU(), nn.Residual(body), nn.ReLU()]


def network(classes: int) -> nn.Module:
    return nn.Sequential(
        *block(1, 16), nn.ReLU(), nn.MaxPool2d(2),
        *stage(16, 32), nn.MaxPool2d(2),
        *stage(32, 64), *stage(64, 128),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(128, classes),
    )  # fmt: skip


def confusion(model: nn.Module, x: np.ndarray, y: np.ndarray, classes: int) -> np.ndarray:
    """[true, predicted] counts, in evaluation mode."""
    table = np.zeros((classes, classes), np.int64)
    device = next(model.parameters()).device
    with nn.utils.evaluating(model), jadro.no_grad():
        for i in range(0, len(x), 500):
            predicted = model(jadro.as_tensor(x[i : i + 500]).to(device)).to("cpu").numpy().argmax(1)
            np.add.at(table, (y[i : i + 500], predicted), 1)
    return table


def draw(table: np.ndarray, filters: np.ndarray, names: tuple[str, ...], out: Path) -> None:
    """Confusion matrix and first-layer filters as PNG; says so where matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        print("nothing is drawn: matplotlib is not installed (pip install '.[examples]')")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 6.4), layout="constrained")
    share = table / np.maximum(table.sum(1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (i, j), count in np.ndenumerate(table):
        if count:
            axes.text(
                j, i, count, ha="center", va="center", fontsize=8, color="white" if share[i, j] > 0.5 else "black"
            )
    ticks = range(len(names))
    axes.set_xticks(ticks, names, rotation=45, ha="right")
    axes.set_yticks(ticks, names)
    axes.set(xlabel="predicted", ylabel="true", title=f"{table.trace() / table.sum():.2%} right")
    figure.savefig(out / "fashion_mnist_confusion.png", dpi=120)
    plt.close(figure)

    limit = np.abs(filters).max()
    figure, grid = plt.subplots(2, len(filters) // 2, figsize=(8, 2.4), layout="constrained")
    for axes, kernel in zip(grid.flat, filters[:, 0], strict=True):
        axes.imshow(kernel, cmap="RdBu", vmin=-limit, vmax=limit)
        axes.axis("off")
    figure.suptitle("filters of the first layer, 3x3")
    figure.savefig(out / "fashion_mnist_filters.png", dpi=120)
    plt.close(figure)
    print(f"drawn: {out / 'fashion_mnist_confusion.png'}, {out / 'fashion_mnist_filters.png'}")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--epochs", type=int, metavar="N", help="stop after N epochs (default: after --minutes)")
    add("--minutes", type=float, metavar="M", help="stop after M minutes (default: 12, or no limit with --epochs)")
    add("--batch", type=int, default=128, metavar="N")
    add("--lr", type=float, default=4e-3)
    add("--seed", type=int, default=0)
    add("--data", type=Path, metavar="DIR", help="folder of the four idx files")
    add("--out", type=Path, default=Path("out"), metavar="DIR", help="where checkpoint and pictures go (default: out)")
    add("--resume", action="store_true", help="go on from the checkpoint")
    add("--device", default="cpu", help="cpu or cuda")
    options = parser.parse_args(arguments)
    for name in ("epochs", "minutes", "batch", "lr"):
        value = getattr(options, name)
        if value is not None and not value > 0:
            parser.error(f"--{name} is {value}, expected a positive number")
    if options.minutes is None and options.epochs is None:
        options.minutes = 12.0
    return options


def log(entry: dict[str, Any]) -> str | None:
    """What the trainer shows: loss and speed in the bar, a line for each record."""
    if "val_loss" not in entry:
        return f"loss {entry['loss']:.3f}, {entry['rate']:,.0f} images/s"
    from tqdm import tqdm

    tqdm.write(f"epoch {entry['epoch']}: loss {entry['loss']:.4f}, test loss {entry['val_loss']:.4f}")
    return None


def learn(options: argparse.Namespace, path: Path) -> None:
    """Trains, from the start or from the checkpoint at `path`, and draws what came of it."""
    jadro.manual_seed(options.seed)
    ((x, y), (xt, yt)), names = load_data(options.data)
    if len(x) < options.batch:
        raise ValueError(f"--batch is {options.batch}, expected at most {len(x)}, the number of training images")
    if options.resume and not path.exists():
        raise ValueError(f"no checkpoint to go on from at {path}")
    model = network(len(names)).to(device=options.device)
    batches = Augmented(data.TensorDataset(x, y), options.batch, options.seed, flip=names is FASHION)
    optimizer = optim.AdamW(model.parameters(), lr=options.lr, weight_decay=1e-2)
    factor = over_budget(options.epochs and options.epochs * len(batches), options.minutes, warmup=0.15, hold=0.15)
    trainer = train.Trainer(
        model,
        nn.CrossEntropyLoss(label_smoothing=0.05),
        optimizer,
        scheduler=optim.lr_scheduler.LambdaLR(optimizer, factor),
        scheduler_every="step",
        checkpoint=path,
        log=log,
    )
    print(f"{len(x):,} images, {sum(p.numel() for p in model.parameters()):,} parameters")
    tests = data.DataLoader(data.TensorDataset(xt, yt), 500)
    trainer.fit(batches, options.epochs or sys.maxsize, tests, minutes=options.minutes, resume=options.resume)
    table = confusion(model, xt, yt, len(names))
    for name, row, right in zip(names, table, table.diagonal(), strict=True):
        print(f"{name:>10} {right / max(row.sum(), 1):7.2%}")
    print(f"test accuracy: {table.trace() / table.sum():.2%} after {trainer.step} steps")
    draw(table, next(model.parameters()).detach().to("cpu").numpy(), names, options.out)


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    path = options.out / "fashion_mnist.safetensors"
    try:
        learn(options, path)
    except KeyboardInterrupt:
        kept = f"go on with --resume from {path}" if path.exists() else "before the first checkpoint"
        raise SystemExit(f"fashion_mnist: interrupted; {kept}") from None
    except (OSError, RuntimeError, ValueError) as error:
        raise SystemExit(f"fashion_mnist: {error}") from None


if __name__ == "__main__":
    main()
