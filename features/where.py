"""What a tag family asks of an event beyond its type: a comparison such as ``coupon_minor > 0``.

It is read once, when the catalogue is loaded, and is never run as code: only the forms named in `Where` are
taken from Python's syntax tree, everything else is refused.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from configs.errors import did_you_mean
from features.memory import EventColumns
from features.windows import IntArray

BoolArray = npt.NDArray[np.bool_]

NUMBER_COLUMNS = ("quantity", "amount_minor", "discount_minor", "coupon_minor")
"""Columns that are compared with numbers and with each other; unknown counts as 0."""
TEXT_COLUMNS = ("category", "brand")
"""Columns that are compared with quoted texts; unknown is no text."""
COLUMNS = (*NUMBER_COLUMNS, *TEXT_COLUMNS)

OPERATORS: Mapping[type[ast.cmpop], tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Gt: (">", operator.gt),
    ast.GtE: (">=", operator.ge),
    ast.Lt: ("<", operator.lt),
    ast.LtE: ("<=", operator.le),
    ast.Eq: ("==", operator.eq),
    ast.NotEq: ("!=", operator.ne),
}
SIGNS = ", ".join(sign for sign, _ in OPERATORS.values())
EXAMPLE = "write it like 'coupon_minor > 0' or 'discount_minor >= 0.25 * amount_minor'"


@dataclass(frozen=True)
class Comparison:
    """One column against a number, a multiple of another column, or a text."""

    column: str
    compare: type[ast.cmpop]
    factor: float
    other: str | None
    text: str | None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it looks at."""
        return (self.column,) if self.other is None else (self.column, self.other)

    def holds(self, number: Callable[[str], IntArray], texts: Callable[[str, str], BoolArray]) -> BoolArray:
        """Compare; ``number`` gives a column's values, ``texts`` where a column is a text."""
        compare = OPERATORS[self.compare][1]
        if self.text is not None:
            is_text = texts(self.column, self.text)
            return is_text if self.compare is ast.Eq else ~is_text
        beside = self.factor if self.other is None else self.factor * number(self.other)
        return np.asarray(compare(number(self.column), beside))


class Where:
    """A comparison of an event's columns, or several joined by ``and`` or ``or``; ``and`` binds tighter.

    ``COLUMN SIGN NUMBER``, ``COLUMN SIGN COLUMN``, ``COLUMN SIGN NUMBER * COLUMN`` and
    ``COLUMN == "TEXT"`` (or ``!=``). Unknown numbers count as 0.

    Parameters
    ----------
    said
        As written in the catalogue.

    Raises
    ------
    ValueError
        If it has another form, or names a column or sign that there is not; the message says what was
        expected and the nearest valid choice.

    >>> Where("coupon_minor > 0 or discount_minor >= 0.25 * amount_minor").columns
    ('coupon_minor', 'discount_minor', 'amount_minor')
    """

    def __init__(self, said: str) -> None:
        self.said = said
        try:
            self._tree = _parsed(ast.parse(said.strip(), mode="eval").body)
        except SyntaxError:
            raise ValueError(f"{said!r} cannot be read; equal is '=='; {EXAMPLE}") from None

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns it looks at, each once."""
        return tuple(dict.fromkeys(name for one in _leaves(self._tree) for name in one.columns))

    @cached_property
    def compared(self) -> tuple[str, ...]:
        """The columns at the left of its comparisons: with none of them known there is nothing to compare."""
        return tuple(dict.fromkeys(one.column for one in _leaves(self._tree)))

    def of_events(self, events: EventColumns) -> BoolArray:
        """Return for which events it holds, shape (n_events,)."""

        def number(column: str) -> IntArray:
            values: IntArray = getattr(events, column)
            return values

        return self._holds(self._tree, number, lambda column, text: _is_text(events, column, text))

    def of_groups(self, events: EventColumns, starts: IntArray, order: IntArray) -> BoolArray:
        """Return for which groups of events it holds, each group taken as a whole.

        A number is the sum over the group's events; a text is there if any of them has it.

        Parameters
        ----------
        starts
            Shape (n_groups,): where each group begins in ``order``; none is empty.
        order
            Positions of events.
        """

        def number(column: str) -> IntArray:
            return np.add.reduceat(getattr(events, column)[order], starts)

        def texts(column: str, text: str) -> BoolArray:
            return np.logical_or.reduceat(_is_text(events, column, text)[order], starts)

        return self._holds(self._tree, number, texts) if len(starts) else np.zeros(0, bool)

    def _holds(
        self,
        tree: _Tree,
        number: Callable[[str], IntArray],
        texts: Callable[[str, str], BoolArray],
    ) -> BoolArray:
        if isinstance(tree, Comparison):
            return tree.holds(number, texts)
        join, parts = tree
        return reduce(join, (self._holds(part, number, texts) for part in parts))


_Join = Callable[[BoolArray, BoolArray], BoolArray]
_Tree = Comparison | tuple[_Join, "tuple[_Tree, ...]"]


def _leaves(tree: _Tree) -> list[Comparison]:
    if isinstance(tree, Comparison):
        return [tree]
    return [leaf for part in tree[1] for leaf in _leaves(part)]


def _parsed(node: ast.expr) -> _Tree:
    if isinstance(node, ast.BoolOp):
        join: _Join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
        return join, tuple(_parsed(part) for part in node.values)
    if not isinstance(node, ast.Compare):
        raise ValueError(f"{ast.unparse(node)!r} compares nothing; expected one of {SIGNS}; {EXAMPLE}")
    if len(node.ops) > 1:
        raise ValueError(f"{ast.unparse(node)!r} compares twice; join two comparisons by 'and'")
    compare = type(node.ops[0])
    if compare not in OPERATORS:
        raise ValueError(f"unknown operator in {ast.unparse(node)!r}; expected one of {SIGNS}")
    column = _column(node.left)
    if column in TEXT_COLUMNS:
        return _text_comparison(node, column, compare)
    factor, other = _operand(node.comparators[0])
    return Comparison(column, compare, factor, other, None)


def _text_comparison(node: ast.Compare, column: str, compare: type[ast.cmpop]) -> Comparison:
    beside = node.comparators[0]
    if not (isinstance(beside, ast.Constant) and isinstance(beside.value, str)):
        raise ValueError(f"column {column!r} holds texts; expected a quoted text, not {ast.unparse(beside)}")
    if compare not in (ast.Eq, ast.NotEq):
        raise ValueError(f"operator {OPERATORS[compare][0]!r} with a text; expected '==' or '!='")
    return Comparison(column, compare, 0.0, None, beside.value)


def _operand(node: ast.expr) -> tuple[float, str | None]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return _number(node.left), _number_column(node.right)
    if isinstance(node, ast.Name):
        return 1.0, _number_column(node)
    return _number(node), None


def _number(node: ast.expr) -> float:
    try:
        value = ast.literal_eval(node)
    except ValueError:
        value = None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{ast.unparse(node)!r} is no number; {EXAMPLE}")
    return float(value)


def _number_column(node: ast.expr) -> str:
    column = _column(node)
    if column in TEXT_COLUMNS:
        raise ValueError(f"column {column!r} holds texts; expected one of {', '.join(NUMBER_COLUMNS)}")
    return column


def _column(node: ast.expr) -> str:
    name = node.id if isinstance(node, ast.Name) else ast.unparse(node)
    if name not in COLUMNS:
        suggestion = did_you_mean(name, COLUMNS)
        raise ValueError(f"unknown event column {name!r}{suggestion}; expected one of {', '.join(COLUMNS)}")
    return name


def _is_text(events: EventColumns, column: str, text: str) -> BoolArray:
    texts, codes = events.texts(column), getattr(events, column)
    code = list(texts).index(text) if text in texts else len(texts)
    return np.asarray(codes == code)
