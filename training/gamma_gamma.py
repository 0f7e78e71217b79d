"""Gamma-Gamma: what a customer's orders are worth on average, shrunk towards everyone's.

A customer's orders vary around their own mean, and the means vary between customers; neither depends on how
often they buy.

[1] Fader, P. S., Hardie, B. G. S. (2013). The Gamma-Gamma Model of Monetary Value.
    http://www.brucehardie.com/notes/025/
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.errors import TrainingDataError
from training.likelihood import minimised

FloatArray = npt.NDArray[np.float64]

LOG_BOUND = 12.0
MIN_CUSTOMERS = 10


@dataclass(frozen=True)
class GammaGamma:
    """A fitted Gamma-Gamma model. ``gamma`` is in the money unit it was fitted in, the others have none."""

    p: float
    q: float
    gamma: float

    @property
    def population_mean(self) -> float:
        """Expected order value of a customer nothing is known of: ``p γ / (q - 1)``, Eq (3) from [1]."""
        return self.p * self.gamma / (self.q - 1)

    def expected_value(self, orders: npt.ArrayLike, mean_value: npt.ArrayLike) -> FloatArray:
        """Return each customer's expected order value: Eq (5) from [1].

        Parameters
        ----------
        orders
            Shape (n,). Orders the mean was taken over; 0 gives `population_mean`.
        mean_value
            Shape (n,). Their mean value; taken as 0 where negative (returned more than bought).
        """
        x = np.asarray(orders, dtype=np.float64)
        mean = np.maximum(np.nan_to_num(np.asarray(mean_value, dtype=np.float64)), 0.0)
        # Eq (5) from [1], in the form without division by x
        return np.asarray(self.p * (self.gamma + x * mean) / (self.p * x + self.q - 1))


def fit_gamma_gamma(orders: npt.ArrayLike, mean_value: npt.ArrayLike) -> GammaGamma:
    """Fit by maximum likelihood on the customers with orders of positive mean value.

    ``q > 1`` is imposed: below it the mean order value of the population does not exist.

    Parameters
    ----------
    orders, mean_value
        Shape (n,). Number of orders and their mean value, any money unit.

    Raises
    ------
    TrainingDataError
        If fewer than 10 customers have orders of positive mean value.
    """
    x = np.asarray(orders, dtype=np.float64)
    mean = np.asarray(mean_value, dtype=np.float64)
    known = (x > 0) & (mean > 0)
    x, mean = x[known], mean[known]
    if x.size < MIN_CUSTOMERS:
        raise TrainingDataError(
            f"Gamma-Gamma needs at least {MIN_CUSTOMERS} customers with orders of value, got {x.size}"
        )
    scale = float(np.median(mean))
    mean = mean / scale

    def loss(parameters: FloatArray) -> float:
        p, excess, gamma = np.exp(parameters)
        return -float(log_likelihood(p, 1 + excess, gamma, x, mean).mean())

    found = minimised(loss, [[1.0, 0.5, 0.5]], [(-LOG_BOUND, LOG_BOUND)] * 3)
    p, excess, gamma = (float(value) for value in np.exp(found))
    return GammaGamma(p, 1 + excess, gamma * scale)


def log_likelihood(p: float, q: float, gamma: float, x: FloatArray, mean: FloatArray) -> FloatArray:
    """Return the log-density of each customer's mean order value: Eq (1a) from [1].

    Parameters
    ----------
    x, mean
        Shape (n,), > 0: orders and their mean value.
    """
    from scipy.special import betaln

    # Eq (1a) from [1]
    return np.asarray(
        -betaln(p * x, q)
        + q * np.log(gamma / (gamma + x * mean))
        + p * x * np.log(x * mean / (gamma + x * mean))
        - np.log(mean)
    )
