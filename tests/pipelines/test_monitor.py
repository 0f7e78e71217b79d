from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from configs.home import Home, open_home
from configs.settings import Settings, load_settings
from features.database import open_engine
from features.event_log import EventLog
from features.lake import Lake
from features.windows import HOUR_US, to_us
from monitoring.figures import SuspendedTag
from monitoring.ledger import Ledger
from pipelines import monitor as monitor_command
from pipelines.errors import CommandError, MissingStepError
from pipelines.invocation import Invocation
from pipelines.monitor import Monitored, as_payload, as_screen, monitor, suspended_tags
from tests.monitoring.shop import (
    FAMILIES,
    at,
    event,
    events_of,
    random_claims,
    random_events,
    slow_outcome,
)
from training.artifact import Bundle

EVENTS = random_events(11)
NOW = at(24 * 30)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(tmp_path / "home", {}).settings


@pytest.fixture
def home(tmp_path: Path, settings: Settings) -> Home:
    """Half of the events imported, half posted; claims of five days."""
    home = open_home(tmp_path / "home", create=True)
    Lake(home.lake).append(EVENTS[::2])
    engine = open_engine(None, home)
    EventLog(engine).append(EVENTS[1::2])
    Ledger(engine).record(random_claims(11))
    engine.dispose()
    return home


def run(
    home: Home, settings: Settings, folder: str = "report", *, evidently: bool = False, **options: datetime
) -> Monitored:
    return monitor(
        home,
        settings,
        as_of=options.get("as_of"),
        since=options.get("since"),
        directory=home.reports / folder,
        now=NOW,
        with_evidently=evidently,
    )


def test_posted_events_count_and_a_second_run_changes_nothing(home: Home, settings: Settings) -> None:
    first = run(home, settings)
    assert first.compacted == EVENTS[1::2].height
    latest = to_us(first.figures.as_of)
    due = [each for each in random_claims(11) if each.assigned_at_us + 72 * HOUR_US <= latest]
    assert first.closed.judged == len(due) < len(random_claims(11))
    files = {path.name: path.read_bytes() for path in (home.reports / "report").iterdir()}
    second = run(home, settings)
    assert (second.compacted, second.closed.judged) == (0, 0)
    assert second.figures.as_json() == first.figures.as_json()
    for name in ("index.html", "figures.json"):
        assert (home.reports / "report" / name).read_bytes() == files[name]


def test_it_is_told_from_the_latest_arrival_so_that_nothing_unknown_is_judged(
    home: Home, settings: Settings
) -> None:
    found = run(home, settings)
    assert found.figures.as_of == EVENTS["ingested_at"].max()
    for row in found.figures.tags:
        outcomes = [
            slow_outcome(EVENTS, each.customer_id, each.key, each.assigned_at_us, FAMILIES[each.family])
            for each in random_claims(11)
            if each.tag_id == row.tag_id and not each.is_control
        ]
        assert row.confirmed <= outcomes.count("confirmed")
        assert row.observed > 0


def test_as_of_hides_later_events_and_since_hides_earlier_claims(home: Home, settings: Settings) -> None:
    early = run(home, settings, as_of=at(80))
    assert early.figures.as_of == at(80)
    assert early.closed.judged < len(random_claims(11)) / 2
    late = run(home, settings, since=at(60))
    assert late.figures.since is not None
    assert late.figures.since > at(60)
    assert late.closed.judged > 0


def test_inputs_are_compared_before_and_after_the_first_claim(home: Home, settings: Settings) -> None:
    figures = run(home, settings).figures
    assert {row.feature for row in figures.drift} >= {"line_count_72h", "spend_30d_minor"}
    assert "02 Mar 2026" in figures.drift_reference


def test_the_report_lies_where_it_was_asked_for(home: Home, settings: Settings) -> None:
    written = run(home, settings, "elsewhere", evidently=True).written
    assert written.page == home.reports / "elsewhere" / "index.html"
    assert "Tag precision over time" in written.page.read_text(encoding="utf-8")
    assert written.evidently is not None


def test_an_instant_that_cannot_be_is_refused(home: Home, settings: Settings) -> None:
    with pytest.raises(CommandError, match="lies in the future"):
        run(home, settings, as_of=NOW + timedelta(seconds=1))
    with pytest.raises(CommandError, match=r"--since .* is not before"):
        run(home, settings, as_of=at(10), since=at(10))


def test_a_home_without_events_names_the_step_before(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(MissingStepError, match="holds no events") as caught:
        run(open_home(tmp_path / "other", create=True), settings)
    assert "tagtide import" in caught.value.next_step


def test_events_without_claims_give_a_report_that_says_so(tmp_path: Path, settings: Settings) -> None:
    home = open_home(tmp_path / "other", create=True)
    Lake(home.lake).append(events_of([event("7", 0)]))
    found = run(home, settings)
    assert (found.figures.families, found.figures.drift, found.written.evidently) == ((), (), None)
    assert [number.shown for number in found.figures.numbers] == ["not measured"] * 4


def test_the_screen_shows_four_numbers_then_families(home: Home, settings: Settings) -> None:
    found = run(home, settings)
    screen = io.StringIO()
    Console(file=screen, width=200).print(as_screen(found))
    shown = screen.getvalue()
    places = [
        shown.index(words)
        for words in (
            "Tag precision",
            "Trigger latency",
            "Propensity lift",
            "CLV error",
            "high_intent",
            "report: ",
        )
    ]
    assert places == sorted(places)
    payload = json.loads(json.dumps(as_payload(found), allow_nan=False))
    assert payload["judged"]["judged"] == found.closed.judged
    assert payload["numbers"][0]["name"] == "Tag precision"


def test_the_command_prints_one_json_document_and_tells_by_example(home: Home) -> None:
    app = typer.Typer()
    app.command("monitor")(monitor_command.command)
    result = CliRunner().invoke(
        app,
        ["--as-of", "2026-03-08T00:00Z", "--no-evidently", "--json"],
        obj=Invocation(home.root, {}),
        catch_exceptions=False,
    )
    assert result.exit_code == 0
    assert json.loads(result.stdout)["as_of"] == datetime(2026, 3, 8, tzinfo=UTC).isoformat()
    assert (home.reports / "monitor" / "index.html").is_file()
    shown = CliRunner().invoke(app, ["--help"]).stdout
    assert "tagtide monitor --since" in shown


def test_a_customers_events_and_claims_do_not_leave_the_home_by_name(home: Home, settings: Settings) -> None:
    run(home, settings)
    customers = set(pl.concat([EVENTS["customer_id"]]))
    page = (home.reports / "report" / "index.html").read_text(encoding="utf-8")
    figures = (home.reports / "report" / "figures.json").read_text(encoding="utf-8")
    assert not [name for name in customers if f">{name}<" in page or f'"{name}"' in figures]


def test_tags_that_failed_their_contract_are_told_with_the_reason() -> None:
    contract = [
        {"tag": "MILK", "certified": True, "claims": 90, "reason": ""},
        {"tag": "茶", "certified": False, "claims": 60, "reason": "lift 1.20; expected 2.0"},
    ]
    alone = [{"tag": "", "certified": False, "claims": 9, "reason": "support 9; expected 50"}]
    bundles = [
        Bundle("tags-interest", "2026-03-01", {}, {}, content={"contract": contract}),
        Bundle("tags-high_intent", "2026-03-01", {}, {}, content={"contract": alone}),
        Bundle("clv", "2026-03-01", {}, {}),
    ]
    assert suspended_tags(bundles, FAMILIES) == [
        SuspendedTag("interest", "interest:茶", "lift 1.20; expected 2.0"),
        SuspendedTag("high_intent", "high_intent", "support 9; expected 50"),
    ]
