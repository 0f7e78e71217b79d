"""`tagtide monitor`: judge the tags whose time is up, and report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import polars as pl
import typer

from configs.home import Home
from configs.settings import Settings
from features.database import open_engine
from features.event_log import EventLog
from features.identity_log import Identities
from features.lake import Lake
from features.tags import TagFamily, load_catalogue
from features.windows import from_us, to_us
from monitoring.closing import ClosedWindows, close_windows
from monitoring.drift import DriftInputs
from monitoring.figures import Figures, SuspendedTag
from monitoring.ledger import Ledger
from pipelines.errors import CommandError, MissingStepError
from pipelines.instants import instant_option
from pipelines.invocation import Invocation, JsonFlag
from training.artifact import Bundle, load_bundle
from training.publication import published
from training.tag_model import TAGS_TASK

if TYPE_CHECKING:
    from rich.console import RenderableType

    from monitoring.reports import WrittenReport

REPORT = "monitor"
DRIFT_DAYS_MAX = 28


@dataclass(frozen=True)
class Monitored:
    """What one run found and wrote.

    Attributes
    ----------
    compacted
        Posted events that were not in the lake before.
    closed
        Claims judged by this run; a second run judges none.
    """

    compacted: int
    closed: ClosedWindows
    figures: Figures
    written: WrittenReport


def monitor(
    home: Home,
    settings: Settings,
    *,
    as_of: datetime | None,
    since: datetime | None,
    directory: Path,
    now: datetime,
    with_evidently: bool = True,
    title: str = "Monitoring report",
    headline_family: str | None = None,
) -> Monitored:
    """Bring the lake up to date, close windows, and write the report. Doing it again changes nothing.

    Parameters
    ----------
    as_of
        Aware; None for the arrival of the latest event: after it nothing is known, so nothing can be judged.
    since
        Aware; claims assigned at or before it are left out of the report (but judged).
    directory
        Where the report goes.
    now
        The present: no later instant can be reported from.
    with_evidently
        Whether to make Evidently's report too, which takes most of the time.
    headline_family
        Whose precision is the first number; None for all families under contract, pooled.

    Raises
    ------
    MissingStepError
        If the home holds no events.
    CommandError
        If ``as_of`` lies in the future, or not after ``since``.
    """
    from monitoring.gathering import Occasion, gather_figures
    from monitoring.reports import write_report

    engine = open_engine(settings.database_url, home)
    try:
        customers = Identities(engine).resolution()
        lake = Lake(home.lake, customers)
        compacted = EventLog(engine).compact(lake)
        if lake.is_empty():
            raise MissingStepError(f"home {home.root} holds no events", "run `tagtide import SOURCE` first")
        told_at = _told_at(lake, as_of, since, now)
        events = lake.read(known_by=told_at)
        families = load_catalogue()
        ledger = Ledger(engine, customers)
        closed = close_windows(ledger, events, families, to_us(told_at), settings.lateness_allowance)
        occasion = Occasion(
            title=title,
            source=" + ".join(sorted(events["source"].unique())),
            as_of=told_at,
            since=since,
            zone=settings.zone,
            lateness_allowance=settings.lateness_allowance,
            headline_family=headline_family,
        )
        bundles = [load_bundle(bundle.directory) for bundle in published(home).values()]
        inputs = drift_inputs(bundles, settings, events, told_at, ledger)
        gathered = gather_figures(
            ledger,
            events,
            families,
            occasion,
            inputs=inputs,
            suspended=suspended_tags(bundles, families),
            notes=_notes(closed),
        )
        shown = (gathered.claims, inputs) if with_evidently else (None, None)
        written = write_report(directory, gathered.figures, *shown)
    finally:
        engine.dispose()
    return Monitored(compacted, closed, gathered.figures, written)


def drift_inputs(
    bundles: Sequence[Bundle], settings: Settings, events: pl.DataFrame, as_of: datetime, ledger: Ledger
) -> DriftInputs | None:
    """Return the models' inputs before they were trained and since, or None without a model or a claim.

    Parameters
    ----------
    bundles
        What serves.
    events
        Everything known at ``as_of``.
    """
    from monitoring.census_inputs import census_inputs

    first_claim = ledger.first_needed_us(None)
    if bundles:
        trained = (datetime.fromisoformat(bundle.as_of) for bundle in bundles)
        reference_until = max(at if at.tzinfo else at.replace(tzinfo=settings.zone) for at in trained)
    elif first_claim is not None:
        reference_until = from_us(first_claim)
    else:
        return None
    current_since = max(reference_until, as_of - timedelta(days=DRIFT_DAYS_MAX))
    return census_inputs(
        events,
        reference_until_us=to_us(reference_until),
        current_since_us=to_us(current_since) + 1,
        current_until_us=to_us(as_of),
        zone=settings.zone,
        publication_lag=settings.publication_lag,
    )


def suspended_tags(bundles: Sequence[Bundle], families: Mapping[str, TagFamily]) -> list[SuspendedTag]:
    """Read from what serves which tags failed their contract and are not given out."""
    return [
        SuspendedTag(name, families[name].tag_id(row["tag"] or None), row["reason"])
        for bundle in bundles
        if (name := bundle.task.removeprefix(TAGS_TASK)) != bundle.task and name in families
        for row in bundle.content["contract"]
        if not row["certified"]
    ]


def command(
    ctx: typer.Context,
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of", metavar="ISO", help="Tell it from this instant. [dim]Default: the latest arrival[/dim]"
        ),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="ISO", help="Report on tags assigned after this instant.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where to write. [dim]Default: HOME/reports/monitor[/dim]"),
    ] = None,
    evidently: Annotated[
        bool, typer.Option("--evidently/--no-evidently", help="Make Evidently's report as well, or be quick.")
    ] = True,
    as_json: JsonFlag = False,
) -> None:
    """Judge the tags whose 72 hours are over, and say how often they came true.

    Four numbers first: tag precision, trigger latency, propensity lift and CLV error. Then each family and
    tag against its contract, the drift of every input, and a report to open in a browser, no network needed.

    \b
    [bold]Examples[/bold]
      tagtide monitor                                  everything until the latest arrival
      tagtide monitor --since 2017-11-01               tags assigned since then
      tagtide monitor --as-of 2017-11-07 --out /tmp/r  as it looked at that midnight
      tagtide monitor --json | jq '.numbers[0].value'  tag precision for a machine
    """
    invocation = ctx.ensure_object(Invocation)
    settings = invocation.settings
    home = invocation.home()
    with invocation.progress() as progress:
        task = progress.add_task("judging tags", total=None)
        found = monitor(
            home,
            settings,
            as_of=None if as_of is None else instant_option(as_of, "--as-of", settings.zone),
            since=None if since is None else instant_option(since, "--since", settings.zone),
            directory=home.reports / REPORT if out is None else out,
            now=datetime.now(UTC),
            with_evidently=evidently,
        )
        progress.update(task, total=1, completed=1)
    invocation.emit(as_payload(found), as_screen(found), as_json)


def as_payload(found: Monitored) -> dict[str, object]:
    """Return the result for machines: the figures, what was judged, and where the report is."""
    return {
        **found.figures.as_json(),
        "judged": {**asdict(found.closed), "judged": found.closed.judged},
        "events_compacted": found.compacted,
        "report": str(found.written.page),
        "evidently": None if found.written.evidently is None else str(found.written.evidently),
    }


def as_screen(found: Monitored) -> RenderableType:
    """Return the result for people: four numbers, families, and where the report is."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    figures = found.figures
    colours = {"met": "green", "missed": "red", "not measured": "yellow"}
    numbers = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("", "", "target", "measured on"):
        numbers.add_column(name)
    for number in figures.numbers:
        numbers.add_row(number.name, Text(number.shown, colours[number.verdict]), number.target, number.how)

    families = Table(box=None, pad_edge=False, header_style="bold")
    families.add_column("family")
    for name in ("claims", "precision", "90% interval", "strict", "base rate", "lift", "useful a day"):
        families.add_column(name, justify="right")
    families.add_column("status")
    for row in figures.families:
        useful = figures.useful_tags_per_customer_day.get(row.family)
        families.add_row(
            row.family,
            f"{row.n:,}",
            _share(row.precision_observed),
            "–" if row.wilson_low is None else f"{_share(row.wilson_low)} to {_share(row.wilson_high)}",
            _share(row.precision_strict),
            _share(row.base_rate),
            "–" if row.lift is None else f"{row.lift:.2f}×",
            "–" if useful is None else f"{useful:.3f}",
            row.status,
        )
    parts: list[RenderableType] = [numbers, Text()]
    if figures.families:
        parts += [families, Text()]
    judged = f"{found.closed.judged:,} claims judged now; as of {figures.as_of.isoformat()}"
    return Group(*parts, Text(judged), Text(f"report: {found.written.page}"))


def _told_at(lake: Lake, as_of: datetime | None, since: datetime | None, now: datetime) -> datetime:
    if as_of is None:
        latest = lake.read(known_by=now, columns=["ingested_at"])["ingested_at"].max()
        told_at = latest if isinstance(latest, datetime) else now
    elif as_of > now:
        raise CommandError(
            f"--as-of {as_of.isoformat()} lies in the future", "leave it out, or name a past instant"
        )
    else:
        told_at = as_of
    if since is not None and since >= told_at:
        raise CommandError(
            f"--since {since.isoformat()} is not before the report's instant {told_at.isoformat()}",
            "name an earlier --since",
        )
    return told_at.astimezone(UTC)


def _notes(closed: ClosedWindows) -> list[str]:
    if not closed.left_open:
        return []
    return [f"{closed.left_open:,} claims are of families that the tag catalogue no longer has: not judged."]


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
