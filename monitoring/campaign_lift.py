"""What a campaign changed: those contacted against others who had spent alike, each against their own past.

There is no randomised control in such data. The difference between the window after and the window before
the contact is compared with the same difference of customers whom nobody contacted, within strata of equal
spend before: difference in differences on coarsened exact matches [1, 2]. Strata look at the two windows
before the one that is subtracted: matched on that one itself, controls would be those who happened to spend
much in it, and fall back whatever is done [3].

It is right if, within a stratum, spend of both sides would have moved alike without the contact. Choosing
customers for a campaign because more is expected of them breaks that. The *placebo*, the same comparison one
window earlier, when nothing had been sent yet, should find nothing; what it finds measures the error.

[1] Iacus, King & Porro 2012, Causal inference without balance checking, Political Analysis 20(1):1-24.
[2] Heckman, Ichimura & Todd 1997, Matching as an econometric evaluation estimator, REStud 64(4):605-654.
[3] Daw & Hatfield 2018, Matching and regression to the mean in difference-in-differences analysis, Health
    Services Research 53(6):4138-4156.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.windows import DAY_US
from monitoring.campaigns import Campaign, SpendAxis

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

STRATA = 10
MATCHED_WINDOWS = 3
"""Strata look at spend from so many windows before the contact to one before it."""
LEAST_CONTROLS = 5
"""Controls that a stratum needs; contacted customers of a stratum with fewer are left out, and counted."""


@dataclass(frozen=True)
class Comparison:
    """Contacted customers and their controls, by stratum.

    Attributes
    ----------
    customer, stratum, change
        Of the contacted, shape (n,): number, stratum or -1 where none has enough controls, and net spend
        after less net spend before, minor units.
    control, control_stratum, control_change
        The same of the controls, shape (m,).
    """

    customer: IntArray
    stratum: IntArray
    change: IntArray
    control: IntArray
    control_stratum: IntArray
    control_change: IntArray

    @property
    def is_matched(self) -> npt.NDArray[np.bool_]:
        """Which contacted customers have controls, shape (n,)."""
        return np.asarray(self.stratum >= 0)

    def expected_change(self, control_weight: FloatArray) -> FloatArray:
        """Return the mean change of the controls of each contacted customer's stratum.

        Parameters
        ----------
        control_weight
            How often each control counts, shape (m,).

        Returns
        -------
        Shape (n,); NaN without controls.
        """
        size = max(int(self.stratum.max(initial=-1)), int(self.control_stratum.max(initial=-1))) + 1
        count = np.bincount(self.control_stratum, control_weight, size)
        total = np.bincount(self.control_stratum, control_weight * self.control_change, size)
        mean = np.divide(total, count, out=np.full(size, np.nan), where=count > 0)
        return np.where(self.is_matched, mean[self.stratum] if size else np.nan, np.nan)

    def effect_minor(self, weight: FloatArray, control_weight: FloatArray) -> float:
        """Return what the contacts changed in total, minor units; NaN where nobody has controls.

        The mean change of those with controls stands for the others too.

        Parameters
        ----------
        weight, control_weight
            How often each contacted customer and each control counts, shape (n,) and (m,).
        """
        gain = self.change - self.expected_change(control_weight)
        known = ~np.isnan(gain)
        counted = float(weight[known].sum())
        if counted == 0:
            return float("nan")
        return float((weight[known] * gain[known]).sum()) / counted * float(weight.sum())


def compare(
    campaign: Campaign,
    campaigns: list[Campaign],
    axis: SpendAxis,
    window_days: int,
    *,
    windows_earlier: int = 0,
) -> Comparison:
    """Find a campaign's controls and both sides' changes.

    Controls had bought before, and nobody contacted them from a window before to a window after the
    campaign's middle contact, which is when they are looked at. Strata are tenths of what the contacted had
    spent in the two windows before the one that is subtracted.

    Parameters
    ----------
    campaigns
        All of them, this one among them.
    windows_earlier
        By how many windows to look earlier: 1 for the placebo.
    """
    window = window_days * DAY_US
    middle = campaign.middle_us
    everyone = np.arange(len(axis.customers))
    at = np.full(len(everyone), middle)
    is_free = axis.has_bought_by(everyone, at)
    is_free[campaign.customer] = False
    for other in campaigns:
        near = (other.contacted_us > middle - window) & (other.contacted_us <= middle + window)
        is_free[other.customer[near]] = False
    controls = everyone[is_free]
    seen, control_seen = (
        instants - windows_earlier * window for instants in (campaign.contacted_us, at[is_free])
    )
    before = axis.between(campaign.customer, seen - MATCHED_WINDOWS * window, seen - window)
    control_before = axis.between(controls, control_seen - MATCHED_WINDOWS * window, control_seen - window)
    edges = np.unique(np.quantile(before, np.arange(1, STRATA) / STRATA, method="higher"))
    stratum = np.searchsorted(edges, before, side="right")
    control_stratum = np.searchsorted(edges, control_before, side="right")
    enough = np.bincount(control_stratum, minlength=len(edges) + 1) >= LEAST_CONTROLS
    return Comparison(
        campaign.customer,
        np.where(enough[stratum], stratum, -1).astype(np.int64),
        change_of_spend(axis, campaign.customer, seen, window),
        controls,
        control_stratum.astype(np.int64),
        change_of_spend(axis, controls, control_seen, window),
    )


def change_of_spend(axis: SpendAxis, customer: IntArray, at: IntArray, window_us: int) -> IntArray:
    """Return net spend in the window after an instant less that in the window before, minor units."""
    return axis.between(customer, at, at + window_us) - axis.between(customer, at - window_us, at)
