"""The plain rule that tags are compared with: who looked at or bought the key lately will do so again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from features.history import History
from features.outcomes import CONFIRMED, UNOBSERVED, OutcomeJudge
from features.profile import MOMENTS
from features.tags import TagFamily
from features.windows import HOUR_72, WindowRows
from training.datasets import active_at


def rule_precision_observed(history: History, family: TagFamily, days: Sequence[datetime]) -> float:
    """Return how often the rule's claims at the censuses of some days came true, of those observed.

    Parameters
    ----------
    history
        Everything known when the claims are judged.
    family
        With a key: the rule claims every key with attention in the last 72 h. Without one: everybody active.
    days
        Midnights, aware.

    Returns
    -------
    NaN if no claim was observed.
    """
    judge = OutcomeJudge(history.columns)
    customers, instants = active_at(history, days, HOUR_72.length_us or 0)
    if family.key is None:
        outcome = judge.judge(family, customers, np.zeros_like(customers), instants)
    else:
        rows = history.customer_rows(customers, instants)
        row, pair = history.candidate_pairs(family.key, rows, family.candidate.rule)
        index, memory = history.pairs(family.key)
        lately = WindowRows(memory, pair, instants[row]).sum(MOMENTS, HOUR_72.length_us) > 0
        row, pair = row[lately], pair[lately]
        outcome = judge.judge(family, customers[row], index.code[pair], instants[row])
    observed = outcome != UNOBSERVED
    return float((outcome[observed] == CONFIRMED).mean()) if observed.any() else float("nan")
