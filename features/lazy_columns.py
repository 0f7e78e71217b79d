"""Columns by name that are made when first asked for: of a hundred, a caller mostly wants a few."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

from features.key_order import IntArray, Positions, gathered


class LazyColumns(Mapping[str, IntArray]):
    """Integer columns, each made once, at its first use.

    Parameters
    ----------
    names
        What there is, each once; a mapping of names does as well.
    make
        Returns the column of a name, shape (n,).

    >>> import numpy as np
    >>> columns = LazyColumns(("one", "two"), lambda name: np.full(2, len(name)))
    >>> list(columns), columns["two"].tolist()
    (['one', 'two'], [3, 3])
    """

    def __init__(self, names: Collection[str], make: Callable[[str], IntArray]) -> None:
        self._names = names if isinstance(names, Mapping) else dict.fromkeys(names)
        self._make = make
        self._made: dict[str, IntArray] = {}

    @classmethod
    def of(cls, makers: Mapping[str, Callable[[], IntArray]]) -> LazyColumns:
        """Make each column by a function of its own."""
        return cls(tuple(makers), lambda name: makers[name]())

    def __getitem__(self, name: str) -> IntArray:
        """Return a column, making it if it is not made yet."""
        if name not in self._made:
            if name not in self._names:
                raise KeyError(name)
            self._made[name] = self._make(name)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._names)

    def __len__(self) -> int:
        """Return how many columns there are."""
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        """Tell whether there is a column of a name, without making it."""
        return name in self._names


class TakenColumns(LazyColumns):
    """The entries of columns at some positions, in the order of those.

    Attributes
    ----------
    whole
        The columns they are of.
    positions
        Shape (n,).
    """

    def __init__(self, whole: Mapping[str, IntArray], positions: Positions) -> None:
        super().__init__(tuple(whole), lambda name: gathered(whole[name], positions))
        self.whole = whole
        self.positions = positions
