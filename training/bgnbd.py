"""BG/NBD: how often a customer will buy again, from how often and how recently they did.

While alive, a customer buys at random with rate λ ~ Gamma(r, α); after each purchase they leave for good with
probability p ~ Beta(a, b).

[1] Fader, P. S., Hardie, B. G. S., Lee, K. L. (2005). "Counting Your Customers" the Easy Way: An Alternative
    to the Pareto/NBD Model. Marketing Science 24(2), 275-284.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.errors import TrainingDataError
from training.likelihood import minimised

FloatArray = npt.NDArray[np.float64]

LOG_BOUNDS = ((-7.0, 5.0), (-9.0, 5.0), (-5.0, 5.0), (-5.0, 5.0))
"""Of r, alpha (in units of the longest observation), a and b: where data are degenerate the fit ends there,
and within them `BgNbd.expected_purchases` is accurate to nine digits."""

MIN_CUSTOMERS = 10


@dataclass(frozen=True)
class BgNbd:
    """A fitted BG/NBD model. ``alpha`` is in the time unit it was fitted in, the others have none."""

    r: float
    alpha: float
    a: float
    b: float

    def expected_purchases(
        self, frequency: npt.ArrayLike, recency: npt.ArrayLike, age: npt.ArrayLike, horizon: npt.ArrayLike
    ) -> FloatArray:
        """Return the expected number of purchases in the next ``horizon``, given each customer's history.

        Eq (10) from [1], with Euler's transformation of its hypergeometric function,
        ``F(A, B; C; z) = (1-z)^(C-A-B) F(C-A, C-B; C; z)``: only ``C`` then grows with the frequency, which
        keeps it accurate for customers with hundreds of purchases.

        Parameters
        ----------
        frequency
            Shape (n,). Repeat purchases, the first not counted: ``x`` in [1].
        recency
            Shape (n,). Time from first to last purchase, ``t_x``; 0 where there is no repeat.
        age
            Shape (n,). Time from first purchase to now, ``T``.
        horizon
            Length of the future window, ``t``; a scalar or shape (n,).

        Returns
        -------
        Shape (n,), >= 0.
        """
        from scipy.special import hyp2f1

        x, last, observed = _history(frequency, recency, age)
        ahead = np.asarray(horizon, dtype=np.float64)
        # a = 1, and a + b = 1 of who never repeated, are removable singularities of Eq (10)
        a = self.a if abs(self.a - 1) > 1e-6 else 1 + 1e-6
        c = a + self.b + x - 1
        c = np.where(np.abs(c) > 1e-6, c, 1e-6)
        z = ahead / (self.alpha + observed + ahead)
        hyper = (1 - z) ** (a - 1) * hyp2f1(a + self.b - 1 - self.r, a - 1, c, z)
        # Eq (10) from [1]: numerator; its denominator is 1 / P(alive)
        numerator = c / (a - 1) * (1 - hyper)
        return np.maximum(numerator, 0.0) * self.probability_alive(x, last, observed)

    def probability_alive(
        self, frequency: npt.ArrayLike, recency: npt.ArrayLike, age: npt.ArrayLike
    ) -> FloatArray:
        """Return the probability that a customer has not left: 1 for who never repeated.

        ``1 / (1 + a/(b+x-1) ((α+T)/(α+t_x))^(r+x))`` where ``x > 0``: the denominator of Eq (10) from [1].
        """
        x, last, observed = _history(frequency, recency, age)
        with np.errstate(divide="ignore"):
            log_odds_left = (
                np.log(self.a)
                - np.log(np.maximum(self.b + x - 1, 0.0))
                + (self.r + x) * (np.log(self.alpha + observed) - np.log(self.alpha + last))
            )
        return np.where(x > 0, 1 / (1 + np.exp(np.minimum(log_odds_left, 700.0))), 1.0)


def fit_bgnbd(frequency: npt.ArrayLike, recency: npt.ArrayLike, age: npt.ArrayLike) -> BgNbd:
    """Fit by maximum likelihood.

    Parameters
    ----------
    frequency, recency, age
        Shape (n,), as in `BgNbd.expected_purchases`; one row per customer with a purchase.

    Raises
    ------
    TrainingDataError
        If there are fewer than 10 customers, or none ever bought twice: the rates are then not identified.
    """
    x, last, observed = _history(frequency, recency, age)
    if x.size < MIN_CUSTOMERS:
        raise TrainingDataError(
            f"BG/NBD needs at least {MIN_CUSTOMERS} customers with a purchase, got {x.size}"
        )
    if not (x > 0).any():
        raise TrainingDataError(f"BG/NBD needs repeat purchases: none of {x.size} customers has one")
    rows, weight = np.unique(np.column_stack([x, last, observed]), axis=0, return_counts=True)
    scale = max(float(observed.max()), 1e-12)
    x, last, observed = rows[:, 0], rows[:, 1] / scale, rows[:, 2] / scale

    def loss(log_parameters: FloatArray) -> float:
        r, alpha, a, b = np.exp(log_parameters)
        return -float((weight * log_likelihood(r, alpha, a, b, x, last, observed)).sum() / weight.sum())

    starts = ([0.0, 0.0, 0.0, 0.0], [-1.0, -1.0, -1.0, 1.0], [1.0, 1.0, -2.0, 2.0])
    found = minimised(loss, starts, LOG_BOUNDS)
    r, alpha, a, b = (float(value) for value in np.exp(found))
    return BgNbd(r, alpha * scale, a, b)


def log_likelihood(
    r: float, alpha: float, a: float, b: float, x: FloatArray, last: FloatArray, observed: FloatArray
) -> FloatArray:
    """Return each customer's log-likelihood: Eq (6) from [1], in logs throughout.

    Parameters
    ----------
    x, last, observed
        Shape (n,): ``x``, ``t_x`` and ``T`` of [1].
    """
    from scipy.special import betaln, gammaln

    # Eq (6) from [1]: the factor common to both terms
    common = gammaln(r + x) - gammaln(r) + r * np.log(alpha) - betaln(a, b)
    # first term: still alive after x repeats
    alive = betaln(a, b + x) - (r + x) * np.log(alpha + observed)
    # second term: left right after the last repeat
    repeats = np.maximum(x, 1.0)
    left = betaln(a + 1, b + repeats - 1) - (r + x) * np.log(alpha + last)
    return np.asarray(common + np.where(x > 0, np.logaddexp(alive, left), alive))


def _history(
    frequency: npt.ArrayLike, recency: npt.ArrayLike, age: npt.ArrayLike
) -> tuple[FloatArray, FloatArray, FloatArray]:
    x = np.asarray(frequency, dtype=np.float64)
    last = np.asarray(recency, dtype=np.float64)
    observed = np.asarray(age, dtype=np.float64)
    if (x < 0).any() or (last < 0).any() or (last > observed).any():
        raise ValueError("expected frequency >= 0 and 0 <= recency <= age")
    return x, last, observed
