"""`tagtide score`: every customer's tags, propensity and value, into Parquet."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import polars as pl
import typer

from configs.home import Home
from configs.settings import Settings
from features.events import INSTANT
from pipelines.build_features import asked_or_latest
from pipelines.errors import CommandError, MissingStepError
from pipelines.invocation import Invocation, JsonFlag
from training.high_value import TAG_ID as HIGH_VALUE

if TYPE_CHECKING:
    from rich.progress import Progress

    from serving.scores import CustomerScores

CHUNK = 250

CUSTOMERS_SCHEMA: dict[str, Any] = {
    "customer_id": pl.String(),
    "as_of": INSTANT,
    "status": pl.String(),
    "life_cycle_stage": pl.String(),
    "segment": pl.Int32(),
    "is_high_value": pl.Boolean(),
    "propensity_72h": pl.Float64(),
    "propensity_7d": pl.Float64(),
    "clv_horizon_days": pl.Int32(),
    "clv_expected_minor": pl.Int64(),
    "clv_low_minor": pl.Int64(),
    "clv_high_minor": pl.Int64(),
    "clv_purchase_minor": pl.Int64(),
    "clv_interaction_minor": pl.Int64(),
    "clv_referral_minor": pl.Int64(),
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


@dataclass(frozen=True)
class ScoreReport:
    """What was scored, and where it lies.

    Attributes
    ----------
    customers, tags
        Rows of the two files.
    statuses
        Customers per status.
    """

    as_of: str
    customers: int
    tags: int
    statuses: dict[str, int]
    customers_file: str
    tags_file: str


def score(
    home: Home, settings: Settings, as_of: datetime, directory: Path, progress: Progress | None = None
) -> ScoreReport:
    """Score every customer with a profile, by the service's own scorer.

    Parameters
    ----------
    as_of
        Aware; at or after the instant the features were materialised for.
    directory
        Where ``customers.parquet`` and ``tags.parquet`` go.

    Raises
    ------
    MissingStepError
        If nothing was promoted, or no features were materialised.
    CommandError
        If the profiles know more than was known at ``as_of``.
    """
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
    with contextlib.closing(open_packed_store(home, settings)) as store:
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
        )
        task = None if progress is None else progress.add_task("scoring", total=len(names))
        customers, tags = [], []
        for begin in range(0, len(names), CHUNK):
            chunk = names[begin : begin + CHUNK]
            found = scorer.score_many(chunk, to_us(as_of), with_tags=True, with_reasons=False)
            customers += [_customer_row(name, as_of, found[name]) for name in chunk]
            tags += [row for name in chunk for row in _tag_rows(name, as_of, found[name])]
            if progress is not None and task is not None:
                progress.advance(task, len(chunk))
    frames = pl.DataFrame(customers, schema=CUSTOMERS_SCHEMA), pl.DataFrame(tags, schema=TAGS_SCHEMA)
    directory.mkdir(parents=True, exist_ok=True)
    paths = directory / "customers.parquet", directory / "tags.parquet"
    for frame, path in zip(frames, paths, strict=True):
        unfinished = path.with_suffix(".tmp")
        frame.write_parquet(unfinished)
        unfinished.replace(path)
    statuses = dict(sorted(frames[0]["status"].value_counts().iter_rows()))
    return ScoreReport(as_of.isoformat(), len(customers), len(tags), statuses, str(paths[0]), str(paths[1]))


def _customer_row(name: str, as_of: datetime, scores: CustomerScores) -> dict[str, Any]:
    value: Mapping[str, Any] = scores.clv or {}
    return {
        "customer_id": name,
        "as_of": as_of,
        "status": scores.status,
        "life_cycle_stage": scores.life_cycle_stage,
        "segment": scores.segment,
        "is_high_value": any(tag.tag_id == HIGH_VALUE for tag in scores.static_tags),
        **{f"propensity_{horizon}": found for horizon, found in scores.propensity.items()},
        **{f"clv_{field}": found for field, found in value.items()},
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


def command(
    ctx: typer.Context,
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of", metavar="ISO", help="Instant; [dim]default: when the last event became known[/dim]"
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where to; [dim]default: HOME/scores/INSTANT[/dim]"),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Score every customer and write two Parquet files: customers, and the tags they would carry.

    The numbers are the service's own: the same memories, profiles, models and code. Nothing is assigned.

    \b
    [bold]Examples[/bold]
      tagtide score                              as of the last event known
      tagtide score --as-of 2017-10-31 --out /data/scores
    """
    invocation = ctx.ensure_object(Invocation)
    home, settings = invocation.home(), invocation.settings
    instant = asked_or_latest(home, settings, as_of)
    directory = out or home.scores / instant.astimezone(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    with invocation.progress() as progress:
        report = score(home, settings, instant, directory, progress)
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
    return table
