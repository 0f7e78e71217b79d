from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from configs.home import Home, open_home
from configs.settings import Settings, load_settings
from features.database import open_engine
from features.errors import SourceError
from features.event_log import EventLog
from features.events import EVENT_TYPES
from features.lake import Lake
from features.mapping import KEYS, MAPPABLE, EvaluationPlan, SourceMapping, check_mapping, shipped_names
from features.quarantine import Quarantine
from features.sources import imported_mapping, imported_sources
from features.tables import CSV_OPTIONS
from pipelines import cli
from pipelines.import_events import ImportReport, import_source, instant_of
from tests.features.made_events import MONDAY, event, frame

NOW = datetime(2020, 6, 1, 12, tzinfo=UTC)
COLUMNS = {
    "event_id": "id",
    "customer_id": "customer",
    "event_type": "kind",
    "event_time": "happened",
    "quantity": "pieces",
}
ROWS = [
    {"id": "1", "customer": "ann", "kind": "view", "happened": "2019-03-01 10:00:00", "pieces": "1"},
    {"id": "2", "customer": "bob", "kind": "purchase", "happened": "2019-03-02 10:00:00", "pieces": "2"},
    {"id": "2", "customer": "bob", "kind": "purchase", "happened": "2019-03-02 10:00:00", "pieces": "2"},
    {"id": "2", "customer": "bob", "kind": "purchase", "happened": "2019-03-02 10:00:00", "pieces": "7"},
    {"id": "3", "customer": "cy", "kind": "purchase", "happened": "2019-03-03 10:00:00", "pieces": "some"},
    {"id": "4", "customer": "test", "kind": "purchase", "happened": "2019-03-03 10:00:00", "pieces": "1"},
    {"id": "5", "customer": "ann", "kind": "purchase", "happened": "2019-03-04", "pieces": None},
]


@pytest.fixture
def plain() -> Settings:
    return load_settings(Path("/nowhere"), {}).settings


def shop(folder: Path, rows: list[dict[str, Any]] = ROWS, **changed: Any) -> SourceMapping:
    pl.DataFrame(rows, infer_schema_length=None).write_csv(folder / "shop.csv")
    written = {
        "source": "shop",
        "read": {"csv": "shop.csv"},
        "time_zone": "UTC",
        "left_out": "customer = 'test'",
        "columns": COLUMNS,
    }
    return check_mapping(written | changed, "mapping", folder)


def partition(report: ImportReport) -> int:
    return report.stored + report.duplicate + report.quarantined + report.left_out + report.later


def test_every_row_read_is_accounted_for(home: Home, plain: Settings, tmp_path: Path) -> None:
    report = import_source(home, plain, shop(tmp_path), now=NOW)
    assert report.rows_read == partition(report) == 7
    assert (report.stored, report.duplicate, report.quarantined) == (3, 1, 2)
    assert (report.left_out, report.later, report.quarantined_new) == (1, 0, 2)
    assert report.history
    assert report.valid_share == pytest.approx(4 / 6)
    assert report.records_per_minute == pytest.approx(7 / report.seconds * 60)
    assert report.efficiency == pytest.approx(report.valid_share * report.records_per_minute)
    events = Lake(home.lake).read()
    assert events["event_id"].to_list() == ["1", "2", "5"]
    assert events["ingested_at"].to_list() == events["event_time"].to_list()
    assert report.reasons == [
        ("event_id", "the content already stored under this event_id", 1),
        ("quantity", "a whole number from pieces", 1),
    ]
    kept = Quarantine(home.quarantine).read("shop")
    assert kept["row"].to_list() == [5, 6]
    assert kept["field"].to_list() == ["event_id", "quantity"]
    assert kept["value"].to_list() == ["2", "some"]
    assert kept["expected"][0] == "the content already stored under this event_id"
    assert json.loads(kept["raw"][0])["pieces"] == "7"


def test_importing_again_stores_nothing_and_refuses_nothing_anew(
    home: Home, plain: Settings, tmp_path: Path
) -> None:
    first = import_source(home, plain, shop(tmp_path), now=NOW)
    before = Lake(home.lake).read()
    second = import_source(home, plain, shop(tmp_path), now=NOW + timedelta(days=1))
    assert (second.stored, second.duplicate) == (0, first.stored + first.duplicate)
    assert (second.quarantined, second.quarantined_new) == (first.quarantined, 0)
    assert second.rows_read == partition(second)
    assert_frame_equal(Lake(home.lake).read(), before)
    assert Quarantine(home.quarantine).count() == 2


def test_until_takes_what_was_known_and_the_next_import_completes_the_history(
    home: Home, plain: Settings, tmp_path: Path
) -> None:
    cut = import_source(home, plain, shop(tmp_path), now=NOW, until=datetime(2019, 3, 1, 23, tzinfo=UTC))
    assert (cut.stored, cut.later) == (1, 2)
    assert cut.rows_read == partition(cut)
    rest = import_source(home, plain, shop(tmp_path), now=NOW)
    assert rest.history
    assert (rest.stored, rest.later) == (2, 0)

    whole = open_home(tmp_path / "whole", create=True)
    import_source(whole, plain, shop(tmp_path), now=NOW)
    assert_frame_equal(Lake(home.lake).read(), Lake(whole.lake).read())


def test_after_its_first_whole_import_a_sources_rows_are_known_on_arrival(
    home: Home, plain: Settings, tmp_path: Path
) -> None:
    import_source(home, plain, shop(tmp_path), now=NOW)
    more = [*ROWS, ROWS[0] | {"id": "9"}]
    later = import_source(home, plain, shop(tmp_path, more), now=NOW + timedelta(days=1))
    assert not later.history
    assert later.stored == 1
    assert Lake(home.lake).read().filter(event_id="9")["ingested_at"].to_list() == [NOW + timedelta(days=1)]


def test_an_import_that_found_no_event_does_not_end_the_history(
    home: Home, plain: Settings, tmp_path: Path
) -> None:
    wrong = import_source(home, plain, shop(tmp_path, columns=COLUMNS | {"event_type": "'buy'"}), now=NOW)
    assert wrong.stored == 0
    assert wrong.reasons[0][0] == "event_type"
    assert wrong.reasons[0][2] == 5
    assert import_source(home, plain, shop(tmp_path), now=NOW).history


@pytest.mark.parametrize("history", [True, False])
def test_whether_rows_are_history_can_be_said(
    home: Home, plain: Settings, tmp_path: Path, history: bool
) -> None:
    report = import_source(home, plain, shop(tmp_path), now=NOW, history=history)
    events = Lake(home.lake).read()
    assert report.history == history
    assert (events["ingested_at"] == events["event_time"]).all() == history
    assert (events["ingested_at"] == NOW).all() == (not history)


@settings(max_examples=15)
@given(
    cuts=st.lists(st.integers(0, 12), max_size=3).map(sorted),
    ids=st.lists(
        st.tuples(st.integers(0, 6), st.integers(1, 2), st.integers(0, 10)), min_size=1, max_size=12
    ),
)
def test_in_however_many_steps_the_outcome_is_that_of_one_import(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], ids: list[tuple[int, int, int]]
) -> None:
    plain = load_settings(Path("/nowhere"), {}).settings
    folder = tmp_path_factory.mktemp("steps")
    # The content follows from the id, so that which of two rows comes first does not matter.
    rows = [
        ROWS[0] | {"id": str(n), "happened": f"2019-03-{1 + n:02} 10:00:00", "pieces": str(1 + n)}
        for n, _, _ in ids
    ]
    stepwise = open_home(folder / "stepwise", create=True)
    for day in cuts:
        until = datetime(2019, 3, 1, tzinfo=UTC) + timedelta(days=day)
        report = import_source(stepwise, plain, shop(folder, rows), now=NOW, until=until)
        assert report.rows_read == partition(report)
    import_source(stepwise, plain, shop(folder, rows), now=NOW)
    at_once = open_home(folder / "at_once", create=True)
    import_source(at_once, plain, shop(folder, rows), now=NOW)
    assert_frame_equal(Lake(stepwise.lake).read(), Lake(at_once.lake).read())


def test_an_event_that_was_posted_before_keeps_its_own_arrival(
    home: Home, plain: Settings, tmp_path: Path
) -> None:
    engine = open_engine(None, home)
    moment = datetime(2019, 3, 1, 10, tzinfo=UTC)
    posted = event(event_id="1", customer_id="ann", event_type="view", event_time=moment)
    posted |= {"category": None, "amount_minor": None, "ingested_at": moment + timedelta(seconds=2)}
    EventLog(engine).append(frame([posted]))
    engine.dispose()
    report = import_source(home, plain, shop(tmp_path), now=NOW, history=False)
    assert (report.stored, report.duplicate) == (2, 2)
    arrived = Lake(home.lake).read().filter(event_id="1")["ingested_at"].to_list()
    assert arrived == [moment + timedelta(seconds=2)]


def test_the_mapping_used_can_be_read_from_the_home(home: Home, plain: Settings, tmp_path: Path) -> None:
    plan = {"clv": [{"as_of": "2019-03-02", "horizon_days": 1}]}
    mapping = shop(tmp_path, evaluation=plan, read={"csv": "${SHOP}/shop.csv"})
    import_source(home, plain, mapping, now=NOW, environ={"SHOP": str(tmp_path)})
    assert imported_sources(home) == ["shop"]
    found = imported_mapping(home, "shop")
    assert found == mapping
    assert found.evaluation.clv[0].horizon_days == 1
    assert str(tmp_path / "shop.csv") not in (home.sources / "shop" / "mapping.json").read_text()
    (saved,) = (home.sources / "shop").glob("import-*.json")
    assert json.loads(saved.read_text())["stored"] == 3


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("2017-10-31", "UTC", "2017-10-31T00:00:00+00:00"),
        ("2017-10-31", "Asia/Shanghai", "2017-10-30T16:00:00+00:00"),
        ("2017-10-31T18:00+02:00", "Asia/Shanghai", "2017-10-31T16:00:00+00:00"),
    ],
)
def test_an_instant_without_offset_is_of_the_business_zone(text: str, zone: str, expected: str) -> None:
    loaded = load_settings(Path("/nowhere"), {"TAGTIDE_TIME_ZONE": zone}).settings
    assert instant_of(text, loaded).isoformat() == expected


def run(home: Path, *arguments: str, environ: dict[str, str] | None = None) -> int:
    return cli.main(["--home", str(home), "import", *arguments], dict(environ or {}))


def write_mapping(folder: Path, text: str = "") -> Path:
    pl.DataFrame(ROWS).write_csv(folder / "shop.csv")
    path = folder / "shop.yaml"
    path.write_text(
        text
        or """
source: shop
read: {csv: shop.csv}
time_zone: UTC
left_out: customer = 'test'
columns:
  event_id: id
  customer_id: customer
  event_type: kind
  event_time: happened
  quantity: pieces
"""
    )
    return path


def test_the_command_prints_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "home", str(write_mapping(tmp_path))) == 0
    shown = capsys.readouterr().out
    for text in ("stored", "duplicate", "quarantined", "2 (2 new)", "left out", "integration efficiency"):
        assert text in shown


def test_the_command_speaks_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "home", str(write_mapping(tmp_path)), "--until", "2019-03-02", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["rows_read"], report["stored"], report["later"]) == (7, 1, 2)
    assert report["until"] == "2019-03-02T00:00:00+00:00"
    assert {"seconds", "records_per_minute", "valid_share", "efficiency"} <= report.keys()


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("source: shop", "sorce: shop", "sorce"),
        ("read: {csv: shop.csv}", "read: {csv: nowhere.csv}", "nowhere.csv"),
        ("read: {csv: shop.csv}", "read: {csv: '${SHOP_FOLDER}/shop.csv'}", "SHOP_FOLDER"),
        ("read: {csv: shop.csv}", "read: {csv: shop.csv, delimter: ';'}", "delimter"),
        ("time_zone: UTC", "time_zone: Mars", "Mars"),
        ("customer_id: customer", "customr_id: customer", "customr_id"),
        ("customer_id: customer", "customer_id: customr", "customr"),
        ("event_time: happened", "event_time: happened +", "happened +"),
        ("columns:", "columns: [", "line"),
    ],
)
def test_what_is_wrong_is_named_in_one_line_and_the_exit_code_is_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, named: str
) -> None:
    path = write_mapping(tmp_path)
    path.write_text(path.read_text().replace(old, new))
    assert run(tmp_path / "home", str(path)) == 2
    printed = capsys.readouterr()
    lines = printed.err.strip().splitlines()
    assert printed.out == ""
    assert lines[0].startswith("error: ")
    assert named in lines[0]
    assert len(lines) <= 2
    assert "Traceback" not in printed.err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nowhere.yaml"], "nowhere.yaml"),
        (["completejourny"], "did you mean 'completejourney'"),
        (["cdnow"], "TAGTIDE_DATA"),
        (["completejourney", "--until", "tomorrow"], "tomorrow"),
        (["--nonsense", "x"], "--nonsense"),
    ],
)
def test_a_wrong_argument_is_named_and_the_exit_code_is_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], named: str
) -> None:
    assert run(tmp_path / "home", *arguments) == 2
    error = capsys.readouterr().err
    assert named in error.splitlines()[0]
    assert "Traceback" not in error


def test_a_damaged_report_is_named(home: Home, plain: Settings, tmp_path: Path) -> None:
    import_source(home, plain, shop(tmp_path), now=NOW)
    (saved,) = (home.sources / "shop").glob("import-*.json")
    saved.write_text("{")
    with pytest.raises(SourceError, match=r"import-.*\.json is damaged"):
        import_source(home, plain, shop(tmp_path), now=NOW)
    (home.sources / "shop" / "mapping.json").write_text("[]")
    with pytest.raises(SourceError, match=r"mapping\.json is damaged"):
        imported_mapping(home, "shop")


def test_a_failed_import_leaves_the_next_one_its_history(home: Home, plain: Settings, tmp_path: Path) -> None:
    # The lake was written, but the report was not: the process died in between.
    import_source(home, plain, shop(tmp_path), now=NOW)
    for path in (home.sources / "shop").glob("import-*.json"):
        path.unlink()
    for part in list((home.lake / "day=2019-03-04").glob("*.parquet")):
        part.unlink()
    again = import_source(home, plain, shop(tmp_path), now=NOW)
    assert again.history
    assert again.stored == 1
    assert Lake(home.lake).read(known_by=MONDAY + timedelta(days=9999)).height == 3


DOCUMENT = Path(__file__).parents[2] / "docs" / "sources.md"


def fenced(text: str, after: str) -> str:
    """The first fenced block after a line of the document."""
    block = text.split(after, 1)[1].split("```", 2)[1]
    return block.split("\n", 1)[1]


def test_the_documents_example_imports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    (tmp_path / "shop.csv").write_text(fenced(text, "`shop.csv`:"))
    (tmp_path / "shop.yaml").write_text(fenced(text, "`shop.yaml`, beside it:"))
    assert run(tmp_path / "home", str(tmp_path / "shop.yaml"), "--json") == 0
    assert json.loads(capsys.readouterr().out)["stored"] == 2
    amounts = Lake(tmp_path / "home" / "lake").read()["amount_minor"].to_list()
    assert amounts == [798, 1250]


def test_the_document_names_every_key_column_option_and_shipped_source() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    words = set(re.findall(r"[a-z_0-9]+", text))
    missing = {*KEYS, *MAPPABLE, *EVENT_TYPES, *CSV_OPTIONS, *shipped_names()} - words
    assert not missing
    plan = yaml.safe_load(fenced(text, "## What `backtest` does with a source"))["evaluation"]
    assert EvaluationPlan.model_validate(plan).propensity[0].horizon_hours == 72
