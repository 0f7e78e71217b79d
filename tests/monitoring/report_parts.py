"""Plain figures to render, as a gathering would give them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from monitoring.claims import Measurement
from monitoring.drift import FeatureDrift, Verdict
from monitoring.figures import Figures, SuspendedTag
from monitoring.key_numbers import four_numbers
from monitoring.precision import DayPrecision, PrecisionRow, ProvisionalRow, Status
from monitoring.served_propensity import PropensityRow
from training.metrics import wilson_interval


def precision_row(
    tag_id: str | None = None,
    *,
    confirmed: int = 80,
    refuted: int = 20,
    unobserved: int = 0,
    status: Status = "ok",
    family: str = "interest",
) -> PrecisionRow:
    """Return a row whose shares follow from its counts."""
    n, seen = confirmed + refuted + unobserved, confirmed + refuted
    low, high = wilson_interval(confirmed, seen) if seen else (None, None)
    return PrecisionRow(
        family=family,
        tag_id=tag_id,
        n=n,
        confirmed=confirmed,
        refuted=refuted,
        unobserved=unobserved,
        customers=n,
        precision_observed=confirmed / seen if seen else None,
        precision_strict=confirmed / n if n else None,
        wilson_low=low,
        wilson_high=high,
        base_rate=0.25,
        lift=confirmed / seen / 0.25 if seen else None,
        ece=0.031 if seen else None,
        expected_precision=0.82,
        contract_precision=0.80,
        certified_precision=0.81,
        certified_lift=2.4,
        status=status,
    )


def day_precision(day: int, confirmed: int, refuted: int, family: str = "interest") -> DayPrecision:
    """Return one day of March 2026."""
    seen = confirmed + refuted
    low, high = wilson_interval(confirmed, seen) if seen else (None, None)
    return DayPrecision(
        family=family,
        day=date(2026, 3, day),
        n=seen + 5,
        confirmed=confirmed,
        refuted=refuted,
        precision_observed=confirmed / seen if seen else None,
        precision_strict=confirmed / (seen + 5),
        wilson_low=low,
        wilson_high=high,
    )


def propensity_row(horizon: str = "72h", lift: float = 2.1) -> PropensityRow:
    """Return one horizon."""
    return PropensityRow(horizon, 1_000, 400, 0.4, 0.41, 0.76, 0.012, 0.2, lift)


def drift_row(feature: str, psi: float, verdict: Verdict) -> FeatureDrift:
    """Return one input."""
    return FeatureDrift(feature, psi, 0.002, verdict, 0.0, 0.25, 12.0, float("nan"))


def full_figures() -> Figures:
    """Return a report with something in every part."""
    as_of = datetime(2026, 3, 9, tzinfo=UTC)
    return Figures(
        title="Monitoring report",
        source="shop",
        as_of=as_of,
        since=as_of - timedelta(days=7),
        until=as_of - timedelta(hours=1),
        time_zone="Asia/Shanghai",
        numbers=four_numbers(
            precision_row(unobserved=50),
            Measurement("event_to_tag_p99_ms", 38.2, 0, "12,000 replayed events"),
            [propensity_row()],
            None,
        ),
        families=(precision_row(unobserved=50),),
        tags=(
            precision_row("interest:CHIPS & DIPS <salty>", confirmed=70, refuted=10, unobserved=40),
            precision_row("interest:茶", confirmed=3, refuted=10, status="below"),
            precision_row("interest:NOTHING SEEN", confirmed=0, refuted=0, unobserved=4, status="too few"),
        ),
        days=(
            day_precision(2, 40, 10),
            day_precision(3, 0, 0),
            day_precision(4, 30, 3),
            day_precision(5, 10, 7),
        ),
        provisional=(ProvisionalRow("interest", 321, 0.805),),
        controls=(precision_row(confirmed=3, refuted=27),),
        useful_tags_per_customer_day={"interest": 0.139},
        customer_days=4_321,
        propensity=(propensity_row(), propensity_row("7d", 1.5)),
        drift=(
            drift_row("contact_count_7d", 1.556, "drifted"),
            drift_row("spend_30d_minor", 0.12, "look closer"),
            *(drift_row(f"stable_{number}", 0.01, "stable") for number in range(14)),
            drift_row("rare", float("nan"), "too few rows"),
        ),
        drift_reference="20,000 customers seen before the midnights of February",
        drift_current="6,000 customers seen in March",
        suspended=(SuspendedTag("interest", "interest:YOGURT", "precision 0.71 is below 0.75"),),
        notes=("A note <for> the reader.",),
    )


def empty_figures() -> Figures:
    """Return the report of a home where nothing has happened yet."""
    return Figures(
        title="Monitoring report",
        source="shop",
        as_of=datetime(2026, 3, 9, tzinfo=UTC),
        since=None,
        until=None,
        time_zone="UTC",
        numbers=four_numbers(None, None, [], None),
        families=(),
        tags=(),
        days=(),
        provisional=(),
        controls=(),
        useful_tags_per_customer_day={},
        customer_days=0,
        propensity=(),
    )
