"""Tag precision as Evidently metrics, read from judged claims beside the model's inputs.

Evidently's own ``GroupBy(Precision, "tag")`` gives every group the overall value, so each tag and each day is
a metric of its own here. Importing this module imports Evidently, which takes seconds: do so where used.
"""

# Evidently ships no types, and its interface fixes the arguments of every method here.
# mypy: disable-error-code="import-untyped", allow-subclassing-any
# ruff: noqa: ARG002

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
from evidently.core.container import MetricContainer
from evidently.core.datasets import Dataset
from evidently.core.metric_types import SingleValueCalculation, SingleValueMetric
from evidently.core.report import Context
from evidently.legacy.renderers.html_widgets import CounterData, counter, plotly_figure, table_data

CLAIMS = "claims"
"""The additional data set: columns ``family``, ``tag``, ``day`` (ISO text) and ``came_true`` (0 or 1)."""


class KeyNumbers(MetricContainer):
    """The four numbers, first. They are measured elsewhere and only shown here."""

    labels: list[str]
    values: list[str]

    def generate_metrics(self, context: Context) -> list[Any]:
        """Return nothing to calculate."""
        return []

    def render(self, context: Context, child_widgets: Any = None) -> list[Any]:
        """Return one row of counters."""
        counters = [CounterData(*pair) for pair in zip(self.labels, self.values, strict=True)]
        return [counter(title="Four numbers first", counters=counters)]


class TagPrecision(SingleValueMetric):
    """Share of a tag's observed claims that came true."""

    tag: str


class TagPrecisionCalculation(SingleValueCalculation[TagPrecision]):
    """Mean of ``came_true`` over the tag's claims."""

    def calculate(self, context: Context, current_data: Dataset, reference_data: Dataset | None) -> Any:
        """Return the current value; the past has none."""
        claims = context.additional_data[CLAIMS].as_dataframe()
        return self.result(float(claims.loc[claims["tag"] == self.metric.tag, "came_true"].mean())), None

    def display_name(self) -> str:
        """Name the metric."""
        return f"Precision of {self.metric.tag}"


class DayTagPrecision(SingleValueMetric):
    """Share of a family's observed claims of one day that came true."""

    family: str
    day: str


class DayTagPrecisionCalculation(SingleValueCalculation[DayTagPrecision]):
    """Mean of ``came_true`` over the family's claims of the day."""

    def calculate(self, context: Context, current_data: Dataset, reference_data: Dataset | None) -> Any:
        """Return the current value; the past has none."""
        claims = context.additional_data[CLAIMS].as_dataframe()
        chosen = (claims["family"] == self.metric.family) & (claims["day"] == self.metric.day)
        return self.result(float(claims.loc[chosen, "came_true"].mean())), None

    def display_name(self) -> str:
        """Name the metric."""
        return f"Precision of {self.metric.family} on {self.metric.day}"


class PrecisionOverTime(MetricContainer):
    """A family's precision by day, as one chart over one metric a day."""

    family: str
    days: list[str]
    low: list[float]
    high: list[float]
    contract: float | None

    def generate_metrics(self, context: Context) -> list[Any]:
        """Return one metric per day."""
        return [DayTagPrecision(family=self.family, day=day) for day in self.days]

    def render(self, context: Context, child_widgets: Any = None) -> list[Any]:
        """Return the chart."""
        values = [context.get_metric_result(metric).value for metric in self.metrics(context)]
        figure = go.Figure()
        figure.add_scatter(
            x=[*self.days, *reversed(self.days)],
            y=[*self.high, *reversed(self.low)],
            fill="toself",
            fillcolor="rgba(31, 95, 208, 0.13)",
            mode="lines",
            line={"width": 0},
            hoverinfo="skip",
            name="90% interval",
        )
        figure.add_scatter(
            x=self.days, y=values, mode="lines+markers", line={"color": "#1f5fd0"}, name="observed precision"
        )
        if self.contract is not None:
            figure.add_hline(
                y=self.contract, line_dash="dash", line_color="#b3261e", annotation_text="contract"
            )
        figure.update_layout(yaxis={"tickformat": ".0%"}, xaxis={"type": "category"})
        return [plotly_figure(title=f"Tag precision over time: {self.family}", figure=figure)]


class PrecisionByTag(MetricContainer):
    """Every tag's precision in one table, over one metric a tag."""

    tags: list[str]
    observed: list[int]
    verdicts: list[str]

    def generate_metrics(self, context: Context) -> list[Any]:
        """Return one metric per tag."""
        return [TagPrecision(tag=tag) for tag in self.tags]

    def render(self, context: Context, child_widgets: Any = None) -> list[Any]:
        """Return the table."""
        values = [context.get_metric_result(metric).value for metric in self.metrics(context)]
        rows = zip(self.tags, values, self.observed, self.verdicts, strict=True)
        return [
            table_data(
                title="Tag precision by tag",
                column_names=["tag", "precision", "observed claims", "status"],
                data=[(tag, f"{value:.1%}", count, verdict) for tag, value, count, verdict in rows],
            )
        ]
