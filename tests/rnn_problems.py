"""Recurrent layers with any set of options: drawn arrays, and what the NumPy reference makes of them."""

import itertools
import zlib
from dataclasses import dataclass, field

import numpy as np

import jadro
from jadro import nn
from jadro.ops.rnn_composed import Loop, Rows, composed
from jadro.ops.rnn_composed_cells import Cell
from jadro.testing import reference

CELLS = ["rnn_tanh", "rnn_relu", "lstm", "gru"]
# what can be turned on, by the name that the tests have for it -> arguments of the layer
OPTIONS = {
    "layer_norm": {"layer_norm": True},
    "zoneout": {"zoneout": 0.3},
    "zoneout_both": {"zoneout": (0.2, 0.4)},
    "sequence": {"recurrent_dropout": 0.4, "recurrent_dropout_mode": "sequence"},
    "update": {"recurrent_dropout": 0.4, "recurrent_dropout_mode": "update"},
    "cell_clip": {"cell_clip": 0.5},
    "gate_clip": {"gate_clip": 0.8},
    "peephole": {"peephole": True},
    "coupled": {"coupled": True},
    "projection": {"proj_size": 3},
    "reset_before": {"reset_after": False},
    "no_bias": {"bias": False},
    "layers": {"num_layers": 2},
    "bidirectional": {"bidirectional": True},
    "dropout": {"num_layers": 2, "dropout": 0.5},
    "lengths": {},
    "reset": {},
    "reset_state": {},
    "cells": {},
}
LSTM_ONLY = {"zoneout_both", "peephole", "coupled", "projection", "cells"}
CLASHES = [{"zoneout", "zoneout_both"}, {"sequence", "update"}]


def options_of(cell):
    """The names of all options that a cell has."""
    gone = {"reset_before"} if cell != "gru" else set()
    gone |= LSTM_ONLY if cell != "lstm" else set()
    return [name for name in OPTIONS if name not in gone]


def fits(names):
    """Whether the options go together."""
    return not any(clash <= set(names) for clash in CLASHES)


def sets_of(cell, size):
    """All sets of `size` options that go together."""
    return [names for names in itertools.combinations(options_of(cell), size) if fits(names)]


def neighbour(rng, a):
    """Every number moved by one unit in its last place, up or down at random."""
    return np.nextafter(a, np.where(rng.random(a.shape) < 0.5, -np.inf, np.inf).astype(a.dtype))


def all_of(cell, *gone):
    """All options that a cell has, with recurrent dropout of the mode "update" or, where that is gone, "sequence"."""
    gone = {*gone, "zoneout" if cell == "lstm" else "zoneout_both"} | (set() if "update" in gone else {"sequence"})
    return tuple(n for n in options_of(cell) if n not in gone)


@dataclass(frozen=True)
class Problem:
    """A layer with some options and all arrays that one call of it and of its gradients takes; `at`: (seed, offset) of
    its masks.
    """

    cell: str
    names: tuple[str, ...] = ()
    steps: int = 5
    batch: int = 4
    inputs: int = 3
    hidden: int = 5
    training: bool = True
    state: bool = True
    at: tuple[int, int] = (7, 11)
    changed: dict = field(default_factory=dict, hash=False)  # arguments of the layer
    device: str = field(default="cpu", compare=False)

    @property
    def arguments(self):
        """Of the layer, besides its sizes."""
        found = {"nonlinearity": self.cell[4:]} if self.cell.startswith("rnn") else {}
        for name in self.names:
            found |= OPTIONS[name]
        return found | self.changed

    def get(self, name, default):
        return self.arguments.get(name, default)

    @property
    def is_lstm(self):
        return self.cell == "lstm"

    @property
    def layers(self):
        return self.get("num_layers", 1)

    @property
    def directions(self):
        return 2 if self.get("bidirectional", False) else 1

    @property
    def out(self):
        """The width of h."""
        return self.get("proj_size", 0) or self.hidden

    @property
    def cell_options(self):
        chosen = ("reset_after", "coupled", "cell_clip", "gate_clip")
        return reference.RnnOptions(self.cell, **{n: self.arguments[n] for n in chosen if n in self.arguments})

    def rng(self, what):
        return np.random.default_rng(zlib.crc32(f"{self.cell}{sorted(self.names)}{what}".encode()))

    # --- shapes and arrays -------------------------------------------------------------------------------------------

    def shapes(self, layer):
        """Of the parameters of one direction of a layer, by their names in the layer without the ending."""
        rows, hidden = self.cell_options.gates * self.hidden, self.hidden
        found = {
            "weight_ih": (rows, self.directions * self.out if layer else self.inputs),
            "weight_hh": (rows, self.out),
        }
        if self.get("bias", True):
            found |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        if self.out != hidden:
            found["weight_hr"] = (self.out, hidden)
        if self.get("peephole", False):
            found |= {f"weight_p{gate}": (hidden,) for gate in ("io" if self.get("coupled", False) else "ifo")}
        if self.get("layer_norm", False):
            found |= {f"{kind}_ln_{side}": (rows,) for side in ("ih", "hh") for kind in ("weight", "bias")}
            if self.is_lstm:
                found |= {"weight_ln_c": (hidden,), "bias_ln_c": (hidden,)}
        return found

    def weights(self, dtype=np.float64):
        """For each layer, for each direction, the parameters by name."""
        rng, found = self.rng("weights"), []
        for layer in range(self.layers):
            for _ in range(self.directions):
                drawn = {n: rng.standard_normal(s) for n, s in self.shapes(layer).items()}
                for name, a in drawn.items():
                    a *= 0.3 if name.startswith("bias") else 0.4 if "_p" in name else 1.4 / a.shape[-1] ** 0.5
                    if name.startswith("weight_ln"):
                        a[...] = 1 + 0.3 * np.tanh(a)
                found.append({n: a.astype(dtype) for n, a in drawn.items()})
        return found

    @property
    def state_shapes(self):
        lead = (self.layers * self.directions, self.batch)
        return {"h": (*lead, self.out), "c": (*lead, self.hidden)} if self.is_lstm else {"h": (*lead, self.out)}

    @property
    def output_shapes(self):
        """y, the last states and, where they are asked for, the cells."""
        lead = (self.steps, self.batch)
        found = {"y": (*lead, self.directions * self.out)} | {f"{n}n": s for n, s in self.state_shapes.items()}
        return found | ({"cells": (*lead, self.directions * self.hidden)} if "cells" in self.names else {})

    def arrays(self, dtype=np.float64):
        """x, NaN past the ends of its rows, the states h0 c0, those after resets reset_h reset_c, and the gradients of
        all outputs."""
        rng = self.rng("arrays")
        shapes = {"x": (self.steps, self.batch, self.inputs)}
        if self.state:
            shapes |= {f"{n}0": s for n, s in self.state_shapes.items()}
        if "reset_state" in self.names:
            shapes |= {f"reset_{n}": s for n, s in self.state_shapes.items()}
        shapes |= {f"d{n}": s for n, s in self.output_shapes.items()}
        found = {n: rng.standard_normal(s).astype(dtype) for n, s in shapes.items()}
        if self.lengths is not None:
            found["x"][np.arange(self.steps)[:, None] >= self.lengths] = np.nan
        return found

    @property
    def lengths(self):
        """Any order, an empty row and a full one among them."""
        if "lengths" not in self.names:
            return None
        found = self.rng("lengths").integers(0, self.steps + 1, self.batch)
        found[: min(2, self.batch)] = [0, self.steps][: self.batch]
        return self.rng("order").permutation(found)

    @property
    def reset(self):
        if not {"reset", "reset_state"} & set(self.names):
            return None
        return self.rng("reset").random((self.steps, self.batch)) < 0.3

    # --- the reference -----------------------------------------------------------------------------------------------

    @property
    def depth(self):
        return {"layers": self.layers, "directions": self.directions}

    def noise(self):
        """Dropout between the layers, and the masks of each layer and direction."""
        if not self.training:
            return {}, [reference.RnnMasks(*self.zoneout)] * (self.layers * self.directions)
        sizes = (self.steps, self.batch, self.out, self.hidden)
        noise = {"dropout_p": self.get("dropout", 0.0), "seed": self.at[0], "offset": self.at[1]}
        dropped = self.get("recurrent_dropout", 0.0), self.get("recurrent_dropout_mode", "sequence")
        return noise, reference.rnn_masks(sizes, self.zoneout, *dropped, **self.depth, **noise)

    @property
    def zoneout(self):
        """Of h and of c."""
        zone = self.get("zoneout", 0.0)
        zone_h, zone_c = zone if isinstance(zone, tuple) else (zone, zone)
        return zone_h, zone_c if self.is_lstm else 0.0

    def reference(self, arrays, weights):
        """(results, gradients of the parameters): outputs y hn cn cells, gradients dx dh0 dc0 dreset_h dreset_c."""
        dtype = arrays["x"].dtype
        states = (*self.state_shapes.values(), self.state_shapes["h"])[:2]
        zeros = [np.zeros(s, dtype) for s in states]
        h0, c0 = (arrays.get(f"{n}0", z) for n, z in zip("hc", zeros, strict=True))
        again = tuple(arrays.get(f"reset_{n}", z) for n, z in zip("hc", zeros, strict=True))
        noise, masks = self.noise()
        run = reference.rnn_forward(
            self.cell_options, arrays["x"], h0, c0, weights, **self.depth, **noise, masks=masks,
            lengths=self.lengths, reset=self.reset, reset_state=again,
        )  # fmt: skip
        dcn = arrays.get("dcn", zeros[1])
        back = reference.rnn_backward(
            run.runs, arrays["dy"], arrays["dhn"], dcn, arrays.get("dcells"), **self.depth, **noise
        )
        found = {**run._asdict(), **back._asdict()}
        wanted = [*self.output_shapes, *(f"d{n}" for n in arrays if not n.startswith("d"))]
        return {n: found[n] for n in wanted}, back.dweights

    def naive(self, arrays, weights, runs):
        """Results and gradients of the parameters in the arrays' own precision, some times: all runs but the first with
        every number moved to a neighbouring one.
        """
        rng = self.rng("neighbours")
        moved = [(arrays, weights)]
        for _ in range(runs - 1):
            moved.append(
                (
                    {n: neighbour(rng, a) for n, a in arrays.items()},
                    [{n: neighbour(rng, a) for n, a in w.items()} for w in weights],
                )
            )
        return [self.reference(*each) for each in moved]

    # --- the layer ---------------------------------------------------------------------------------------------------

    def layer(self, weights):
        """The layer with these weights."""
        layer = getattr(nn, "RNN" if self.cell.startswith("rnn") else self.cell.upper())(
            self.inputs, self.hidden, dtype=weights[0]["weight_ih"].dtype.name, **self.arguments
        )
        endings = [f"_l{k}{d}" for k in range(self.layers) for d in ("", "_reverse")[: self.directions]]
        layer.load_state_dict(
            {n + end: a for end, named in zip(endings, weights, strict=True) for n, a in named.items()}
        )
        return layer.to(self.device).train(self.training), endings

    def native(self, arrays, weights, **grad_options):
        """(results, gradients of the parameters) of the layer, as `reference` gives them."""
        layer, endings = self.layer(weights)
        there = {n: jadro.tensor(a, device=self.device, requires_grad=n[0] != "d") for n, a in arrays.items()}
        tensors = {n: t for n, t in there.items() if not n.startswith("d")}
        found = self.call(layer, tensors)
        parameters = dict(layer.named_parameters())
        inputs = [*tensors.values(), *parameters.values()]
        gradients = jadro.grad(
            [found[n] for n in self.output_shapes],
            inputs,
            [there[f"d{n}"] for n in self.output_shapes],
            allow_unused=True,
            **grad_options,
        )
        values = [
            np.zeros(t.shape, t.dtype) if g is None else g.cpu().numpy() for t, g in zip(inputs, gradients, strict=True)
        ]
        results = {n: y.detach().cpu().numpy() for n, y in found.items()}
        results |= dict(zip((f"d{n}" for n in tensors), values, strict=False))
        by_name = dict(zip(parameters, values[len(tensors) :], strict=True))
        return results, [{n: by_name[n + end] for n in named} for named, end in zip(weights, endings, strict=True)]

    def call(self, layer, tensors, turn=False):
        """The outputs of one call by name; turn: the resets are batch first."""
        reset = self.reset.T if turn else self.reset
        pairs = {}
        for name, form in (("state", "{}0"), ("reset_state", "reset_{}")):
            states = [tensors[form.format(n)] for n in "hc" if form.format(n) in tensors]
            pairs[name] = (tuple(states) if self.is_lstm else states[0]) if states else None
        options = {n: v for n, v in (("lengths", self.lengths), ("reset", reset)) if v is not None}
        options |= {"reset_state": pairs["reset_state"]} if pairs["reset_state"] is not None else {}
        options |= {"return_cells": True} if "cells" in self.names else {}
        jadro.random.set_state(self.at)
        y, state, *cells = layer(tensors["x"], pairs["state"], **options)
        names = ("y", "hn", "cn", "cells") if self.is_lstm else ("y", "hn")
        return dict(zip(names, [y, *(state if self.is_lstm else [state]), *cells], strict=False))

    # --- the composed loop -------------------------------------------------------------------------------------------

    def composed(self, arrays, weights):
        """The outputs of the composed loop by name; arrays and weights hold Tensors."""
        o, (seed, offset) = self.cell_options, self.at
        loop = Loop(
            Cell(self.cell, o.reset_after, o.coupled, o.cell_clip, o.gate_clip), self.layers, self.directions,
            self.get("dropout", 0.0), self.zoneout, self.get("recurrent_dropout", 0.0),
            self.get("recurrent_dropout_mode", "sequence"), self.training, seed, offset,
        )  # fmt: skip
        starts, again = ([arrays.get(name.format(n)) for n in "hc"] for name in ("{}0", "reset_{}"))
        found = composed(arrays["x"], starts, weights, loop, Rows(self.lengths, self.reset), again)
        return {n: y for n, y in zip(("y", "hn", "cn", "cells"), found, strict=False) if n in self.output_shapes}
