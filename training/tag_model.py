"""A tag family's model at work: features become probabilities, and those become decisions, for everyone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from features.tags import TagFamily
from features.windows import IntArray
from training.artifact import Bundle
from training.errors import BundleError
from training.trees import ReadTrees, read_booster

FloatArray = npt.NDArray[np.float64]
Columns = Mapping[str, npt.NDArray[Any]]

TAG, OBSERVED = "tag", "observed"
"""Roles of the two models: confirmed if observed, and observed at all."""

KEY = "key"
"""The input that is the category or brand itself, as its number among the bundle's keys."""

TAGS_TASK = "tags-"

FEW_ROWS = 1_000
"""Up to how many rows putting columns together at once is faster than one after the other."""


def design_matrix(names: Sequence[str], columns: Columns) -> npt.NDArray[np.float32]:
    """Put columns side by side in a model's order, in the one precision that models are fitted and asked in.

    Raises
    ------
    BundleError
        If a feature that the model reads does not exist any more.
    """
    missing = [name for name in names if name not in columns]
    if missing:
        raise BundleError(f"the model reads feature {missing[0]!r}, which no longer exists", "train again")
    rows = len(columns[names[0]]) if names else 0
    if 0 < rows <= FEW_ROWS:
        together = np.concatenate([columns[name] for name in names], dtype=np.float32, casting="unsafe")
        return np.ascontiguousarray(together.reshape(len(names), rows).T)
    matrix = np.empty((rows, len(names)), np.float32)
    for number, name in enumerate(names):
        matrix[:, number] = columns[name]
    return matrix


@dataclass(frozen=True)
class TagScores:
    """Scores of candidate tags, shape (n,) each.

    Attributes
    ----------
    probability, probability_if_observed
        Of being confirmed, and of being confirmed if observed.
    threshold
        From which `probability_if_observed` on the tag is given out; NaN where it never is.
    certificate
        Row of the contract table; -1 where the tag has none.
    """

    probability: FloatArray
    probability_if_observed: FloatArray
    threshold: FloatArray
    certificate: IntArray

    def take(self, chosen: npt.NDArray[Any]) -> TagScores:
        """Return some of the scores."""
        return TagScores(*(values[chosen] for values in vars(self).values()))


class TagModel:
    """Scores the candidates of one family.

    Parameters
    ----------
    bundle
        Of a task named ``tags-<family>``.
    family
        Its declaration.
    threads
        Of LightGBM.
    read
        Makes the trees of their text.
    """

    def __init__(
        self, bundle: Bundle, family: TagFamily, threads: int = 1, read: ReadTrees = read_booster
    ) -> None:
        self.bundle = bundle
        self.family = family
        self._trees = bundle.trees(read)
        self._threads = threads
        self._key_number = {key: number for number, key in enumerate(bundle.keys)}
        self.contract: list[dict[str, Any]] = list(bundle.content["contract"])
        self._row = {row["tag"]: number for number, row in enumerate(self.contract)}

    def key_numbers(self, keys: Sequence[str]) -> FloatArray:
        """Return each key's number among those the model has learnt; NaN for others."""
        return np.array([self._key_number.get(key, np.nan) for key in keys], np.float64)

    def score(
        self, pairs: Columns, customers: Columns, customer_row: IntArray, keys: Sequence[str]
    ) -> TagScores:
        """Score candidates.

        Parameters
        ----------
        pairs
            Affinity features, shape (n,) each; empty for a family without a key.
        customers
            Customer features, one row a customer.
        customer_row
            Shape (n,): which customer each candidate belongs to.
        keys
            The category or brand of each candidate; empty texts for a family without a key.
        """
        if_observed = self._probability(TAG, self._inputs(pairs, customers, customer_row, keys))
        if OBSERVED in self.bundle.models:
            observed = self._probability(OBSERVED, customers)
            strict = self.bundle.calibrators["strict"](if_observed * observed[customer_row])
        else:
            strict = if_observed
        none = np.full(len(strict), -1)
        return self.under_contract(TagScores(strict, if_observed, none.astype(np.float64), none), keys)

    def under_contract(self, scores: TagScores, keys: Sequence[str]) -> TagScores:
        """Return the same scores with the thresholds and certificates of this model's contract."""
        row = np.array([self._row.get(key, -1) for key in keys], np.int64)
        thresholds = np.array([_number(one["threshold"]) for one in self.contract] or [np.nan])
        threshold = np.where(row >= 0, thresholds[row], np.nan)
        return TagScores(scores.probability, scores.probability_if_observed, threshold, row)

    def given(self, scores: TagScores) -> npt.NDArray[np.bool_]:
        """Return which candidates are given out: certified tags from their threshold on."""
        certified = np.array([one["certified"] for one in self.contract] or [False], bool)
        known = scores.certificate >= 0
        reached = scores.probability_if_observed >= np.nan_to_num(scores.threshold, nan=np.inf)
        return np.asarray(known & certified[scores.certificate] & reached)

    def contributions(
        self, pairs: Columns, customers: Columns, customer_row: IntArray, keys: Sequence[str]
    ) -> tuple[list[str], FloatArray]:
        """Return what each feature adds to each candidate's score, in log-odds (TreeSHAP; Lundberg 2020).

        Returns
        -------
        Feature names, and shape (n, n_features + 1): the last column is the model's mean.
        """
        wanted = list(self.bundle.features[TAG])
        matrix = design_matrix(wanted, self._inputs(pairs, customers, customer_row, keys))
        if len(matrix) == 0:
            return wanted, np.empty((0, len(wanted) + 1))
        values = self._trees[TAG].predict(matrix, pred_contrib=True, num_threads=self._threads)
        return wanted, np.asarray(values)

    def _inputs(
        self, pairs: Columns, customers: Columns, customer_row: IntArray, keys: Sequence[str]
    ) -> dict[str, npt.NDArray[Any]]:
        wanted = self.bundle.features[TAG]
        columns = {name: customers[name][customer_row] for name in wanted if name in customers}
        columns |= {name: pairs[name] for name in wanted if name in pairs}
        if KEY in wanted:
            columns[KEY] = self.key_numbers(keys)
        return columns

    def _probability(self, role: str, columns: Columns) -> FloatArray:
        matrix = design_matrix(self.bundle.features[role], columns)
        if len(matrix) == 0:
            return np.empty(0)
        raw = self._trees[role].predict(matrix, num_threads=self._threads)
        return self.bundle.calibrators[role](np.asarray(raw))


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
