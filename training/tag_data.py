"""What a tag family is trained and tested on: claims, their features, and what became of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from features import affinity, customer
from features.history import History
from features.memory import PairIndex
from features.outcomes import CONFIRMED, REFUTED, OutcomeJudge
from features.tags import TagFamily
from features.windows import IntArray, expand
from training.datasets import TEST, DecisionRows, PairDecisions
from training.errors import TrainingDataError
from training.tag_model import Columns

FloatArray = npt.NDArray[np.float64]
FloatColumn = npt.NDArray[np.float32]

ASKED_AT_ONCE = 1_000_000
"""Claims whose features are fetched together: some 100 columns of each, in double precision."""


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
        The feature service: given entity columns, the same rows with the model's inputs. It is asked part
        by part, and the answers are kept in the models' single precision, to bound the memory used.
    test_judge
        What came of the claims of slice `TEST`, which a backtest knows.

    Raises
    ------
    TrainingDataError
        If there is no candidate at all.
    """
    if len(claims.row) == 0:
        raise TrainingDataError(
            f"family {family.family!r}: none of {len(rows)} customers at decision instants is a candidate; "
            "expected some",
            "import more history, or choose a later --as-of",
        )
    part_of_claim = rows.part[claims.row]
    affinities: dict[str, list[FloatColumn]] = {}
    customers: dict[str, list[FloatColumn]] = {}
    positions, kept_rows = [], []
    for chosen in asked_together(part_of_claim, claims.row):
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


def asked_together(part: IntArray, row: IntArray, at_once: int = ASKED_AT_ONCE) -> Iterator[IntArray]:
    """Divide claims by slice, and large slices further; the claims of a decision row stay together.

    >>> [claims.tolist() for claims in asked_together(np.zeros(5, int), np.array([0, 0, 1, 1, 2]), 2)]
    [[0, 1], [2, 3], [4]]
    """
    for number in np.unique(part).tolist():
        chosen = np.flatnonzero(part == number)
        chosen = chosen[np.argsort(row[chosen], kind="stable")]
        owners = row[chosen]
        begins = np.flatnonzero(np.r_[True, owners[1:] != owners[:-1]])
        # A group ends with the row that fills it.
        wanted = np.unique(np.searchsorted(begins, np.arange(at_once, len(chosen), at_once)))
        yield from np.split(chosen, begins[wanted[wanted < len(begins)]])


def base_rates(history: History, judge: OutcomeJudge, family: TagFamily, rows: DecisionRows) -> FloatArray:
    """Return per key the share of observed customers for whom a claim would have come true.

    Parameters
    ----------
    rows
        Every customer at every census of a slice: not only those who got or nearly got a tag.

    Returns
    -------
    Shape (n_keys,), or (1,) for a family without a key; 0 where nobody was observed.
    """
    columns, customers, instants = history.columns, rows.customer, rows.instant
    if family.key is None:
        outcome = judge.judge(family, customers, np.zeros_like(customers), instants)
        confirmed, refuted = (np.array([np.sum(outcome == what)], float) for what in (CONFIRMED, REFUTED))
        return _share(confirmed, refuted)
    size = len(columns.texts(family.key))
    # With most keys a customer never has anything to do: what becomes of those claims is the same for all.
    elsewhere = judge.judge(family, customers, np.full_like(customers, size), instants)
    confirmed, refuted = (np.full(size, float(np.sum(elsewhere == what))) for what in (CONFIRMED, REFUTED))
    index = PairIndex.of(columns.customer, getattr(columns, family.key), size)
    for part, row, pair in expand(*index.ranges(customers)):
        code = index.code[pair]
        outcome = judge.judge(family, customers[part][row], code, instants[part][row])
        for counted, what in ((confirmed, CONFIRMED), (refuted, REFUTED)):
            more = (outcome == what).astype(float) - (elsewhere[part][row] == what)
            counted += np.bincount(code, more, minlength=size)
    return _share(confirmed, refuted)


def _share(confirmed: FloatArray, refuted: FloatArray) -> FloatArray:
    return np.asarray(confirmed / np.maximum(confirmed + refuted, 1.0))
