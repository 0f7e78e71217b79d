"""What a model needs at the least: customers, and outcomes of both kinds. Less is refused with numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from configs.errors import TagtideError
from features.outcomes import CONFIRMED, REFUTED
from training.datasets import CALIBRATE, CERTIFY, FIT
from training.errors import TrainingDataError

if TYPE_CHECKING:
    from training.workbench import Workbench

IntArray = npt.NDArray[np.int64]

LEAST_CUSTOMERS: Mapping[str, int] = {"tags": 50, "propensity": 50, "clv": 100}
"""Customers who did something, or bought something where value is learnt: fewer are no population."""

LEAST_SPENDERS = 20
"""Customers with something spent in CLV's outcome windows."""

MORE_HISTORY = "import more history, or choose a later --as-of"


def require_customers(task: str, bench: Workbench) -> None:
    """Refuse a task for which too few customers are known at the workbench's instant.

    Parameters
    ----------
    task
        ``tags``, ``propensity`` or ``clv``.

    Raises
    ------
    TrainingDataError
        With the number there is and the number it takes.
    """
    counts = pl.col("event_type") == "purchase" if task == "clv" else pl.col("event_type") != "contact"
    known = pl.max_horizontal("event_time", "ingested_at") <= bench.as_of
    found = int(bench.events.filter(known, counts)["customer_id"].n_unique())
    if found < LEAST_CUSTOMERS[task]:
        did = "who bought something" if task == "clv" else "who did something"
        raise TrainingDataError(
            f"{task} as of {bench.as_of.isoformat()}: {found:,} customers {did}; "
            f"expected {LEAST_CUSTOMERS[task]:,} or more",
            f"import more customers' events{'' if task != 'clv' else ', with their purchases'}",
        )


def require_claims(family: str, part: IntArray, outcome: npt.NDArray[Any], least: int) -> None:
    """Refuse a tag family with too few claims that came true, or too few that did not, in a slice.

    Parameters
    ----------
    part, outcome
        Shape (n_claims,): the slice, and what became of each.

    Raises
    ------
    TrainingDataError
        With the numbers.
    """
    for number, name in ((FIT, "fit"), (CALIBRATE, "calibrate"), (CERTIFY, "certify")):
        inside = outcome[part == number]
        confirmed, refuted = int((inside == CONFIRMED).sum()), int((inside == REFUTED).sum())
        if min(confirmed, refuted) < least:
            raise TrainingDataError(
                f"family {family!r}: slice {name!r} has {confirmed} confirmed and {refuted} refuted "
                f"claims; expected {least} of each",
                MORE_HISTORY,
            )


def require_spenders(customers: IntArray, outcome: npt.NDArray[np.float64]) -> None:
    """Refuse CLV rows of too few customers, or of too few who spent something.

    Parameters
    ----------
    customers, outcome
        Shape (n_rows,): whose row it is, and what was spent after its cut-off, minor units.

    Raises
    ------
    TrainingDataError
        With the numbers.
    """
    rows = len(np.unique(customers))
    if rows < LEAST_CUSTOMERS["clv"]:
        raise TrainingDataError(
            f"CLV needs at least {LEAST_CUSTOMERS['clv']} customers with a closed outcome window, got {rows}",
            "import more customers",
        )
    spenders = len(np.unique(customers[outcome > 0]))
    if spenders < LEAST_SPENDERS:
        amounts = "map amount_minor if the source has amounts, or import a longer history"
        raise TrainingDataError(
            f"CLV needs at least {LEAST_SPENDERS} customers who spent something, net of refunds, in a closed "
            f"outcome window; got {spenders} of {rows}",
            "import a longer history" if spenders else amounts,
        )


def joint_refusal(refusals: Mapping[str, TagtideError]) -> TagtideError:
    """Return the error of a run of which nothing was possible: the only one, or one that tells all.

    Parameters
    ----------
    refusals
        Why each part was not possible; not empty.

    >>> one, other = TrainingDataError("3 customers", "import more"), TrainingDataError("2 days", "wait")
    >>> joint_refusal({"tags": one}).message
    '3 customers'
    >>> joint_refusal({"tags": one, "clv": other}).message
    'no model can be trained: 3 customers; 2 days'
    """
    distinct = list({one.message: one for one in refusals.values()}.values())
    if len(distinct) == 1:
        return distinct[0]
    return TrainingDataError(
        f"no model can be trained: {'; '.join(one.message for one in distinct)}",
        next((one.next_step for one in distinct if one.next_step), ""),
    )
