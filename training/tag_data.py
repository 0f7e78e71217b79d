"""What a tag family is trained and tested on: claims, their features, and what became of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from features import affinity, customer
from features.history import History
from features.outcomes import CONFIRMED, OutcomeJudge
from features.tags import TagFamily
from features.windows import IntArray, expand
from training.datasets import TEST, DecisionRows, PairDecisions
from training.tag_model import Columns

FloatArray = npt.NDArray[np.float64]
FloatColumn = npt.NDArray[np.float32]


@dataclass(frozen=True)
class TagData:
    """Everything a family is trained or tested on.

    Attributes
    ----------
    rows
        Decision rows.
    pairs
        The claims worth considering at them; without a key, one for each row.
    keys
        The category or brand of each claim; empty texts without a key.
    customers
        Customer features, one entry a decision row.
    affinities
        Affinity features, one entry a claim; empty without a key.
    outcome, observed
        What became of each claim, and which decision rows were observed.
    """

    rows: DecisionRows
    pairs: PairDecisions
    keys: Sequence[str]
    customers: Columns
    affinities: Columns
    outcome: npt.NDArray[np.int8]
    observed: npt.NDArray[np.bool_]

    def keys_of(self, claims: IntArray) -> list[str]:
        """Return the category or brand of some claims."""
        return [self.keys[number] for number in claims.tolist()]

    def in_part(self, part: int) -> npt.NDArray[np.bool_]:
        """Return which claims belong to a slice."""
        return np.asarray(self.rows.part[self.pairs.row] == part)


def tag_data(
    judge: OutcomeJudge,
    family: TagFamily,
    rows: DecisionRows,
    claims: PairDecisions,
    join: Callable[[pl.DataFrame], pl.DataFrame],
    test_judge: OutcomeJudge | None = None,
) -> TagData:
    """Fetch the features of claims, and judge them.

    Parameters
    ----------
    judge
        What came of claims, as far as it was known at the model's instant.
    join
        The feature service: given entity columns, the same rows with the model's inputs. It is asked slice
        by slice, and the answers are kept in the models' single precision, to bound the memory used.
    test_judge
        What came of the claims of slice `TEST`, which a backtest knows.
    """
    part_of_claim = rows.part[claims.row]
    affinities: dict[str, list[FloatColumn]] = {}
    customers: dict[str, list[FloatColumn]] = {}
    positions, kept_rows = [], []
    for part in np.unique(part_of_claim).tolist():
        chosen = np.flatnonzero(part_of_claim == part)
        joined = join(claims.frame[chosen])
        distinct, first = np.unique(claims.row[chosen], return_index=True)
        positions.append(chosen)
        kept_rows.append(distinct)
        for name in customer.CATALOGUE.names(family.service):
            customers.setdefault(name, []).append(joined[name].to_numpy()[first].astype(np.float32))
        for name in affinity.CATALOGUE.names(family.service) if family.key is not None else ():
            affinities.setdefault(name, []).append(joined[name].to_numpy().astype(np.float32))
    order, kept = np.concatenate(positions), np.concatenate(kept_rows)
    renumbered = np.zeros(len(rows), np.int64)
    renumbered[kept] = np.arange(len(kept))
    rows = rows.take(kept)
    claims = PairDecisions(renumbered[claims.row[order]], claims.code[order], claims.frame[order])
    outcome = judge.judge(family, rows.customer[claims.row], claims.code, rows.instant[claims.row])
    observed = judge.observed(family, rows.customer, rows.instant)
    if test_judge is not None:
        row, claim = rows.part == TEST, rows.part[claims.row] == TEST
        later = rows.take(claims.row[claim])
        outcome[claim] = test_judge.judge(family, later.customer, claims.code[claim], later.instant)
        observed[row] = test_judge.observed(family, rows.customer[row], rows.instant[row])
    return TagData(
        rows=rows,
        pairs=claims,
        keys=claims.frame[family.key].to_list() if family.key is not None else [""] * len(order),
        customers={name: np.concatenate(values) for name, values in customers.items()},
        affinities={name: np.concatenate(values) for name, values in affinities.items()},
        outcome=outcome,
        observed=observed,
    )


def base_rates(history: History, judge: OutcomeJudge, family: TagFamily, rows: DecisionRows) -> FloatArray:
    """Return per key the share of observed customers for whom a claim would have come true.

    Parameters
    ----------
    rows
        Every customer at every census of a slice: not only those who got or nearly got a tag.

    Returns
    -------
    Shape (n_keys,), or (1,) for a family without a key.
    """
    observed = judge.observed(family, rows.customer, rows.instant)
    customers, instants = rows.customer[observed], rows.instant[observed]
    if family.key is None:
        came_true = judge.judge(family, customers, np.zeros(len(customers), np.int64), instants) == CONFIRMED
        return np.array([came_true.mean() if len(came_true) else 0.0])
    index, _ = history.pairs(family.key)
    size = len(history.columns.texts(family.key))
    confirmed = np.zeros(size)
    for part, row, pair in expand(*index.ranges(customers)):
        code = index.code[pair]
        outcome = judge.judge(family, customers[part][row], code, instants[part][row])
        confirmed += np.bincount(code, outcome == CONFIRMED, minlength=size)
    return confirmed / max(len(customers), 1)
