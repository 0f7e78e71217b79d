"""Cold start: what customers of whom nothing was known do after their first sign of life.

The population's average would be the wrong answer about a stranger: it is made of regulars. What strangers do
is known from those who were strangers once. A prior is their share of buyers within a horizon after the event
by which they became known, that event itself left out; it is learnt on those who came before the calibrating
slice ended, and held against those who came later.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from features.history import History
from features.windows import to_us
from training.datasets import ACTIVITY, CENSUS, FIT, DecisionRows
from training.metrics import wilson_interval

BORROWED = 20.0
"""Newcomers that the population's share counts for: a handful of newcomers is no measurement."""


def first_signs(history: History, after: datetime, until: datetime) -> DecisionRows:
    """Return each customer whose first sign of life came within a time, at the instant it became known.

    A sign of life is any event but a contact. Of customers who were there when the data began the first event
    seen is none: ``after`` should lie some weeks after that.

    Parameters
    ----------
    after, until
        Aware; the first is left out, the last is in.
    """
    events = history.customers
    alive = np.flatnonzero(events.of_types(ACTIVITY.event_types))
    customer, first = np.unique(events.key[alive], return_index=True)
    known = events.known_at[alive][first]
    new = (known > to_us(after)) & (known <= to_us(until))
    nothing = np.full(int(new.sum()), CENSUS)
    return DecisionRows(customer[new], known[new], nothing, np.full(len(nothing), FIT))


@dataclass(frozen=True)
class Newcomers:
    """What customers did within a horizon after their first sign of life.

    Attributes
    ----------
    learnt
        Shape (n,): whether those bought who came before the calibrating slice ended.
    later
        Shape (n,): whether those bought who came in the slice that nothing was chosen on.
    """

    learnt: npt.NDArray[np.bool_]
    later: npt.NDArray[np.bool_]

    def prior(self, population_share: float) -> float:
        """Return the probability of a purchase by somebody of whom nothing is known.

        Parameters
        ----------
        population_share
            Share of buyers among all customers: what few newcomers are shrunk to, with the weight of
            `BORROWED` of them.

        >>> nobody, some = np.zeros(0, bool), np.array([True] * 5 + [False] * 15)
        >>> Newcomers(nobody, nobody).prior(0.4)
        0.4
        >>> Newcomers(some, nobody).prior(0.4)
        0.325
        """
        return (float(self.learnt.sum()) + BORROWED * population_share) / (len(self.learnt) + BORROWED)

    def held_against(self, prior: float) -> dict[str, float]:
        """Compare a prior with what the later newcomers did.

        Returns
        -------
        ``prior``, ``newcomers_learnt``, ``newcomers``, their share of buyers ``observed`` with its 90 %
        Wilson interval, and ``expected_over_observed``, 1 if the prior was right; NaN where nobody came or
        bought.
        """
        came, bought = len(self.later), int(self.later.sum())
        low, high = wilson_interval(bought, came)
        return {
            "prior": prior,
            "newcomers_learnt": len(self.learnt),
            "newcomers": came,
            "observed": bought / came if came else math.nan,
            "observed_low": low,
            "observed_high": high,
            "expected_over_observed": prior * came / bought if bought else math.nan,
        }
