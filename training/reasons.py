"""The strongest reasons of a prediction, in words, with what is left over: together they are its score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from features.definitions import FeatureDefinition
from features.phrases import BESIDE, Phrase, Subject
from training.contributions import FloatArray
from training.model_inputs import every_feature
from training.tag_model import KEY

Columns = Mapping[str, npt.NDArray[Any]]

REASONS = 3
"""How many reasons are given, strongest first."""

FOR, AGAINST = "speaks for", "speaks against"
LOG_ODDS = "log-odds"

KEY_ITSELF = FeatureDefinition(
    name=KEY,
    dtype="float",
    unit="",
    window="",
    meaning="The category or brand itself.",
    null_meaning="the key is too rare for the model to know it by name",
    phrase=Phrase("it is {key}"),
)


@dataclass(frozen=True)
class Reason:
    """Why a score is higher or lower than the base: a feature, with those told together with it.

    Attributes
    ----------
    feature, value
        The strongest of them, and its value: None for null, the text of a category or brand.
    contribution
        What they add to the score together, on its scale.
    words
        ``bought SOFT DRINKS 6 times in 30 days; usual gap 5 days, last 5 days ago``.
    """

    feature: str
    value: float | str | None
    contribution: float
    words: str

    @property
    def direction(self) -> str:
        """Whether it speaks for or against what is predicted."""
        return FOR if self.contribution > 0 else AGAINST

    def to_json(self) -> dict[str, Any]:
        """Return what a reply holds."""
        return vars(self) | {"direction": self.direction}


@dataclass(frozen=True)
class Explanation:
    """How a raw score comes about: ``base + contributions of the reasons + rest = score``.

    Attributes
    ----------
    scale
        What the numbers are in, such as `LOG_ODDS`.
    base
        The score where nothing is known.
    rest
        What all features add that are in none of the reasons.
    """

    scale: str
    base: float
    rest: float
    score: float
    reasons: Sequence[Reason]

    @property
    def words(self) -> str:
        """All reasons in one text."""
        parts = []
        for direction in (FOR, AGAINST):
            told = [one.words for one in self.reasons if one.direction == direction]
            if told:
                parts.append(f"{direction.capitalize()}: {' / '.join(told)}.")
        return " ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """Return what a reply holds; the reasons are a list of their own in it."""
        return {
            "scale": self.scale,
            "base": self.base,
            "rest": self.rest,
            "score": self.score,
            "words": self.words,
            "reasons": [one.to_json() for one in self.reasons],
        }


@dataclass(frozen=True)
class _Topics:
    """The topics of a model's features, shape (n_features,), and the features of each."""

    number: npt.NDArray[np.int64]
    members: Sequence[npt.NDArray[np.int64]]


@dataclass(frozen=True)
class Explainer:
    """Puts contributions in words. Safe to share between threads.

    Attributes
    ----------
    currency
        ISO 4217 code of all amounts, where it is known.
    derived
        Inputs of models that are no features of the catalogues, by name.
    """

    currency: str | None = None
    derived: Mapping[str, FeatureDefinition] = field(default_factory=dict)
    _definitions: dict[str, FeatureDefinition] = field(default_factory=dict)
    _topics: dict[tuple[str, ...], _Topics] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Look the definitions up once."""
        self._definitions.update(every_feature() | {KEY: KEY_ITSELF} | dict(self.derived))

    def explain(
        self,
        names: Sequence[str],
        contributions: FloatArray,
        values: Columns,
        keys: Sequence[str] | None = None,
        scale: str = LOG_ODDS,
    ) -> list[Explanation]:
        """Explain rows.

        Parameters
        ----------
        names, contributions
            As `training.contributions.contributions` gives them: shape (n, len(names) + 1).
        values
            Per name shape (n,), NaN for null.
        keys
            The category or brand of each row; None for rows about a customer alone.
        """
        topics = self._topics_of(tuple(names))
        return [
            self._explained(
                names,
                row,
                {name: float(values[name][number]) for name in names},
                Subject("" if keys is None else keys[number], self.currency),
                topics,
                scale,
            )
            for number, row in enumerate(contributions)
        ]

    def _definition(self, name: str) -> FeatureDefinition:
        known = self._definitions.get(name)
        return known or FeatureDefinition(name, "float", "", "", name.replace("_", " "), "")

    def _topics_of(self, names: tuple[str, ...]) -> _Topics:
        if names not in self._topics:
            topics = [self._definition(name).topic for name in names]
            number = np.unique(topics, return_inverse=True)[1] if topics else np.empty(0, np.int64)
            members = [np.flatnonzero(number == one) for one in range(number.max() + 1 if topics else 0)]
            self._topics[names] = _Topics(number, members)
        return self._topics[names]

    def _explained(
        self,
        names: Sequence[str],
        row: FloatArray,
        values: Mapping[str, float],
        subject: Subject,
        topics: _Topics,
        scale: str,
    ) -> Explanation:
        sums = np.bincount(topics.number, row[:-1], minlength=len(topics.members))
        order = np.argsort(-np.abs(sums), kind="stable")
        shown = [topic for topic in order[:REASONS].tolist() if sums[topic] != 0]
        reasons = []
        for topic in shown:
            members = topics.members[topic]
            strongest = members[np.argmax(row[members] * np.sign(sums[topic]))]
            name = names[strongest]
            value: float | str | None = values[name]
            if name == KEY:
                value = subject.key
            elif values[name] != values[name]:
                value = None
            else:
                value = round(values[name], 4)
            told = self._sentence(name, [(names[one], float(row[one])) for one in members], values, subject)
            reasons.append(Reason(name, value, float(sums[topic]), told))
        rest = float(np.delete(sums, shown).sum())
        return Explanation(scale, float(row[-1]), rest, float(row.sum()), reasons)

    def _sentence(
        self,
        name: str,
        members: Sequence[tuple[str, float]],
        values: Mapping[str, float],
        subject: Subject,
    ) -> str:
        """Tell a feature, with what its topic knows of how often, how far apart and how long ago.

        How often comes first, for it says what the others are about.
        """
        main = self._definition(name)
        if values[name] != values[name]:
            return main.in_words(values[name], subject)
        chosen = {main.role: main} if main.role else {}
        for other, _ in sorted(members, key=lambda member: -abs(member[1])):
            one = self._definition(other)
            if one.role and one.role not in chosen and one.beside(values[other], subject):
                chosen[one.role] = one
        lead = chosen.pop("count", main)
        chosen = {role: one for role, one in chosen.items() if one is not lead}
        told = [chosen[role].beside(values[chosen[role].name], subject) for role in BESIDE if role in chosen]
        parts = [lead.in_words(values[lead.name], subject), ", ".join(told)]
        if main is not lead and not main.role:
            parts.append(main.in_words(values[name], subject))
        return "; ".join(part for part in parts if part)
