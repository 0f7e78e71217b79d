"""The Evidently report: four numbers, tag precision over time and by tag, and every input's drift."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import polars as pl

from configs.telemetry import switch_off
from monitoring.drift import DriftInputs
from monitoring.errors import ReportError
from monitoring.figures import Figures

ROWS_MAX = 20_000
"""Most rows a side: Evidently needs minutes for what NumPy does in a second, see `drift`."""

TAGS_SHOWN = 50
SAMPLE_SEED = 20


def write_evidently(
    path: Path, figures: Figures, claims: pl.DataFrame, inputs: DriftInputs | None
) -> dict[str, float]:
    """Write the report and return its tag metrics.

    Evidently's telemetry is switched off first, in this process's environment.

    Parameters
    ----------
    path
        HTML file to write, 4 to 8 MB: it opens without a network.
    claims
        As `precision.assigned` gives them; observed ones are shown.
    inputs
        Sampled to `ROWS_MAX` rows a side; columns without any value on a side are left out. None: no drift.

    Returns
    -------
    Name of each tag or day metric to its value, as Evidently calculated it.

    Raises
    ------
    ReportError
        If there is neither an observed claim nor an input to show.
    """
    seen = (
        claims.filter(pl.col("outcome").is_in(["confirmed", "refuted"]))
        .select(
            "family",
            pl.col("tag_id").alias("tag"),
            pl.col("day").cast(pl.String),
            came_true=(pl.col("outcome") == "confirmed").cast(pl.Int8),
        )
        .sort("family", "day", "tag")
    )
    reference, current, features = _sampled(inputs)
    if seen.is_empty() and not features:
        raise ReportError(
            "an Evidently report needs observed claims or inputs; there are neither",
            "run `tagtide monitor` again when the first windows have closed",
        )
    switch_off(os.environ)
    with warnings.catch_warnings():
        # Evidently and its dependencies warn of their own deprecations.
        warnings.simplefilter("ignore")
        from evidently import DataDefinition, Dataset, Report
        from evidently.presets import DataDriftPreset

        from monitoring.evidently_metrics import CLAIMS, KeyNumbers

        metrics: list[object] = [
            KeyNumbers(
                labels=[f"{number.name} ({number.target})" for number in figures.numbers],
                values=[number.shown for number in figures.numbers],
            )
        ]
        if not seen.is_empty():
            metrics += _precision_metrics(figures)
        if features:
            metrics.append(DataDriftPreset(columns=features, method="psi"))
            definition = DataDefinition(numerical_columns=features)
            now = Dataset.from_pandas(current.to_pandas(), data_definition=definition)
            then = Dataset.from_pandas(reference.to_pandas(), data_definition=definition)
        else:
            now, then = Dataset.from_pandas(seen.to_pandas()), None
        beside = {} if seen.is_empty() else {CLAIMS: Dataset.from_pandas(seen.to_pandas())}
        run = Report(metrics).run(now, then, additional_data=beside, timestamp=figures.as_of)
        page = run.get_html_str(as_iframe=False)
        values = run.dict()["metrics"]
    path.write_text(page, encoding="utf-8")
    return {
        metric["metric_name"]: metric["value"]
        for metric in values
        if metric["metric_name"].startswith(("TagPrecision", "DayTagPrecision"))
    }


def _precision_metrics(figures: Figures) -> list[object]:
    from monitoring.evidently_metrics import PrecisionByTag, PrecisionOverTime

    metrics: list[object] = []
    contracts = {row.family: row.contract_precision for row in figures.families}
    for family, contract in contracts.items():
        days = [day for day in figures.days if day.family == family and day.precision_observed is not None]
        if days:
            metrics.append(
                PrecisionOverTime(
                    family=family,
                    days=[day.day.isoformat() for day in days],
                    low=[day.wilson_low for day in days],
                    high=[day.wilson_high for day in days],
                    contract=contract,
                )
            )
    shown = sorted((row for row in figures.tags if row.observed), key=lambda row: -row.observed)[:TAGS_SHOWN]
    metrics.append(
        PrecisionByTag(
            tags=[row.tag_id for row in shown],
            observed=[row.observed for row in shown],
            verdicts=[row.status for row in shown],
        )
    )
    return metrics


def _sampled(inputs: DriftInputs | None) -> tuple[pl.DataFrame, pl.DataFrame, list[str]]:
    if inputs is None or inputs.is_empty:
        return pl.DataFrame(), pl.DataFrame(), []
    sides = [
        frame.select(pl.col(list(inputs.features)).cast(pl.Float64).fill_nan(None)).sample(
            min(ROWS_MAX, frame.height), seed=SAMPLE_SEED
        )
        for frame in (inputs.reference, inputs.current)
    ]
    features = [
        name for name in inputs.features if all(side[name].null_count() < side.height for side in sides)
    ]
    return sides[0].select(features), sides[1].select(features), features
