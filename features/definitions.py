"""How a feature is declared: one function, its name, unit, windows and what a null means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from features.windows import NEVER, SECOND_US, IntArray, Window

FloatArray = npt.NDArray[np.float64]
Rows = TypeVar("Rows")


@dataclass(frozen=True)
class FeatureDefinition:
    """What a feature is called and what it means.

    Attributes
    ----------
    name
        Column name, with window and unit.
    dtype
        ``int`` (never null) or ``float`` (NaN where `null_meaning` says).
    unit, window, meaning, null_meaning
        For the catalogue; ``window`` is empty where the feature has none.
    """

    name: str
    dtype: Literal["int", "float"]
    unit: str
    window: str
    meaning: str
    null_meaning: str


class Catalogue(Generic[Rows]):
    """The features of one kind of row, in the order they were declared."""

    def __init__(self) -> None:
        self._entries: list[tuple[FeatureDefinition, Callable[[Rows], npt.NDArray[Any]]]] = []

    def feature(
        self, *, unit: str, dtype: Literal["int", "float"] = "float", null: str = ""
    ) -> Callable[[Callable[[Rows], npt.NDArray[Any]]], Callable[[Rows], npt.NDArray[Any]]]:
        """Declare a function of rows as the feature of the function's name; its docstring is the meaning."""

        def declare(function: Callable[[Rows], npt.NDArray[Any]]) -> Callable[[Rows], npt.NDArray[Any]]:
            self._add(
                FeatureDefinition(function.__name__, dtype, unit, "", _meaning(function), null), function
            )
            return function

        return declare

    def windowed(
        self,
        name: str,
        windows: Sequence[Window],
        *,
        unit: str,
        dtype: Literal["int", "float"] = "int",
        null: str = "",
    ) -> Callable[[Callable[[Rows, Window], npt.NDArray[Any]]], Callable[[Rows, Window], npt.NDArray[Any]]]:
        """Declare a function of rows and a window as one feature a window.

        Parameters
        ----------
        name
            With ``{window}`` where the window's name belongs: ``spend_{window}_minor``.
        """

        def declare(
            function: Callable[[Rows, Window], npt.NDArray[Any]],
        ) -> Callable[[Rows, Window], npt.NDArray[Any]]:
            for window in windows:
                definition = FeatureDefinition(
                    name.format(window=window.name), dtype, unit, window.name, _meaning(function), null
                )
                self._add(definition, _bound(function, window))
            return function

        return declare

    def _add(self, definition: FeatureDefinition, function: Callable[[Rows], npt.NDArray[Any]]) -> None:
        if any(known.name == definition.name for known, _ in self._entries):
            raise ValueError(f"feature {definition.name!r} is declared twice")
        self._entries.append((definition, function))

    def definitions(self) -> list[FeatureDefinition]:
        """Return every feature declared."""
        return [definition for definition, _ in self._entries]

    def compute(self, rows: Rows, names: Sequence[str] | None = None) -> dict[str, npt.NDArray[Any]]:
        """Compute features, all of them or those named.

        Returns
        -------
        Per name an array of shape (n_rows,): int64 or float64 with NaN for null.
        """
        wanted = None if names is None else set(names)
        return {
            definition.name: function(rows).astype(np.int64 if definition.dtype == "int" else np.float64)
            for definition, function in self._entries
            if wanted is None or definition.name in wanted
        }


def _bound(
    function: Callable[[Rows, Window], npt.NDArray[Any]], window: Window
) -> Callable[[Rows], npt.NDArray[Any]]:
    return lambda rows: function(rows, window)


def _meaning(function: Callable[..., object]) -> str:
    if not function.__doc__:
        raise ValueError(f"feature {function.__name__!r} has no docstring; expected its meaning in a line")
    return function.__doc__.strip().splitlines()[0]


def ratio(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> FloatArray:
    """Divide; NaN where the divisor is 0 or NaN.

    >>> ratio(np.array([1, 1]), np.array([2, 0]))
    array([0.5, nan])
    """
    divisor = whole.astype(np.float64)
    valid = divisor != 0
    return np.where(valid, part / np.where(valid, divisor, 1.0), np.nan)


def seconds_between(earlier: IntArray, later: IntArray) -> FloatArray:
    """Return seconds from one time to another; NaN where the earlier one never was.

    >>> seconds_between(np.array([0, NEVER]), np.array([2_500_000, 1]))
    array([2.5, nan])
    """
    happened = earlier != NEVER
    return np.where(happened, (later - np.where(happened, earlier, 0)) / SECOND_US, np.nan)


def spread(count: IntArray, total: IntArray, total_squared: IntArray) -> FloatArray:
    """Return the sample standard deviation from moments; NaN below two values.

    >>> spread(np.array([3, 1]), np.array([6, 5]), np.array([14, 25]))
    array([ 1., nan])
    """
    enough = count >= 2
    size = np.where(enough, count, 2).astype(np.float64)
    variance = (total_squared - total.astype(np.float64) ** 2 / size) / (size - 1)
    return np.where(enough, np.sqrt(np.maximum(variance, 0.0)), np.nan)
