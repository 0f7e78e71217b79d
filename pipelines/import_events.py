"""`tagtide import`: bring a source's rows into the lake."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import polars as pl
import typer

from configs.errors import ConfigError
from configs.home import Home
from configs.settings import Settings
from features.duplicates import OTHER_CONTENT, sort_out
from features.errors import SourceError
from features.file_lock import SharedLock
from features.mapping import load_mapping
from features.quarantine import Quarantine
from features.refused_ids import IdPlaces
from features.resolver import Resolver, open_resolver
from features.sources import MAPPING_FILE, SourceMapping, events_of, placed
from features.tables import open_table
from pipelines.audit import by_command, record
from pipelines.current_lake import lake_up_to_date, open_database
from pipelines.invocation import Invocation, JsonFlag
from pipelines.source_ids import ids_of, link_identities, named_pairs, record_space

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import Progress

REPORT_PREFIX = "import-"
REASONS_SHOWN = 5


@dataclass(frozen=True)
class ImportReport:
    """What became of a source's rows.

    ``rows_read`` is the sum of stored, duplicate, quarantined, left_out, later and erased.

    Attributes
    ----------
    stored, duplicate
        New events; events that the lake, or an earlier row, already has.
    quarantined, quarantined_new
        Rows refused, and how many of them no earlier import refused.
    left_out
        Rows dropped on purpose by the mapping.
    later
        Rows that became known after ``until``, or whose day is not yet over.
    erased
        Rows dropped because their customer was erased.
    linked
        New links between customers' ids.
    adjusted_ambiguous, adjusted_missing
        Rows whose local time the clocks showed twice, or never.
    seconds, load_seconds
        The whole import; the part of it spent loading raw rows.
    records_per_minute
        Rows read by the minute, over the whole import.
    valid_share
        Rows that passed the door, of those not left out on purpose.
    efficiency
        ``valid_share`` times ``records_per_minute``.
    history
        Whether rows were taken as known when they happened, rather than now.
    reasons
        Why rows were quarantined, the commonest first: field, what was expected, rows.
    """

    source: str
    at: str
    until: str | None
    history: bool
    rows_read: int
    stored: int
    duplicate: int
    quarantined: int
    quarantined_new: int
    left_out: int
    later: int
    erased: int
    linked: int
    adjusted_ambiguous: int
    adjusted_missing: int
    seconds: float
    load_seconds: float
    records_per_minute: float
    valid_share: float
    efficiency: float
    reasons: list[tuple[str, str, int]]


def import_source(
    home: Home,
    settings: Settings,
    mapping: SourceMapping,
    *,
    now: datetime,
    until: datetime | None = None,
    history: bool | None = None,
    environ: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Bring a source's rows into the lake: each event once, bad rows to the quarantine.

    Parameters
    ----------
    home
        Where to.
    settings
        For the door's future skew and the number of threads.
    mapping
        What to read.
    now
        The present instant: when rows that are not history became known.
    until
        Take only what was known by then.
    history
        Whether rows became known when they happened (or when the mapping says), or only now. None: they
        are history until the source has been imported to its end once.
    environ
        Where the mapping's ``${NAME}`` comes from; by default ``os.environ``.
    progress
        Shows the steps.

    Raises
    ------
    SourceError
        If the source cannot be read, or its mapping does not fit it.
    EventLogError
        If lake or quarantine cannot be written.
    IdentityError
        If links or tombstones cannot be read or written.
    """
    with SharedLock(home.jobs_lock).together(), open_database(home, settings) as engine:
        resolver = open_resolver(home, engine, settings)
        report, pairs = _take_in(home, settings, mapping, resolver, now, until, history, environ, progress)
    if not pairs.is_empty():
        with _step(progress, "linking ids"):
            linked = link_identities(home, settings, mapping, pairs, now)
        report = replace(report, linked=linked)
    _save(home.sources / mapping.source, mapping, report)
    return report


def _take_in(
    home: Home,
    settings: Settings,
    mapping: SourceMapping,
    resolver: Resolver,
    now: datetime,
    until: datetime | None,
    history: bool | None,
    environ: Mapping[str, str] | None,
    progress: Progress | None,
) -> tuple[ImportReport, pl.DataFrame]:
    """Store a source's rows; return the report, and which ids belong together by them."""
    started = time.perf_counter()
    folder = home.sources / mapping.source
    is_history = not _was_completed(folder) if history is None else history
    skew = timedelta(minutes=settings.future_skew_minutes)
    filled = mapping.filled_in(os.environ if environ is None else environ)
    ids = ids_of(home, resolver, filled)
    with _step(progress, f"reading {mapping.source}"):
        table = open_table(filled, threads=settings.threads)
    loaded = time.perf_counter()
    with _step(progress, "checking rows"):
        arrival = None if is_history else now
        rows = events_of(filled, table, now=now, arrival=arrival, future_skew=skew, ids=ids)
    # What was posted became known when it came in: it must be in the lake before this source's rows are.
    lake = lake_up_to_date(home, settings)
    with lake.writing():
        if not rows.good.is_empty():
            record_space(resolver.identities, lake, ids, filled)
        with _step(progress, "looking for duplicates"):
            sorting = sort_out(rows.good, rows.positions, lake, until=until)
        with _step(progress, "storing"):
            stored = lake.append(sorting.new)
    with _step(progress, "keeping refused rows"):
        conflicts = sorting.conflicting.with_columns(field=pl.lit("event_id"), expected=pl.lit(OTHER_CONTENT))
        whose = rows.good.select(rows.positions.alias("row"), "customer_id", "event_time")
        found = pl.concat([rows.refused, placed(conflicts, table, whose)])
        places = IdPlaces.of(filled, ids.prefix, ids.spaces)
        refused = resolver.hidden(found.filter(~resolver.barred(found, places)))
        quarantined_new = Quarantine(home.quarantine).append(mapping.source, refused, now)
    seconds = time.perf_counter() - started
    considered = rows.read - rows.left_out - rows.erased - (found.height - refused.height)
    per_minute = rows.read / seconds * 60
    valid_share = (considered - refused.height) / considered if considered else 0.0
    pairs = named_pairs(rows.good, rows.identities, until)
    report = ImportReport(
        source=mapping.source,
        at=now.isoformat(),
        until=until.isoformat() if until else None,
        history=is_history,
        rows_read=rows.read,
        stored=stored,
        duplicate=sorting.duplicate,
        quarantined=refused.height,
        quarantined_new=quarantined_new,
        left_out=rows.left_out,
        later=rows.later + sorting.later,
        erased=rows.erased + found.height - refused.height,
        linked=0,
        adjusted_ambiguous=rows.adjusted_ambiguous,
        adjusted_missing=rows.adjusted_missing,
        seconds=seconds,
        load_seconds=loaded - started,
        records_per_minute=per_minute,
        valid_share=valid_share,
        efficiency=valid_share * per_minute,
        reasons=_reasons(refused),
    )
    return report, pairs


def command(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(help="A shipped source's name, or the path of a mapping (.yaml).")],
    until: Annotated[
        str | None, typer.Option("--until", metavar="ISO", help="Take only what was known by this instant.")
    ] = None,
    history: Annotated[
        bool | None,
        typer.Option(
            "--history/--no-history",
            help="Rows became known when they happened / only now. "
            "[dim]Default: history until the source was imported to its end once[/dim]",
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Bring a source's rows into the lake. Each event is stored once: repeat it as often as you like.

    A bad row goes to the quarantine with its line, column, value and reason; the good rows go on.

    \b
    [bold]Examples[/bold]
      tagtide import completejourney        a year of a grocer's baskets
      tagtide import completejourney --until 2017-10-31
                                            what was known at that midnight
      tagtide import shop.yaml              yours: see docs/sources.md
      tagtide import shop.yaml --json       the report for a machine
    """
    invocation = ctx.ensure_object(Invocation)
    mapping = load_mapping(source, invocation.environ)
    settings = invocation.settings
    known_by = instant_of(until, settings) if until is not None else None
    with invocation.progress() as progress:
        report = import_source(
            invocation.home(create=True),
            settings,
            mapping,
            now=datetime.now(UTC),
            until=known_by,
            history=history,
            environ=invocation.environ,
            progress=progress,
        )
    record(invocation, by_command("write", f"import {report.source}"))
    invocation.emit(asdict(report), as_table(report), as_json)


def instant_of(text: str, settings: Settings) -> datetime:
    """Read an ISO 8601 instant; without an offset it is taken in the business time zone.

    Raises
    ------
    ConfigError
        If it is none.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ConfigError(
            f"--until {text!r}: expected an ISO 8601 date or time",
            "for example 2017-10-31 or 2017-10-31T18:00+02:00",
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=settings.zone)).astimezone(UTC)


def as_table(report: ImportReport) -> RenderableType:
    """Show a report as two columns: figure and meaning."""
    from rich.table import Table

    table = Table("rows", "", box=None, pad_edge=False, header_style="bold", title=f"import {report.source}")
    table.columns[1].justify = "right"
    known = "when they happened" if report.history else "at this import"
    lines: list[tuple[str, str]] = [
        ("read", f"{report.rows_read:,}"),
        ("stored", f"{report.stored:,}"),
        ("duplicate", f"{report.duplicate:,}"),
        ("quarantined", f"{report.quarantined:,} ({report.quarantined_new:,} new)"),
        *((f"  {field}: expected {expected}", f"{count:,}") for field, expected, count in report.reasons),
        ("left out", f"{report.left_out:,}"),
        ("later", f"{report.later:,}"),
        *([("erased", f"{report.erased:,}")] if report.erased else []),
        *([("ids linked", f"{report.linked:,}")] if report.linked else []),
        ("clock shown twice: earlier taken", f"{report.adjusted_ambiguous:,}"),
        ("clock never shown: shifted forward", f"{report.adjusted_missing:,}"),
        ("taken as known", known),
        ("seconds (loading)", f"{report.seconds:.1f} ({report.load_seconds:.1f})"),
        ("records per minute", f"{report.records_per_minute:,.0f}"),
        ("valid share", f"{report.valid_share:.4%}"),
        ("integration efficiency", f"{report.efficiency:,.0f} valid records per minute"),
    ]
    for name, value in lines:
        table.add_row(name, value)
    return table


def _reasons(refused: pl.DataFrame) -> list[tuple[str, str, int]]:
    # Where a byte is named, each line has a reason of its own: it is no part of the kind of reason.
    kinds = refused.with_columns(pl.col("expected").str.replace(r" \(byte \d+\)$", ""))
    counted = kinds.group_by("field", "expected").len("rows").sort("rows", "field", descending=[True, False])
    return [(row["field"], row["expected"], row["rows"]) for row in counted.head(REASONS_SHOWN).to_dicts()]


@contextmanager
def _step(progress: Progress | None, description: str) -> Iterator[None]:
    task = progress.add_task(description, total=None) if progress is not None else None
    yield
    if progress is not None and task is not None:
        progress.update(task, total=1, completed=1)


def _was_completed(folder: Path) -> bool:
    """Return whether some import went to the source's end and found events in it."""
    for path in folder.glob(f"{REPORT_PREFIX}*.json"):
        try:
            report = json.loads(path.read_text(encoding="utf-8"))
            if report["until"] is None and report["stored"] + report["duplicate"]:
                return True
        except (ValueError, KeyError, TypeError):
            raise SourceError(
                f"{path} is damaged", "delete it, and say --history or --no-history in this import"
            ) from None
    return False


def _save(folder: Path, mapping: SourceMapping, report: ImportReport) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    content = {"folder": str(mapping.folder), "mapping": mapping.model_dump(mode="json", exclude={"folder"})}
    _write(folder / MAPPING_FILE, content)
    stamp = datetime.fromisoformat(report.at).astimezone(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    _write(folder / f"{REPORT_PREFIX}{stamp}.json", asdict(report))


def _write(path: Path, content: Mapping[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(path)
