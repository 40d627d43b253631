"""Einstein's sums, whose gradients are Einstein's sums."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import backend
from ..autograd import Elementary, Node
from ..backend import Array
from ..tensor import Tensor, as_tensor
from .common import promote
from .index import getitem

LETTERS = string.ascii_uppercase + string.ascii_lowercase


class Einsum(Elementary):
    """y[out] = sum over all other letters of the product of x_k[terms[k]], no letter twice in a term.

    dx_k[terms[k]] = sum of dy[out] times the product of the other operands; a letter that none of them has repeats it.
    """

    @staticmethod
    def forward(ctx: Node, *xs: Array, terms: tuple[str, ...], out: str) -> Array:
        ctx.save(*xs)
        ctx.terms, ctx.out = terms, out
        equation = f"{','.join(terms)}->{out}"
        module: Any = np if isinstance(xs[0], np.ndarray) else backend.cupy()
        y = module.einsum(equation, *xs, optimize=len(xs) > 1)
        return y if getattr(y, "base", None) is None else y.copy(order="C")  # NumPy gives views of a single operand

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        xs = ctx.saved
        return tuple(_gradient(dy, xs, ctx.terms, ctx.out, k) if need else None for k, need in enumerate(ctx.needs))


def _gradient(dy: Any, xs: Sequence[Any], terms: tuple[str, ...], out: str, k: int) -> Any:
    others = [j for j in range(len(xs)) if j != k]
    operands, parts = [dy, *(xs[j] for j in others)], [out, *(terms[j] for j in others)]
    alone = [i for i, letter in enumerate(terms[k]) if letter not in "".join(parts)]
    if alone:
        like = dy.data if isinstance(dy, Tensor) else dy
        repeat = backend.empty_like(like, tuple(xs[k].shape[i] for i in alone))
        repeat[...] = 1
        operands.append(repeat)
        parts.append("".join(terms[k][i] for i in alone))
    return Einsum.call(*operands, terms=tuple(parts), out=terms[k])


def _fail(equation: str, text: str) -> ValueError:
    return ValueError(f"einsum: equation is {equation!r}{text}")


def _parsed(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """The term of each operand, and of the result, "..." written out in letters that are free."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise _fail(equation, f" with {len(terms)} terms, expected {len(ranks)}, one an operand")
    for term in (*terms, right):
        if term.count("...") > 1 or any(c not in LETTERS for c in term.replace("...", "", 1)):
            raise _fail(equation, ", expected letters, commas, one '->' and one '...' a term")
    free = [letter for letter in LETTERS if letter not in equation]
    widths = [n - len(t.replace("...", "")) if "..." in t else 0 for n, t in zip(ranks, terms, strict=True)]
    if max(widths, default=0) > len(free):
        raise _fail(equation, f", expected at most {len(LETTERS)} different axes")
    wide = "".join(free[: max(widths, default=0)])
    written = []
    for i, (term, width, rank) in enumerate(zip(terms, widths, ranks, strict=True)):
        written.append(term.replace("...", wide[len(wide) - width :] if width > 0 else ""))
        if len(written[-1]) != rank:
            raise _fail(equation, f", expected {rank} indices for operand {i}, which has as many axes, not {term!r}")
    if arrow:
        return written, _result(equation, written, right.replace("...", wide))
    counts = Counter("".join(terms).replace("...", ""))
    return written, wide + "".join(sorted(letter for letter, count in counts.items() if count == 1 and letter != "."))


def _result(equation: str, terms: list[str], out: str) -> str:
    if len(set(out)) != len(out) or not set(out) <= set("".join(terms)):
        raise _fail(equation, ", expected indices of the operands in the result, each once")
    return out


def _check_sizes(equation: str, terms: list[str], xs: Sequence[Tensor]) -> None:
    sizes: dict[str, int] = {}
    for i, (term, x) in enumerate(zip(terms, xs, strict=True)):
        own: dict[str, int] = {}
        for letter, size in zip(term, x.shape, strict=True):
            have = own.setdefault(letter, size)
            wide = sizes.setdefault(letter, size)
            if have != size or (wide != size and 1 not in (wide, size)):
                came = f" and operand {i} has shape {x.shape}, expected size {have if have != size else wide}"
                raise _fail(equation, f"{came} or 1 for its axis {letter!r}")
            sizes[letter] = size if wide == 1 else wide


def _diagonal(x: Tensor, term: str) -> tuple[Tensor, str]:
    """x[..i..i..] as x[..i..]: the elements where axes of one letter agree."""
    letters = "".join(dict.fromkeys(term))
    if letters == term:
        return x, term
    grid = np.ogrid[tuple(slice(x.shape[term.index(letter)]) for letter in letters)]
    return getitem(x, tuple(grid[letters.index(letter)] for letter in term)), letters


def _from_lists(operands: Sequence[Any]) -> tuple[str, list[Any]]:
    """einsum(x, [0, 1], y, [1, 2], [0, 2]) as an equation and its operands."""

    def term(places: Any) -> str:
        try:
            return "".join("..." if p is Ellipsis else LETTERS[int(p)] for p in places)
        except (TypeError, IndexError, ValueError):
            raise TypeError(
                f"einsum: {places!r} among the operands, expected a list of integers 0..{len(LETTERS) - 1}"
            ) from None

    pairs = len(operands) // 2 * 2
    equation = ",".join(term(places) for places in operands[1:pairs:2])
    if len(operands) > pairs:
        equation += "->" + term(operands[-1])
    return equation, list(operands[:pairs:2])


def einsum(equation: Any, *operands: Any) -> Tensor:
    """y[out] = sum over the indices that are not in `out` of the product of all operands[their indices].

    equation: a letter an axis, operands separated by commas: "bij,bjk->bik". Without "->" the result has the letters
    that occur once, in alphabetical order, behind those of "...". "...": the axes that have no letter, broadcast
    together from the last; summed where the result has none. A letter twice in one operand reads its diagonal. Axes of
    size 1 are broadcast. operands: Tensors or arrays, also as one list; or, instead of an equation, each with a list of
    integers for its letters, and one for the result: einsum(x, [0, 1], y, [1, 2], [0, 2]). Gradients of every order.

    Raises ValueError for an equation that cannot be read or does not fit the operands, TypeError for other arguments.
    """
    if not isinstance(equation, str):
        equation, operands = _from_lists((equation, *operands))  # type: ignore[assignment]
    elif len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    xs = [as_tensor(x) for x in operands]
    if not xs:
        raise ValueError("einsum: no operands, expected one at least")
    terms, out = _parsed(equation, [x.ndim for x in xs])
    _check_sizes(equation, terms, xs)
    pairs = [_diagonal(x, term) for x, term in zip(promote(*xs), terms, strict=True)]
    return Einsum.apply(*(x for x, _ in pairs), terms=tuple(term for _, term in pairs), out=out)
