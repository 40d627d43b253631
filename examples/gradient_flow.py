"""Draws how far gradients flow back through a plain recurrent layer, an LSTM and a GRU.

python examples/gradient_flow.py             a few seconds; out/gradient_flow.png
python examples/gradient_flow.py --steps 200 --gains 0.5 1 2 4

Each layer reads a sequence of noise. Drawn is the norm of dL/dh(t) by t, where L is a loss on the output of the last
step, for orthogonal recurrent weights times a gain: the plain layer's gradient vanishes with small weights and explodes
with large ones. An LSTM whose forget gates and a GRU whose update gates start open (--open is added to their biases)
keep it over far more steps, whatever the gain; with --open 0 they lose it, too.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import jadro
from jadro import nn, text

LAYERS = {"RNN": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    for name, value, what in (
        ("steps", 100, "length of the sequence"),
        ("hidden", 64, "units of a layer"),
        ("batch", 16, "sequences"),
    ):
        add(f"--{name}", type=int, default=value, metavar="N", help=f"{what} (default: {value})")
    add("--gains", type=float, nargs="+", default=[0.5, 1.0, 2.0, 3.0], metavar="G", help="(default: 0.5 1 2 3)")
    add("--open", type=float, default=4.0, metavar="B", help="of the gates that keep the state (default: 4)")
    add("--seed", type=int, default=0, help="of weights and noise (default: 0)")
    add("--out", type=Path, default=Path("out"), metavar="DIR", help="where the figure goes (default: out)")
    options = parser.parse_args(arguments)
    for name in ("steps", "hidden", "batch"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} is {getattr(options, name)}, expected a positive number")
    return options


def square(output: jadro.Tensor, target: jadro.Tensor) -> jadro.Tensor:
    return ((output - target) ** 2).mean()


def flows(kind: str, options: argparse.Namespace) -> dict[str, np.ndarray]:
    """The norms for each gain, from the same weights and the same noise."""
    rng = np.random.default_rng(options.seed)
    x = rng.standard_normal((options.steps, options.batch, options.hidden))
    target = rng.standard_normal(x.shape)
    found = {}
    for gain in options.gains:
        jadro.manual_seed(options.seed)
        layer = LAYERS[kind](options.hidden, options.hidden, dtype="float64")  # to see norms far below float32's
        nn.init.orthogonal_(layer.weight_hh_l0, gain)
        if kind != "RNN":  # f and z are the second gates
            layer.bias_ih_l0.data[options.hidden : 2 * options.hidden] += options.open
        found[f"gain {gain:g}"] = text.gradient_flow(layer, (x, target), square, last=True)["l0"]
    return found


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    drawn = {kind: flows(kind, options) for kind in LAYERS}
    for kind, norms in drawn.items():
        for label, norm in norms.items():
            print(f"{kind:4} {label}: {norm[-1]:.2e} at the last step, {norm[0]:.2e} at the first")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("the figure is not drawn: matplotlib is not installed (pip install '.[examples]')")
        return
    figure = Figure(figsize=(13, 4.2), layout="constrained")
    for axes, (kind, norms) in zip(figure.subplots(1, len(drawn), sharey=True), drawn.items(), strict=True):
        text.plot_gradient_flow(norms, title=kind, axes=axes)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "gradient_flow.png"
    figure.savefig(path, dpi=120)
    print(f"figure: {path}")


if __name__ == "__main__":
    main()
