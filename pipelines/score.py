"""`tagtide score`: every customer's tags, propensity and value, into Parquet."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import polars as pl
import typer

from configs.home import Home
from configs.settings import Settings
from features.events import INSTANT
from pipelines.audit import by_command, record
from pipelines.build_features import asked_or_latest
from pipelines.errors import CommandError, MissingStepError
from pipelines.instants import AsOf
from pipelines.invocation import Invocation, JsonFlag
from training.high_value import TAG_ID as HIGH_VALUE

if TYPE_CHECKING:
    from rich.progress import Progress

    from serving.permissions import Permissions
    from serving.scores import CustomerScores

CHUNK = 250

CLV_AMOUNTS = ("expected", "low", "high", "purchase", "interaction", "referral")
OTHER_HORIZONS_DAYS = (183, 365)
"""Of CLV; their columns are null where the model was not trained for them."""

CUSTOMERS_SCHEMA: dict[str, Any] = {
    "customer_id": pl.String(),
    "as_of": INSTANT,
    "status": pl.String(),
    "life_cycle_stage": pl.String(),
    "segment": pl.Int32(),
    "is_high_value": pl.Boolean(),
    "propensity_72h": pl.Float64(),
    "propensity_7d": pl.Float64(),
    "propensity_30d": pl.Float64(),
    "clv_horizon_days": pl.Int32(),
    "clv_expected_minor": pl.Int64(),
    "clv_low_minor": pl.Int64(),
    "clv_high_minor": pl.Int64(),
    "clv_purchase_minor": pl.Int64(),
    "clv_interaction_minor": pl.Int64(),
    "clv_referral_minor": pl.Int64(),
    **{f"clv_{days}d_{amount}_minor": pl.Int64() for days in OTHER_HORIZONS_DAYS for amount in CLV_AMOUNTS},
}
TAGS_SCHEMA: dict[str, Any] = {
    "customer_id": pl.String(),
    "as_of": INSTANT,
    "tag_id": pl.String(),
    "family": pl.String(),
    "key": pl.String(),
    "probability": pl.Float64(),
    "probability_if_observed": pl.Float64(),
    "precision": pl.Float64(),
    "lift": pl.Float64(),
    "model_version": pl.String(),
}
REASONS_SCHEMA: dict[str, Any] = {
    "customer_id": pl.String(),
    "as_of": INSTANT,
    "about": pl.String(),
    "scale": pl.String(),
    "base": pl.Float64(),
    "rest": pl.Float64(),
    "score": pl.Float64(),
    "rank": pl.Int32(),
    "feature": pl.String(),
    "value": pl.Float64(),
    "contribution": pl.Float64(),
    "direction": pl.String(),
    "words": pl.String(),
}
"""``about`` is a tag's id, ``propensity_72h`` or ``clv_amount``; base + its contributions + rest = score."""


@dataclass(frozen=True)
class ScoreReport:
    """What was scored, and where it lies.

    Attributes
    ----------
    customers, tags, reasons
        Rows of the files.
    statuses
        Customers per status.
    reasons_file
        Empty where no reasons were asked for.
    """

    as_of: str
    customers: int
    tags: int
    statuses: dict[str, int]
    customers_file: str
    tags_file: str
    reasons: int = 0
    reasons_file: str = ""


def score(
    home: Home,
    settings: Settings,
    as_of: datetime,
    directory: Path,
    progress: Progress | None = None,
    *,
    with_reasons: bool = False,
) -> ScoreReport:
    """Score every customer with a profile, by the service's own scorer.

    Parameters
    ----------
    as_of
        Aware; at or after the instant the features were materialised for.
    directory
        Where ``customers.parquet`` and ``tags.parquet`` go.
    with_reasons
        Whether ``reasons.parquet`` is written too; explaining takes several times as long as scoring.

    Raises
    ------
    MissingStepError
        If nothing was promoted, or no features were materialised.
    CommandError
        If the profiles know more than was known at ``as_of``.
    """
    from features.money import home_currency
    from features.packed_store import CUSTOMER_PROFILE, open_packed_store
    from features.windows import from_us, to_us
    from serving.scorer import BundleScorer
    from serving.upkeep import BOUNDARY_MARK
    from training.artifact import load_bundle
    from training.publication import published

    bundles = published(home)
    if not bundles:
        raise MissingStepError(
            f"home {home.root} serves no model", "run `tagtide train` and `tagtide promote`"
        )
    with (
        contextlib.closing(open_packed_store(home, settings)) as store,
        _open_permissions(home, settings) as permissions,
    ):
        names = sorted(store.keys(CUSTOMER_PROFILE))
        if not names:
            raise MissingStepError(f"home {home.root} has no profiles", "run `tagtide features` first")
        boundary = store.mark(BOUNDARY_MARK)
        if boundary is not None and to_us(as_of) < boundary:
            raise CommandError(
                f"--as-of {as_of.isoformat()} lies before the profiles' {from_us(boundary).isoformat()}",
                "choose a later --as-of, or use another --home",
            )
        scorer = BundleScorer(
            store,
            settings,
            {task: load_bundle(one.directory) for task, one in bundles.items()},
            {task: one.model_version for task, one in bundles.items()},
            home_currency(home) if with_reasons else None,
        )
        task = None if progress is None else progress.add_task("scoring", total=len(names))
        customers, tags, reasons = [], [], []
        for begin in range(0, len(names), CHUNK):
            chunk = names[begin : begin + CHUNK]
            barred = permissions.without_profiling(chunk)
            allowed = [name for name in chunk if name not in barred]
            found = scorer.score_many(allowed, to_us(as_of), with_tags=True, with_reasons=with_reasons)
            customers += [
                _unprofiled_row(name, as_of) if name in barred else _customer_row(name, as_of, found[name])
                for name in chunk
            ]
            tags += [row for name in allowed for row in _tag_rows(name, as_of, found[name])]
            reasons += [row for name in allowed for row in _reason_rows(name, as_of, found[name])]
            if progress is not None and task is not None:
                progress.advance(task, len(chunk))
    frames = {
        "customers": pl.DataFrame(customers, schema=CUSTOMERS_SCHEMA),
        "tags": pl.DataFrame(tags, schema=TAGS_SCHEMA),
    }
    if with_reasons:
        frames["reasons"] = pl.DataFrame(reasons, schema=REASONS_SCHEMA)
    directory.mkdir(parents=True, exist_ok=True)
    paths = {name: directory / f"{name}.parquet" for name in frames}
    # Of an earlier run to the same place, they would explain other scores.
    (directory / "reasons.parquet").unlink(missing_ok=True)
    for frame, path in zip(frames.values(), paths.values(), strict=True):
        unfinished = path.with_suffix(".tmp")
        frame.write_parquet(unfinished)
        unfinished.replace(path)
    statuses = dict(sorted(frames["customers"]["status"].value_counts().iter_rows()))
    return ScoreReport(
        as_of.isoformat(),
        len(customers),
        len(tags),
        statuses,
        str(paths["customers"]),
        str(paths["tags"]),
        len(reasons),
        str(paths["reasons"]) if with_reasons else "",
    )


@contextlib.contextmanager
def _open_permissions(home: Home, settings: Settings) -> Iterator[Permissions]:
    from features.consent import Consent
    from features.contacts import Contacts
    from features.resolver import open_resolver
    from pipelines.current_lake import open_database
    from serving.permissions import Permissions

    with open_database(home, settings) as engine:
        links = open_resolver(home, engine, settings)
        yield Permissions(Consent(engine), Contacts(engine), links, settings)


def _unprofiled_row(name: str, as_of: datetime) -> dict[str, Any]:
    return {"customer_id": name, "as_of": as_of, "status": "consent_required"}


def _customer_row(name: str, as_of: datetime, scores: CustomerScores) -> dict[str, Any]:
    value = dict(scores.clv or {})
    others = {
        f"clv_{one['horizon_days']}d_{amount}_minor": one[f"{amount}_minor"]
        for one in value.pop("other_horizons", ())
        for amount in CLV_AMOUNTS
    }
    return {
        "customer_id": name,
        "as_of": as_of,
        "status": scores.status,
        "life_cycle_stage": scores.life_cycle_stage,
        "segment": scores.segment,
        "is_high_value": any(tag.tag_id == HIGH_VALUE for tag in scores.static_tags),
        **{f"propensity_{horizon}": found for horizon, found in scores.propensity.items()},
        **{f"clv_{field}": found for field, found in value.items()},
        **others,
    }


def _tag_rows(name: str, as_of: datetime, scores: CustomerScores) -> Iterator[dict[str, Any]]:
    for tag in scores.tags:
        if tag.certified and tag.above:
            yield {
                "customer_id": name,
                "as_of": as_of,
                "tag_id": tag.tag_id,
                "family": tag.family,
                "key": tag.key,
                "probability": tag.probability,
                "probability_if_observed": tag.probability_if_observed,
                "precision": tag.certified_precision,
                "lift": tag.certified_lift,
                "model_version": scores.model_versions.get(f"tags-{tag.family}"),
            }


def _reason_rows(name: str, as_of: datetime, scores: CustomerScores) -> Iterator[dict[str, Any]]:
    told = {
        tag.tag_id: tag.explanation
        for tag in scores.tags
        if tag.certified and tag.above and tag.explanation is not None
    }
    for task, parts in scores.explanations.items():
        told |= {f"{task}_{part}": one for part, one in parts.items()}
    for about, one in told.items():
        for rank, reason in enumerate(one.reasons, start=1):
            yield {
                "customer_id": name,
                "as_of": as_of,
                "about": about,
                "scale": one.scale,
                "base": one.base,
                "rest": one.rest,
                "score": one.score,
                "rank": rank,
                "feature": reason.feature,
                "value": None if isinstance(reason.value, str) else reason.value,
                "contribution": reason.contribution,
                "direction": reason.direction,
                "words": reason.words,
            }


def command(
    ctx: typer.Context,
    as_of: AsOf = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where to; [dim]default: HOME/scores/INSTANT[/dim]"),
    ] = None,
    with_reasons: Annotated[
        bool, typer.Option("--reasons", help="Say why as well, in words: a third file; takes longer.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Score every customer and write two Parquet files: customers, and the tags they would carry.

    The numbers are the service's own: the same memories, profiles, models and code. Nothing is assigned.

    \b
    [bold]Examples[/bold]
      tagtide score                              as of the last event known
      tagtide score --as-of 2017-10-31 --out /data/scores
      tagtide score --reasons                    and why, in words
    """
    invocation = ctx.ensure_object(Invocation)
    home, settings = invocation.home(), invocation.settings
    instant = asked_or_latest(home, settings, as_of)
    directory = out or home.scores / instant.astimezone(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    with invocation.progress() as progress:
        report = score(home, settings, instant, directory, progress, with_reasons=with_reasons)
    record(invocation, by_command("read", "score", report.customers))
    invocation.emit(vars(report), as_table(report), as_json)


def as_table(report: ScoreReport) -> Any:
    """Show where the scores lie as a table."""
    from rich.table import Table

    table = Table(title=f"Scores as of {report.as_of}")
    table.add_column("what")
    table.add_column("rows", justify="right")
    table.add_column("file", overflow="fold")
    table.add_row("customers", f"{report.customers:,}", report.customers_file)
    table.add_row("tags", f"{report.tags:,}", report.tags_file)
    if report.reasons_file:
        table.add_row("reasons", f"{report.reasons:,}", report.reasons_file)
    return table
