"""What the models set out to reach, and whether they do: bounds are stated here, figures are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from training.backtest_figures import baselines_of, is_figure, label_of, parts_of, shown

Part = Mapping[str, Any]


@dataclass(frozen=True)
class Verdict:
    """One goal held against a figure.

    Attributes
    ----------
    part
        Family, horizon or run.
    figure
        Which figure, in words.
    reached, goal
        Both as people read them.
    met
        None where the JSON does not hold the figure.
    """

    part: str
    figure: str
    reached: str
    goal: str
    met: bool | None


@dataclass(frozen=True)
class Bounds:
    """Least and greatest value of a figure; its size alone counts where it is an error of either sign."""

    figure: str
    least: float | None = None
    most: float | None = None
    either_sign: bool = False

    def hold(self, part_name: str, part: Part) -> Verdict:
        """Hold the bounds against a part's figure.

        >>> Bounds("auc", least=0.76).hold("72h", {"auc": 0.763})
        Verdict(part='72h', figure='AUC', reached='0.763', goal='at least 0.760', met=True)
        >>> Bounds("bias", most=0.1, either_sign=True).hold("run", {"bias": -0.12}).met
        False
        """
        value = part.get(self.figure)
        met = None
        if is_figure(value):
            size = abs(value) if self.either_sign else value
            met = (self.least is None or size >= self.least) and (self.most is None or size <= self.most)
        return Verdict(part_name, label_of(self.figure), shown(self.figure, value), self._goal(), met)

    def _goal(self) -> str:
        if self.least is not None and self.most is not None:
            return f"{shown(self.figure, self.least)} to {shown(self.figure, self.most)}"
        if self.most is not None and self.either_sign:
            return f"within ±{shown(self.figure, self.most).lstrip('+')}"
        if self.most is not None:
            return f"at most {shown(self.figure, self.most)}"
        return f"at least {shown(self.figure, self.least)}"


TAGS: Mapping[str, tuple[Bounds, ...]] = {
    "interest": (
        Bounds("precision_observed", least=0.80),
        Bounds("precision_wilson_low", least=0.78),
        Bounds("useful_tags_per_customer_day", least=0.15),
        Bounds("distinct_tags", least=70),
    ),
    "brand_preference": (
        Bounds("precision_observed", least=0.80),
        Bounds("useful_tags_per_customer_day", least=0.06),
    ),
}
"""Of the named families; every further one has to meet its contract or give out nothing."""

PROPENSITY: Mapping[str, tuple[Bounds, ...]] = {
    "72h": (Bounds("auc", least=0.760),),
    "7d": (Bounds("auc", least=0.797),),
}
CALIBRATION_ERROR = Bounds("ece", most=0.015)
GAIN_OVER_RFM = 0.01

TOTAL = Bounds("bias", most=0.10, either_sign=True)
TOTAL_NO_WHALES = Bounds("bias_winsorized", most=0.10, either_sign=True)
TOTAL_IN_DOUBT = 0.20
DECILES, DECILES_OF_WHALES = (
    Bounds("decile_mae_over_mean", most=0.15),
    Bounds("decile_mae_over_mean", most=0.25),
)
COVERAGE = Bounds("interval_coverage_80", least=0.78)
COVERAGE_OF_BUYERS = Bounds("interval_coverage_80_buyers", least=0.70, most=0.90)

WHALES = {"online_retail_ii"}
"""Data sets whose total a handful of customers decide: its own standard error is 13 %."""


def verdicts(data_set: str, task: str, found: Mapping[str, Any]) -> list[Verdict]:
    """Hold a backtest against its goals.

    Parameters
    ----------
    data_set
        Name of the source.
    task
        ``tags``, ``propensity`` or ``clv``.
    found
        The backtest's JSON.
    """
    judge = {"tags": _tags, "propensity": _propensity}.get(task)
    found_verdicts: list[Verdict] = []
    for name, part in parts_of(found).items():
        if "skipped" not in part:
            found_verdicts += judge(name, part) if judge is not None else _value(data_set, name, part)
    return found_verdicts


def _tags(name: str, part: Part) -> Iterator[Verdict]:
    if name in TAGS:
        for bounds in TAGS[name]:
            yield bounds.hold(name, part)
        return
    demanded = part.get("contract", {}).get("precision")
    if part.get("n_assigned") == 0:
        yield Verdict(name, label_of("precision_observed"), "suspended", "its contract, or suspended", True)
    elif is_figure(demanded):
        yield Bounds("precision_observed", least=demanded).hold(name, part)


def _propensity(name: str, part: Part) -> Iterator[Verdict]:
    for bounds in (*PROPENSITY.get(name, ()), CALIBRATION_ERROR):
        yield bounds.hold(name, part)
    rfm = part.get("baseline_logistic", {}).get("auc")
    if is_figure(rfm) and is_figure(part.get("auc")):
        gain = part["auc"] - rfm
        yield Verdict(
            name,
            "AUC over the RFM logistic's",
            f"{gain:+.4f}".replace("-", "−"),
            f"at least +{GAIN_OVER_RFM}",
            gain >= GAIN_OVER_RFM,
        )
    eligible, scored = part.get("eligible"), part.get("scored")
    if is_figure(eligible) and is_figure(scored):
        yield Verdict(name, "customers scored", f"{scored:,}", f"all {eligible:,}", scored == eligible)
    newcomers = part.get("cold_start") or {}
    prior, low, high = (newcomers.get(key) for key in ("prior", "observed_low", "observed_high"))
    if is_figure(prior) and is_figure(low) and is_figure(high):
        among = f"{low:.1%} to {high:.1%}"
        yield Verdict(
            name, "cold start prior", f"{prior:.1%}", f"what newcomers do: {among}", low <= prior <= high
        )
    lower = part.get("auc_gain_lower")
    if is_figure(lower):
        yield Verdict(name, label_of("auc_gain_lower"), shown("auc_gain_lower", lower), "above 0", lower > 0)


def _value(data_set: str, name: str, part: Part) -> Iterator[Verdict]:
    if data_set in WHALES:
        yield _total_in_doubt(name, part)
        yield DECILES_OF_WHALES.hold(name, part)
    else:
        yield TOTAL.hold(name, part)
        yield DECILES.hold(name, part)
    ginis = [
        one["normalized_gini"] for one in baselines_of(part).values() if is_figure(one.get("normalized_gini"))
    ]
    if ginis:
        yield Bounds("normalized_gini", least=max(ginis)).hold(name, part)
    yield COVERAGE.hold(name, part)
    yield COVERAGE_OF_BUYERS.hold(name, part)


def _total_in_doubt(name: str, part: Part) -> Verdict:
    """Judge a total that whales decide: right without them, or not told apart from right and not far off."""
    plain = TOTAL_NO_WHALES.hold(name, part)
    bias, low, high = (part.get(key) for key in ("bias", "bias_low", "bias_high"))
    if not (is_figure(bias) and is_figure(low) and is_figure(high)):
        return plain
    covered = low <= 0 <= high and abs(bias) <= TOTAL_IN_DOUBT
    reached = (
        f"{plain.reached}; with whales {shown('bias', bias)} ({shown('bias', low)} to {shown('bias', high)})"
    )
    goal = f"{plain.goal}, or 0 inside the interval and within ±{TOTAL_IN_DOUBT:.0%}"
    return Verdict(name, plain.figure, reached, goal, None if plain.met is None else plain.met or covered)
