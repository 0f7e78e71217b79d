"""What each feature adds to a model's raw score: a sum over weighted boosters, exact to the last feature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from training.trees import Trees

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Term:
    """One booster of a raw score, which is the sum of ``weight x raw prediction`` over its terms.

    A model that averages several boosters *on the raw scale* has a term for each, with its weight. One that
    averages probabilities is no such sum and cannot be told this way. What is not a booster, such as a
    logistic regression averaged with one, adds its own contributions to these, column by column.

    Attributes
    ----------
    names
        The booster's inputs, in order.
    matrix
        Shape (n, len(names)); as the booster is asked for predictions, in the same precision.
    """

    booster: Trees
    names: Sequence[str]
    matrix: npt.NDArray[Any]
    weight: float = 1.0


def raw_scores(terms: Sequence[Term], threads: int = 1) -> FloatArray:
    """Return the raw score of each row, shape (n,)."""
    parts = [
        term.weight * np.asarray(term.booster.predict(term.matrix, raw_score=True, num_threads=threads))
        for term in terms
    ]
    return np.asarray(np.sum(parts, axis=0), np.float64)


def contributions(terms: Sequence[Term], threads: int = 1) -> tuple[list[str], FloatArray]:
    """Return what each feature adds to the raw score of each row (TreeSHAP; Lundberg et al. 2020).

    Returns
    -------
    The features of all terms, each once, and shape (n, n_features + 1): the last column is the base value,
    what the model says where it knows nothing. Every row sums to its `raw_scores`.
    """
    names = list(dict.fromkeys(name for term in terms for name in term.names))
    place = {name: number for number, name in enumerate(names)}
    total = np.zeros((len(terms[0].matrix), len(names) + 1))
    if len(total) == 0:
        return names, total
    for term in terms:
        found = np.asarray(term.booster.predict(term.matrix, pred_contrib=True, num_threads=threads))
        columns = [*(place[name] for name in term.names), len(names)]
        total[:, columns] += term.weight * found
    return names, total
