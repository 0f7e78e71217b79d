"""`tagtide train`: models from what is known as of an instant, registered and waiting for promotion."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from configs.errors import TagtideError, did_you_mean
from configs.home import Home
from configs.settings import Settings
from pipelines.build_features import asked_or_latest, open_workbench, write_snapshots
from pipelines.errors import CommandError
from pipelines.instants import AsOf
from pipelines.invocation import Invocation, JsonFlag
from pipelines.parameter_search import NO_SEARCH, ParameterSearch
from pipelines.registering import Fitted, register
from pipelines.tag_families import names_in, require_known
from pipelines.trained_models import TrainedModel, as_table

if TYPE_CHECKING:
    from features.tags import TagFamily
    from training.artifact import Bundle
    from training.datasets import DecisionRows, PairDecisions
    from training.training_plots import Scored
    from training.tuning import Found
    from training.workbench import Budget, Workbench

Say = Callable[[str], None]

WHAT = ("all", "tags", "propensity", "clv", "segments")


@dataclass(frozen=True)
class Wishes:
    """How models are to be trained.

    Attributes
    ----------
    families
        Tag families to train; all of the catalogue if empty.
    search
        For better parameters, before each model that has some to search.
    as_challenger
        Whether what was trained waits for promotion, or is registered only.
    """

    families: Sequence[str] = ()
    search: ParameterSearch = field(default_factory=lambda: NO_SEARCH)
    as_challenger: bool = True


def train(
    home: Home,
    settings: Settings,
    what: Sequence[str],
    as_of: datetime,
    say: Say,
    families: Sequence[str] = (),
    budget: Budget | None = None,
    wishes: Wishes | None = None,
) -> list[TrainedModel]:
    """Train models as of an instant and register each, by default as challenger.

    Parameters
    ----------
    what
        Some of `WHAT`.
    families
        Tag families to train; all of the catalogue if empty.
    budget
        How much of the history to look at; None for the default.
    wishes
        In place of ``families``, with what else is wished for.

    Raises
    ------
    CommandError
        If a family is not in the catalogue.
    TrainingDataError
        If the data is too short or too poor for everything that was asked, with the numbers.
    """
    bench = open_workbench(home, settings, as_of, say, budget)
    return train_on(home, settings, bench, what, say, families, wishes)


def train_on(
    home: Home,
    settings: Settings,
    bench: Workbench,
    what: Sequence[str],
    say: Say,
    families: Sequence[str] = (),
    wishes: Wishes | None = None,
) -> list[TrainedModel]:
    """Train models on a workbench and register each; see `train`."""
    wishes = wishes or Wishes(families)
    require_known(wishes.families, bench.families)
    wanted = [task for task in WHAT[1:] if "all" in what or task in what]
    run = _Run(home, bench, say, wishes)
    rows: list[DecisionRows] = []
    for task in wanted:
        rows += run.rows(task)
    if rows:
        write_snapshots(home, settings, bench, rows, say, run.families if "tags" in run.possible else ())
    if "tags" in run.possible:
        _train_tags(run, settings)
    if "propensity" in run.possible:
        run.attempt("propensity", partial(train_propensity, home, settings, bench, say, wishes.search))
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

    def __init__(self, home: Home, bench: Workbench, say: Say, wishes: Wishes) -> None:
        self.home = home
        self.bench = bench
        self.say = say
        self.wishes = wishes
        self.families = bench.chosen(wishes.families)
        self.models: list[TrainedModel] = []
        self.refusals: dict[str, TagtideError] = {}
        self.possible: set[str] = set()

    def rows(self, task: str) -> list[DecisionRows]:
        """Return the decision rows of a task, none where the history is too short for it."""
        from training.errors import TrainingDataError
        from training.sufficiency import LEAST_CUSTOMERS, require_customers

        bench = self.bench
        try:
            if task in LEAST_CUSTOMERS:
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

    def attempt(self, task: str, make: Callable[[], Fitted | Bundle]) -> None:
        """Train and register a model, or note why the data cannot carry it."""
        from training.errors import TrainingDataError
        from training.unlearnt import in_words, unlearnt_inputs

        begun = time.perf_counter()
        try:
            made = make()
        except TrainingDataError as refusal:
            self.skip(task, refusal)
            return
        fitted = made if isinstance(made, Fitted) else Fitted(made)
        seconds = time.perf_counter() - begun
        unlearnt = unlearnt_inputs(fitted.bundle)
        if unlearnt:
            self.say(in_words(task, unlearnt))
        seed, as_challenger = self.bench.settings.seed, self.wishes.as_challenger
        done = register(self.home, fitted, seed, self.say, as_challenger=as_challenger)
        self.models.append(
            TrainedModel(
                fitted.bundle.task,
                done.model.model_version,
                seconds,
                dict(fitted.bundle.metrics),
                unlearnt=unlearnt,
                sha256=done.sha256,
                known_before=done.known_before,
            )
        )

    def skip(self, task: str, refusal: TagtideError, why: str = "") -> None:
        """Note that a model is not trained, and why."""
        self.refusals[task] = refusal
        self.models.append(TrainedModel(task, "", 0.0, {}, why or refusal.message))


def _train_tags(run: _Run, settings: Settings) -> None:
    from training.errors import TrainingDataError

    _, missing = run.bench.runnable()
    families = run.wishes.families
    for name, events in missing.items():
        if not families or name in families:
            lacking = f"the data has no {' or '.join(events)}"
            lacks = TrainingDataError(
                f"family {name!r}: {lacking}",
                "map these in the source's mapping and import it again, or leave the family out",
            )
            run.skip(f"tags-{name}", lacks, lacking)
    for family in run.families:
        make = partial(train_family, run.home, settings, run.bench, family, run.say, run.wishes.search)
        run.attempt(f"tags-{family.family}", make)


def train_family(
    home: Home,
    settings: Settings,
    bench: Workbench,
    family: TagFamily,
    say: Say,
    search: ParameterSearch = NO_SEARCH,
) -> Fitted:
    """Train one tag family on its Feast training set."""
    from features.store import training_frame
    from training.datasets import CERTIFY
    from training.search_rows import tag_rows
    from training.tag_data import tag_data
    from training.tag_evaluation import observed_scores, score_part
    from training.tag_model import TagModel
    from training.tags import fitted_on, train_tags, usual_parameters

    claims = bench.claims(family)
    _require_outcomes(bench, family, claims)
    join = partial(training_frame, home, settings, family.service, progress=say)
    data = tag_data(bench.judge, family, bench.rows_of(family), claims, join)
    task = f"tags-{family.family}"
    defaults = usual_parameters(int(fitted_on(data).sum()), family.key)
    found = search.of(task, tag_rows(family, data), defaults, settings, say) if search else None
    say(f"training tags of family {family.family} on {len(data.keys):,} claims")
    bundle = train_tags(
        bench.history,
        bench.judge,
        family,
        data,
        bench.rows_of(family),
        as_of=bench.as_of.isoformat(),
        seed=settings.seed,
        threads=settings.threads,
        fingerprint=bench.fingerprint,
        parameters=None if found is None else found.parameters,
    )
    scored = score_part(data, CERTIFY, TagModel(bundle, family, settings.threads))
    return _fitted(bundle, found, {task: observed_scores(data, scored)})


def _require_outcomes(bench: Workbench, family: TagFamily, claims: PairDecisions) -> None:
    """Refuse a family before its features are fetched, which takes far longer than to judge its claims."""
    from training.sufficiency import require_claims
    from training.tags import LEAST_POSITIVES

    rows = bench.rows_of(family).take(claims.row)
    outcome = bench.judge.judge(family, rows.customer, claims.code, rows.instant)
    require_claims(family.family, rows.part, outcome, LEAST_POSITIVES)


def train_propensity(
    home: Home, settings: Settings, bench: Workbench, say: Say, search: ParameterSearch = NO_SEARCH
) -> Fitted:
    """Train purchase propensity for every horizon on its Feast training set."""
    from features.store import training_frame
    from training.datasets import CERTIFY, key_frame
    from training.model_inputs import customer_inputs
    from training.propensity import PARAMETERS, ROUNDS, TASK, PropensityModel, train_propensity
    from training.propensity_rows import HORIZONS_HOURS, PropensityData, purchased_within
    from training.search_rows import propensity_rows

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
    defaults = PARAMETERS | {"rounds": ROUNDS}
    found = search.of(TASK, propensity_rows(data), defaults, settings, say) if search else None
    say(f"training purchase propensity within {', '.join(horizons)}")
    bundle = train_propensity(
        data,
        as_of=bench.as_of.isoformat(),
        seed=settings.seed,
        threads=settings.threads,
        fingerprint=bench.fingerprint,
        newcomers={horizon: bench.newcomers(horizon) for horizon in horizons},
        left_out=left_out,
        parameters=None if found is None else found.parameters,
    )
    model, scored = PropensityModel(bundle, settings.threads), {}
    for horizon in model.horizons:
        one = data[horizon]
        chosen = one.part(CERTIFY, evaluated=True)
        said = model.score({name: values[chosen] for name, values in one.features.items()})
        scored[horizon] = one.bought[chosen], said[horizon]
    return _fitted(bundle, found, scored)


def train_value(home: Home, settings: Settings, bench: Workbench, say: Say) -> Fitted:
    """Train customer lifetime value on its Feast training set."""
    from features.store import training_frame
    from training.clv_bundle import train_bundle
    from training.datasets import key_frame

    rows = bench.clv_rows(*bench.clv_horizons)
    joined = training_frame(home, settings, "clv_v1", key_frame(bench.history, rows), say)
    say(f"training customer lifetime value over {', '.join(map(str, bench.clv_horizons))} days")
    return Fitted(train_bundle(bench, bench.spend, joined, bench.budget.clv_horizons_days))


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


def _fitted(bundle: Bundle, found: Found | None, scored: Scored) -> Fitted:
    if found is None:
        return Fitted(bundle, scored)
    tuning = {"trials": found.trials, "loss": found.loss, "default_loss": found.default_loss}
    return Fitted(replace(bundle, content={**bundle.content, "tuning": tuning}), scored)


def command(
    ctx: typer.Context,
    what: Annotated[list[str] | None, typer.Argument(help=f"Some of {', '.join(WHAT)}.")] = None,
    as_of: AsOf = None,
    families: Annotated[
        str, typer.Option("--families", metavar="NAMES", help="Tag families, separated by commas.")
    ] = "",
    as_challenger: Annotated[
        bool,
        typer.Option(
            "--challenger/--no-challenger",
            help="Let what was trained wait for `tagtide promote`, or only register it.",
        ),
    ] = True,
    tune: Annotated[
        int,
        typer.Option(
            "--tune", metavar="N", min=0, help="Search parameters in N trials first; needs the extra tune."
        ),
    ] = 0,
    tune_minutes: Annotated[
        float | None,
        typer.Option("--tune-minutes", metavar="M", min=0.01, help="Begin no trial after M minutes a model."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Train models on what was known at an instant, and register each as challenger.

    Every model is fitted, calibrated and measured on slices of time that follow each other with an embargo in
    between, beside plain baselines on the same rows. A challenger waits beside the champion, which serves on
    until `tagtide promote` lets the challenger take its place. The same data and settings give the same
    bundle, and a bundle that is registered already is not registered again. A model that the data cannot
    carry is skipped with the numbers it lacks. `--tune` searches on slices before the calibrating one only.

    \b
    [bold]Examples[/bold]
      tagtide train                              all models, as of the last event known
      tagtide train propensity clv               two of them
      tagtide train segments                     customers in groups that keep their numbers
      tagtide train tags --families interest     one tag family
      tagtide train --as-of 2017-10-31           as they would have been trained that midnight
      tagtide train propensity --challenger      one model; it waits as challenger, as it does by default
      tagtide train propensity --tune 20         after a search in 20 trials
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
    search = ParameterSearch.within(tune, tune_minutes, invocation.progress)
    wishes = Wishes(names_in(families), search, as_challenger)
    with invocation.steps() as say:
        trained = train(home, settings, chosen, instant, say, wishes=wishes)
    invocation.emit({"as_of": instant, "models": trained}, as_table(trained), as_json)
