"""How a feature is declared: one function, its name, unit, windows and what a null means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from configs.errors import did_you_mean
from features.phrases import Measured, Phrase, Role, Subject, beside, in_words
from features.windows import NEVER, SECOND_US, IntArray, Window

FloatArray = npt.NDArray[np.float64]
Rows = TypeVar("Rows")
Computed = Callable[[Rows], npt.NDArray[Any]]
Plan = list[tuple[str, Computed[Rows], np.dtype[Any]]]

CUSTOMER_SERVICES: tuple[str, ...] = ("propensity_v1", "high_intent_v1", "deal_seeker_v1")
"""Feature services of models that judge a customer alone,"""
PAIR_SERVICES: tuple[str, ...] = ("interest_v1", "brand_preference_v1")
"""of those that judge a customer and a category or brand,"""
VALUE_SERVICES: tuple[str, ...] = ("clv_v1",)
"""and of the one that judges what a customer is worth."""
EVERY_SERVICE: tuple[str, ...] = (*CUSTOMER_SERVICES, *PAIR_SERVICES, *VALUE_SERVICES)

DTYPES = {"int": np.dtype(np.int64), "float": np.dtype(np.float64)}
"""The columns' types."""

ONE_ROW = (1,)
"""Shape of one customer's column: two numbers are divided sooner than arrays of one number each."""


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
    services
        The feature services that read it, such as ``propensity_v1``: whose model has it as an input. Without
        any it is computed only where it is asked for by name.
    family
        What the features of one function are called together: ``spend_{window}_minor``, or the name itself.
    phrase
        How a value is put in words. A feature that a service reads has one; without, its meaning is told.
    """

    name: str
    dtype: Literal["int", "float"]
    unit: str
    window: str
    meaning: str
    null_meaning: str
    services: tuple[str, ...] = ()
    family: str = ""
    phrase: Phrase | None = None

    @property
    def topic(self) -> str:
        """What the feature shares with those it is told together with: its phrase's topic, or its family."""
        return (self.phrase.topic if self.phrase is not None else "") or self.family or self.name

    @property
    def role(self) -> Role:
        """As what it is told beside another feature of its topic; empty where it is not."""
        return "" if self.phrase is None else self.phrase.role

    def in_words(self, value: float, subject: Subject) -> str:
        """Say a value, NaN for null: ``bought SOFT DRINKS 6 times in 30 days``."""
        phrase = self.phrase or Phrase(f"{self.meaning.rstrip('.')}: {{value}}")
        return in_words(phrase, self._measured, value, subject)

    def beside(self, value: float, subject: Subject) -> str:
        """Say a value beside another feature of the topic; empty where the feature is not told so."""
        return beside(self.role, self._measured, value, subject)

    @property
    def _measured(self) -> Measured:
        return Measured(self.unit, self.window, self.null_meaning)


class Catalogue(Generic[Rows]):
    """The features of one kind of row, in the order they were declared.

    Parameters
    ----------
    services
        The feature services that read a feature whose declaration names none.
    """

    def __init__(self, services: tuple[str, ...] = ()) -> None:
        self._services = services
        self._entries: dict[str, tuple[FeatureDefinition, Computed[Rows], np.dtype[Any]]] = {}
        self._plans: dict[tuple[str, ...] | None, Plan[Rows]] = {}

    def feature(
        self,
        *,
        unit: str,
        dtype: Literal["int", "float"] = "float",
        null: str = "",
        services: tuple[str, ...] | None = None,
        phrase: Phrase | None = None,
    ) -> Callable[[Callable[[Rows], npt.NDArray[Any]]], Callable[[Rows], npt.NDArray[Any]]]:
        """Declare a function of rows as the feature of the function's name; its docstring is the meaning.

        Parameters
        ----------
        unit, dtype, null, phrase
            See `FeatureDefinition`.
        services
            The feature services that read it; the catalogue's own where it is not given.
        """

        def declare(function: Callable[[Rows], npt.NDArray[Any]]) -> Callable[[Rows], npt.NDArray[Any]]:
            name = function.__name__
            read_by = self._services if services is None else services
            meaning = _meaning(function)
            self._add(
                FeatureDefinition(name, dtype, unit, "", meaning, null, read_by, name, phrase), function
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
        services: tuple[str, ...] | Mapping[Window, tuple[str, ...]] | None = None,
        phrase: Phrase | None = None,
    ) -> Callable[[Callable[[Rows, Window], npt.NDArray[Any]]], Callable[[Rows, Window], npt.NDArray[Any]]]:
        """Declare a function of rows and a window as one feature a window.

        Parameters
        ----------
        name
            With ``{window}`` where the window's name belongs: ``spend_{window}_minor``.
        windows, unit, dtype, null, phrase
            See `FeatureDefinition`.
        services
            The feature services that read it over every window, or per window: then a window that is not
            named is read by none. The catalogue's own services where it is not given.
        """
        if isinstance(services, Mapping) and (unknown := services.keys() - set(windows)):
            names = ", ".join(sorted(window.name for window in unknown))
            raise ValueError(f"feature {name!r} names services of {names}, which it is not computed over")

        def declare(
            function: Callable[[Rows, Window], npt.NDArray[Any]],
        ) -> Callable[[Rows, Window], npt.NDArray[Any]]:
            for window in windows:
                self._add(
                    FeatureDefinition(
                        name=name.format(window=window.name),
                        dtype=dtype,
                        unit=unit,
                        window=window.name,
                        meaning=_meaning(function),
                        null_meaning=null,
                        services=self._services_of(services, window),
                        family=name,
                        phrase=phrase,
                    ),
                    _bound(function, window),
                )
            return function

        return declare

    def _services_of(
        self, services: tuple[str, ...] | Mapping[Window, tuple[str, ...]] | None, window: Window
    ) -> tuple[str, ...]:
        if services is None:
            return self._services
        return services.get(window, ()) if isinstance(services, Mapping) else services

    def _add(self, definition: FeatureDefinition, function: Callable[[Rows], npt.NDArray[Any]]) -> None:
        if definition.name in self._entries:
            raise ValueError(f"feature {definition.name!r} is declared twice")
        self._entries[definition.name] = definition, function, DTYPES[definition.dtype]
        self._plans.clear()

    def definitions(self) -> list[FeatureDefinition]:
        """Return every feature declared."""
        return [definition for definition, *_ in self._entries.values()]

    def names(self, *services: str) -> list[str]:
        """Return the features that any of some services reads, in the order they were declared."""
        return [one.name for one in self.definitions() if not set(services).isdisjoint(one.services)]

    def compute(self, rows: Rows, names: Sequence[str] | None = None) -> dict[str, npt.NDArray[Any]]:
        """Compute features, all of them or only those named, each once.

        Returns
        -------
        Per name an array of shape (n_rows,): int64 or float64 with NaN for null; in the order declared.

        Raises
        ------
        ValueError
            If there is no feature of a name.
        """
        made = {}
        for name, function, dtype in self._plan(None if names is None else tuple(names)):
            values = function(rows)
            # Hundreds of features of one customer: even a cast that does nothing would be felt.
            made[name] = values if values.dtype is dtype else values.astype(dtype, copy=False)
        return made

    def _plan(self, names: tuple[str, ...] | None) -> Plan[Rows]:
        plan = self._plans.get(names)
        if plan is None:
            wanted = self._entries.keys() if names is None else set(names)
            if unknown := sorted(wanted - self._entries.keys()):
                near = did_you_mean(unknown[0], list(self._entries))
                raise ValueError(f"unknown feature {unknown[0]!r}{near}")
            plan = [
                (name, function, dtype)
                for name, (_, function, dtype) in self._entries.items()
                if name in wanted
            ]
            self._plans[names] = plan
        return plan


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
    if part.shape == whole.shape == ONE_ROW:
        divisor = float(whole[0])
        return np.array([float(part[0]) / divisor if divisor else np.nan])
    quotient: FloatArray = part / np.where(whole == 0, np.nan, whole)
    return quotient


def seconds_between(earlier: IntArray, later: IntArray) -> FloatArray:
    """Return seconds from one time to another; NaN where the earlier one never was.

    >>> seconds_between(np.array([0, NEVER]), np.array([2_500_000, 1]))
    array([2.5, nan])
    """
    if earlier.shape == later.shape == ONE_ROW:
        begun = int(earlier[0])
        return np.array([np.nan if begun == NEVER else float(int(later[0]) - begun) / SECOND_US])
    # Where it never was, the difference overflows and is left out.
    return np.where(earlier != NEVER, (later - earlier) / SECOND_US, np.nan)


def spread(count: IntArray, total: IntArray, total_squared: IntArray) -> FloatArray:
    """Return the sample standard deviation from moments; NaN below two values.

    >>> spread(np.array([3, 1]), np.array([6, 5]), np.array([14, 25]))
    array([ 1., nan])
    """
    enough = count >= 2
    size = np.where(enough, count, 2).astype(np.float64)
    variance = (total_squared - total.astype(np.float64) ** 2 / size) / (size - 1)
    return np.where(enough, np.sqrt(np.maximum(variance, 0.0)), np.nan)
