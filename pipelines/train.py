"""`tagtide train`: models from what is known as of an instant, registered as challengers."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from configs.errors import TagtideError, did_you_mean
from configs.home import Home
from configs.settings import Settings
from pipelines.build_features import asked_or_latest, open_workbench, write_snapshots
from pipelines.errors import CommandError
from pipelines.invocation import Invocation, JsonFlag
from pipelines.tag_families import names_in, require_known

if TYPE_CHECKING:
    from features.tags import TagFamily
    from training.artifact import Bundle
    from training.datasets import DecisionRows, PairDecisions
    from training.workbench import Budget, Workbench

Say = Callable[[str], None]

WHAT = ("all", "tags", "propensity", "clv", "segments")


@dataclass(frozen=True)
class TrainedModel:
    """One model that was trained, or why it was not.

    Attributes
    ----------
    task
        ``tags-<family>``, ``propensity``, ``clv`` or ``segments``.
    model_version
        Its version in the registry; empty where it was skipped.
    seconds
        Training time, its training set included.
    metrics
        Figures on the slice nothing was chosen on.
    skipped
        Why it was not trained; empty where it was.
    unlearnt
        Inputs that taught it nothing: they never change, or are missing throughout.
    """

    task: str
    model_version: str
    seconds: float
    metrics: dict[str, Any]
    skipped: str = ""
    unlearnt: Sequence[str] = ()


def train(
    home: Home,
    settings: Settings,
    what: Sequence[str],
    as_of: datetime,
    say: Say,
    families: Sequence[str] = (),
    budget: Budget | None = None,
) -> list[TrainedModel]:
    """Train models as of an instant and register each as challenger.

    Parameters
    ----------
    what
        Some of `WHAT`.
    families
        Tag families to train; all of the catalogue if empty.
    budget
        How much of the history to look at; None for the default.

    Raises
    ------
    CommandError
        If a family is not in the catalogue.
    TrainingDataError
        If the data is too short or too poor for everything that was asked, with the numbers.
    """
    return train_on(home, settings, open_workbench(home, settings, as_of, say, budget), what, say, families)


def train_on(
    home: Home,
    settings: Settings,
    bench: Workbench,
    what: Sequence[str],
    say: Say,
    families: Sequence[str] = (),
) -> list[TrainedModel]:
    """Train models on a workbench and register each as challenger; see `train`."""
    require_known(families, bench.families)
    wanted = [task for task in WHAT[1:] if "all" in what or task in what]
    run = _Run(home, bench, say, bench.chosen(families))
    rows: list[DecisionRows] = []
    for task in wanted:
        rows += run.rows(task)
    if rows:
        write_snapshots(home, settings, bench, rows, say, run.families if "tags" in run.possible else ())
    if "tags" in run.possible:
        _train_tags(run, settings, families)
    if "propensity" in run.possible:
        run.attempt("propensity", partial(train_propensity, home, settings, bench, say))
    if "clv" in run.possible:
        run.attempt("clv", partial(train_value, home, settings, bench, say))
    if "segments" in run.possible:
        run.attempt("segments", partial(train_customer_segments, home, bench, say))
    if run.refusals and not any(model.model_version for model in run.models):
        from training.sufficiency import joint_refusal

        raise joint_refusal(run.refusals)
    return run.models


class _Run:
    """Trains one model after the other; one that the data cannot carry does not keep the others from it."""

    def __init__(self, home: Home, bench: Workbench, say: Say, families: Sequence[TagFamily]) -> None:
        self.home = home
        self.bench = bench
        self.say = say
        self.families = families
        self.models: list[TrainedModel] = []
        self.refusals: dict[str, TagtideError] = {}
        self.possible: set[str] = set()

    def rows(self, task: str) -> list[DecisionRows]:
        """Return the decision rows of a task, none where the history is too short for it."""
        from training.errors import TrainingDataError
        from training.sufficiency import require_customers

        bench = self.bench
        try:
            require_customers(task, bench)
            if task == "tags":
                rows = bench.decision_rows(self.families)
            elif task == "propensity":
                rows = [bench.propensity_rows(horizon) for horizon in bench.propensity_horizons()[0]]
            elif task == "clv":
                rows = [bench.clv_rows(*bench.clv_horizons)]
            else:
                # Segments are made of everybody at one instant; nothing is joined to it.
                rows = []
        except TrainingDataError as refusal:
            self.skip(task, refusal)
            return []
        self.possible.add(task)
        return rows

    def attempt(self, task: str, make: Callable[[], Bundle]) -> None:
        """Train and register a model, or note why the data cannot carry it."""
        from training.errors import TrainingDataError

        try:
            self.models.append(_registered(self.home, self.bench, make, self.say))
        except TrainingDataError as refusal:
            self.skip(task, refusal)

    def skip(self, task: str, refusal: TagtideError, why: str = "") -> None:
        """Note that a model is not trained, and why."""
        self.refusals[task] = refusal
        self.models.append(TrainedModel(task, "", 0.0, {}, why or refusal.message))


def _train_tags(run: _Run, settings: Settings, families: Sequence[str]) -> None:
    from training.errors import TrainingDataError

    _, missing = run.bench.runnable()
    for name, events in missing.items():
        if not families or name in families:
            lacking = f"the data has no {' or '.join(events)}"
            lacks = TrainingDataError(
                f"family {name!r}: {lacking}",
                "map these in the source's mapping and import it again, or leave the family out",
            )
            run.skip(f"tags-{name}", lacks, lacking)
    for family in run.families:
        make = partial(train_family, run.home, settings, run.bench, family, run.say)
        run.attempt(f"tags-{family.family}", make)


def train_family(home: Home, settings: Settings, bench: Workbench, family: TagFamily, say: Say) -> Bundle:
    """Train one tag family on its Feast training set."""
    from features.store import training_frame
    from training.tag_data import tag_data
    from training.tags import train_tags

    claims = bench.claims(family)
    _require_outcomes(bench, family, claims)
    join = partial(training_frame, home, settings, family.service, progress=say)
    data = tag_data(bench.judge, family, bench.rows_of(family), claims, join)
    say(f"training tags of family {family.family} on {len(data.keys):,} claims")
    return train_tags(
        bench.history,
        bench.judge,
        family,
        data,
        bench.rows_of(family),
        as_of=bench.as_of.isoformat(),
        seed=settings.seed,
        threads=settings.threads,
        fingerprint=bench.fingerprint,
    )


def _require_outcomes(bench: Workbench, family: TagFamily, claims: PairDecisions) -> None:
    """Refuse a family before its features are fetched, which takes far longer than to judge its claims."""
    from training.sufficiency import require_claims
    from training.tags import LEAST_POSITIVES

    rows = bench.rows_of(family).take(claims.row)
    outcome = bench.judge.judge(family, rows.customer, claims.code, rows.instant)
    require_claims(family.family, rows.part, outcome, LEAST_POSITIVES)


def train_propensity(home: Home, settings: Settings, bench: Workbench, say: Say) -> Bundle:
    """Train purchase propensity for every horizon on its Feast training set."""
    from features.store import training_frame
    from training.datasets import key_frame
    from training.model_inputs import customer_inputs
    from training.propensity import TASK, train_propensity
    from training.propensity_rows import HORIZONS_HOURS, PropensityData, purchased_within

    horizons, left_out = bench.propensity_horizons()
    for reason in left_out.values():
        say(f"left out: {reason}")
    data = {}
    for horizon in horizons:
        rows = bench.propensity_rows(horizon)
        joined = training_frame(home, settings, "propensity_v1", key_frame(bench.history, rows), say)
        features = {name: joined[name].to_numpy() for name in customer_inputs(TASK)}
        bought = purchased_within(bench.judge, rows, HORIZONS_HOURS[horizon])
        data[horizon] = PropensityData(rows, features, bought)
    say(f"training purchase propensity within {', '.join(horizons)}")
    return train_propensity(
        data,
        as_of=bench.as_of.isoformat(),
        seed=settings.seed,
        threads=settings.threads,
        fingerprint=bench.fingerprint,
        newcomers={horizon: bench.newcomers(horizon) for horizon in horizons},
        left_out=left_out,
    )


def train_value(home: Home, settings: Settings, bench: Workbench, say: Say) -> Bundle:
    """Train customer lifetime value on its Feast training set."""
    from features.store import training_frame
    from training.clv_bundle import train_bundle
    from training.datasets import key_frame

    rows = bench.clv_rows(*bench.clv_horizons)
    joined = training_frame(home, settings, "clv_v1", key_frame(bench.history, rows), say)
    say(f"training customer lifetime value over {', '.join(map(str, bench.clv_horizons))} days")
    return train_bundle(bench, bench.spend, joined, bench.budget.clv_horizons_days)


def train_customer_segments(home: Home, bench: Workbench, say: Say) -> Bundle:
    """Cluster customers; a segment that is still the same keeps the number it had."""
    from features.money import home_currency
    from training.artifact import load_bundle
    from training.registry import champion, versions
    from training.segment_bundle import train_segments

    say("clustering customers")
    known = versions(home, "segments")
    before = champion(home, "segments") or (known[-1] if known else None)
    previous = None if before is None else load_bundle(before.directory)
    return train_segments(bench, previous, currency=home_currency(home), say=say)


def _registered(home: Home, bench: Workbench, make: Callable[[], Bundle], say: Say) -> TrainedModel:
    from training.artifact import save_bundle
    from training.registry import log_bundle
    from training.unlearnt import in_words, unlearnt_inputs

    begun = time.perf_counter()
    bundle = make()
    seconds = time.perf_counter() - begun
    unlearnt = unlearnt_inputs(bundle)
    if unlearnt:
        say(in_words(bundle.task, unlearnt))
    say(f"registering {bundle.task}")
    with tempfile.TemporaryDirectory() as folder:
        digest = save_bundle(Path(folder) / "bundle", bundle)
        version = log_bundle(
            home,
            bundle.task,
            Path(folder) / "bundle",
            params={
                "seed": bench.settings.seed,
                "as_of": bundle.as_of,
                "rows": bundle.fingerprint.get("rows"),
            },
            metrics=bundle.metrics,
            tags={
                "sha256": digest,
                "as_of": bundle.as_of,
                "data_sha256": str(bundle.fingerprint.get("sha256")),
            },
        )
    return TrainedModel(bundle.task, version.model_version, seconds, dict(bundle.metrics), unlearnt=unlearnt)


def command(
    ctx: typer.Context,
    what: Annotated[list[str] | None, typer.Argument(help=f"Some of {', '.join(WHAT)}.")] = None,
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of", metavar="ISO", help="Instant; [dim]default: when the last event became known[/dim]"
        ),
    ] = None,
    families: Annotated[
        str, typer.Option("--families", metavar="NAMES", help="Tag families, separated by commas.")
    ] = "",
    as_json: JsonFlag = False,
) -> None:
    """Train models on what was known at an instant, and register each as challenger.

    Every model is fitted, calibrated and measured on slices of time that follow each other with an embargo in
    between, beside plain baselines on the same rows. `tagtide promote` puts a challenger to work. A model
    that the data cannot carry is skipped with the numbers it lacks.

    \b
    [bold]Examples[/bold]
      tagtide train                              all models, as of the last event known
      tagtide train propensity clv               two of them
      tagtide train segments                     customers in groups that keep their numbers
      tagtide train tags --families interest     one tag family
      tagtide train --as-of 2017-10-31           as they would have been trained that midnight
    """
    invocation = ctx.ensure_object(Invocation)
    home, settings = invocation.home(), invocation.settings
    chosen = what or ["all"]
    for name in chosen:
        if name not in WHAT:
            raise CommandError(
                f"cannot train {name!r}{did_you_mean(name, WHAT)}; expected {', '.join(WHAT)}",
                "a tag family is chosen by `tagtide train tags --families NAME`",
            )
    instant = asked_or_latest(home, settings, as_of)
    names = names_in(families)
    with invocation.steps() as say:
        trained = train(home, settings, chosen, instant, say, names)
    invocation.emit({"as_of": instant, "models": trained}, as_table(trained), as_json)


HEADLINES = {
    "tags": ("precision_observed", "useful_tags_per_customer_day", "certified_tags"),
    "propensity": ("72h.auc", "72h.ece", "7d.auc", "30d.auc"),
    "clv": ("bias", "normalized_gini", "interval_coverage_80"),
    "segments": ("segments", "stability", "explained_share"),
}


def as_table(trained: Sequence[TrainedModel]) -> Any:
    """Show what was trained as a table."""
    from rich.table import Table

    from training.gate import flatten

    table = Table(title="Trained models")
    for title in ("model", "version", "seconds", "figures on the slice nothing was chosen on"):
        table.add_column(title, overflow="fold")
    for model in trained:
        flat = flatten(model.metrics)
        names = HEADLINES[model.task.split("-", 1)[0]]
        figures = ", ".join(f"{name} {flat[name]:.3f}" for name in names if name in flat)
        table.add_row(model.task, model.model_version, f"{model.seconds:.1f}", model.skipped or figures)
    return table
