from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.home import Home
from features.errors import SourceError
from features.events import EVENT_SCHEMA, INSTANT
from features.sources import events_of, imported_mapping, imported_sources, read_source
from features.tables import open_table
from tests.features.made_sources import COLUMNS, NOW, SOUND, mapping, read, times


def test_sound_rows_become_events(tmp_path: Path) -> None:
    found = read(tmp_path, [{}, {"id": "2", "kind": "view", "price": None}], mapping())
    assert found.good.schema == EVENT_SCHEMA
    first, second = found.good.to_dicts()
    assert first == dict.fromkeys(EVENT_SCHEMA) | {
        "event_id": "1",
        "customer_id": "ann",
        "event_type": "purchase",
        "event_time": datetime(2019, 3, 1, 10, tzinfo=UTC),
        "ingested_at": datetime(2019, 3, 1, 10, tzinfo=UTC),
        "quantity": 1,
        "amount_minor": 250,
        "source": "shop",
    }
    assert second["amount_minor"] is None
    assert (found.read, found.left_out, found.later, found.refused.height) == (2, 0, 0, 0)
    assert found.positions.to_list() == [1, 2]


def test_one_bad_value_costs_one_row_and_is_kept_with_its_reason(tmp_path: Path) -> None:
    rows = [{"id": str(number)} for number in range(5)]
    rows[2]["price"] = "abc"
    found = read(tmp_path, rows, mapping())
    assert found.good["event_id"].to_list() == ["0", "1", "3", "4"]
    assert found.good["amount_minor"].to_list() == [250] * 4
    (refused,) = found.refused.to_dicts()
    assert refused["row"] == 4, "the fourth line: the header is the first"
    assert Path(refused["file"]).name == "shop.csv"
    assert refused["field"] == "amount_minor"
    assert refused["value"] == "abc"
    assert refused["expected"] == "a whole number from CAST(round(100 * price) AS BIGINT)"
    assert json.loads(refused["raw"]) == SOUND | {"id": "2", "price": "abc"}


@pytest.mark.parametrize(
    ("bad", "field", "expected"),
    [
        ({"customer": None}, "customer_id", "a value"),
        ({"customer": "x" * 200}, "customer_id", "1 to 128 bytes"),
        ({"kind": "bought"}, "event_type", "one of view"),
        ({"happened": "yesterday"}, "event_time", "a time (ISO 8601) from happened"),
        ({"happened": "2019-02-30 10:00:00"}, "event_time", "a time (ISO 8601) from happened"),
        ({"happened": "2021-01-01 00:00:00"}, "event_time", "at most 5 minutes after the import"),
        ({"happened": "1889-01-01 00:00:00"}, "event_time", "1990 or later"),
        ({"happened": "infinity"}, "event_time", "a time between the years 1 and 9999"),
        ({"price": "-3"}, "amount_minor", "0 to 1000000000000000 minor units"),
        ({"price": "nan"}, "amount_minor", "a whole number from"),
        ({"price": "1e300"}, "amount_minor", "a whole number from"),
    ],
)
def test_every_kind_of_bad_value_names_column_value_and_reason(
    tmp_path: Path, bad: dict[str, Any], field: str, expected: str
) -> None:
    rows = [{"id": "ok1"}, {"id": "bad"} | bad, {"id": "ok2"}]
    found = read(tmp_path, rows, mapping())
    assert found.good["event_id"].to_list() == ["ok1", "ok2"]
    (refused,) = found.refused.to_dicts()
    assert (refused["row"], refused["field"]) == (3, field)
    assert refused["expected"].startswith(expected)
    assert json.loads(refused["raw"])["id"] == "bad"


def test_rows_left_out_are_counted_and_not_refused(tmp_path: Path) -> None:
    rows = [{"id": "a"}, {"id": "b", "customer": None, "price": "abc"}, {"id": "c", "price": "abc"}]
    found = read(tmp_path, rows, mapping(left_out="customer IS NULL"))
    assert (found.read, found.left_out, found.good.height, found.refused.height) == (3, 1, 1, 1)


def test_a_left_out_expression_that_fails_refuses_the_row(tmp_path: Path) -> None:
    rows = [{"id": "a"}, {"id": "b", "price": "abc"}]
    found = read(
        tmp_path, rows, mapping(COLUMNS | {"amount_minor": "1"}, left_out="CAST(price AS DOUBLE) > 3")
    )
    assert found.refused["field"].to_list() == ["left_out"]


cell = st.sampled_from(["1.5", "x", None, "9"])
moment = st.sampled_from(
    ["2019-03-01 10:00:00", "2019-03-01", "bad", None, "2019-03-01T10:00:00Z", "2030-01-01"]
)


@settings(max_examples=30)
@given(
    st.lists(
        st.fixed_dictionaries(
            {"price": cell, "happened": moment, "customer": st.sampled_from(["ann", None, "skip"])}
        ),
        min_size=1,
        max_size=20,
    )
)
def test_every_row_is_good_refused_left_out_or_later(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    # A column without a single number is a mistake of the mapping: the first row has one.
    first = {"price": "2.5", "happened": "2019-03-01", "customer": "ann"}
    numbered = [{"id": f"r{number}"} | row for number, row in enumerate([first, *rows])]
    found = read(tmp_path_factory.mktemp("rows"), numbered, mapping(left_out="customer = 'skip'"))
    expected = [
        row["id"]
        for row in numbered
        if row["customer"] == "ann"
        and row["price"] != "x"
        and row["happened"] in {"2019-03-01 10:00:00", "2019-03-01", "2019-03-01T10:00:00Z"}
    ]
    assert found.good["event_id"].to_list() == expected
    assert found.left_out == sum(row["customer"] == "skip" for row in rows)
    assert found.read == len(numbered)
    assert found.good.height + found.refused.height + found.left_out + found.later == found.read
    refused_ids = {json.loads(raw)["id"] for raw in found.refused["raw"]}
    assert len(refused_ids) == found.refused.height
    assert refused_ids.isdisjoint(expected)


def test_local_times_follow_the_zone_and_adjustments_are_counted(tmp_path: Path) -> None:
    rows = [
        {"id": "winter", "happened": "2019-01-15 12:00:00"},
        {"id": "summer", "happened": "2019-07-15 12:00:00"},
        {"id": "missing", "happened": "2019-03-31 01:30:00"},
        {"id": "ambiguous", "happened": "2019-10-27 01:30:00"},
    ]
    found = read(tmp_path, rows, mapping(time_zone="Europe/London"))
    assert times(found) == [
        "2019-01-15T12:00:00+00:00",
        "2019-07-15T11:00:00+00:00",
        "2019-03-31T01:30:00+00:00",
        "2019-10-27T00:30:00+00:00",
    ]
    assert (found.adjusted_ambiguous, found.adjusted_missing) == (1, 1)


def test_a_naive_time_without_a_declared_zone_is_refused(tmp_path: Path) -> None:
    rows = [
        {"id": "a"},
        {"id": "b", "happened": "2019-03-01T10:00:00+08:00"},
        {"id": "c", "happened": "2019-03-01"},
    ]
    found = read(tmp_path, rows, mapping(time_zone=None))
    assert found.good["event_id"].to_list() == ["b"]
    assert times(found) == ["2019-03-01T02:00:00+00:00"]
    assert found.refused["expected"].to_list() == ["a time with a zone, or `time_zone` in the mapping"] * 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2019-10-01 00:00:00 UTC", "2019-10-01T00:00:00+00:00"),
        ("2019-10-01T00:00:00Z", "2019-10-01T00:00:00+00:00"),
        ("2019-10-01T00:00:00.123456+08:00", "2019-09-30T16:00:00.123456+00:00"),
        ("2019-10-01 00:00:00+0800", "2019-09-30T16:00:00+00:00"),
        ("2019-10-01 00:00:00-05", "2019-10-01T05:00:00+00:00"),
        ("2019-10-01 00:00 America/New_York", "2019-10-01T04:00:00+00:00"),
        ("2019-10-01 08:00:00", "2019-10-01T00:00:00+00:00"),
        ("2019-10-01T08:00", "2019-10-01T00:00:00+00:00"),
        ("2019-10-01", "2019-10-01T15:59:59.999999+00:00"),
    ],
)
def test_text_is_an_instant_with_an_offset_local_without_and_a_whole_day_without_a_time(
    tmp_path: Path, text: str, expected: str
) -> None:
    rows = [{"happened": text}, {"id": "2", "happened": "never"}]
    found = read(tmp_path, rows, mapping(time_zone="Asia/Shanghai"))
    assert times(found) == [expected]


def test_dates_times_and_offsets_in_one_column_keep_their_meanings(tmp_path: Path) -> None:
    rows = [
        {"happened": "2019-03-01"},
        {"happened": "2019-03-01 10:00:00"},
        {"happened": "2019-03-01T10:00:00Z"},
    ]
    found = read(tmp_path, rows, mapping(time_zone="Asia/Shanghai"))
    assert times(found) == [
        "2019-03-01T15:59:59.999999+00:00",
        "2019-03-01T02:00:00+00:00",
        "2019-03-01T10:00:00+00:00",
    ]


def test_a_date_that_could_be_read_two_ways_is_not_guessed(tmp_path: Path) -> None:
    rows = [{"happened": "01/02/2019"}, {"happened": "13/02/2019"}]
    assert read(tmp_path, rows, mapping()).good.is_empty()
    told = mapping(COLUMNS | {"event_time": "CAST(strptime(happened, '%d/%m/%Y') AS DATE)"})
    assert times(read(tmp_path, rows, told)) == [
        "2019-02-01T23:59:59.999999+00:00",
        "2019-02-13T23:59:59.999999+00:00",
    ]


def test_rows_dated_today_wait_for_the_end_of_the_day(tmp_path: Path) -> None:
    rows = [
        {"id": "yesterday", "happened": "2020-05-31"},
        {"id": "today", "happened": "2020-06-01"},
        {"id": "beyond", "happened": "2020-06-03"},
    ]
    found = read(tmp_path, rows, mapping())
    assert found.good["event_id"].to_list() == ["yesterday"]
    assert found.later == 1
    assert found.refused["field"].to_list() == ["event_time"]


def test_history_is_known_when_it_happened_or_when_the_mapping_says(tmp_path: Path) -> None:
    columns = COLUMNS | {"ingested_at": "seen"}
    rows = [{"id": "a", "seen": "2019-03-02 00:00:00"}, {"id": "b", "seen": None}]
    found = read(tmp_path, rows, mapping(columns))
    assert [at.isoformat() for at in found.good["ingested_at"]] == [
        "2019-03-02T00:00:00+00:00",
        "2019-03-01T10:00:00+00:00",
    ]
    arrived = read(tmp_path, rows, mapping(columns), arrival=NOW)
    assert arrived.good["ingested_at"].to_list() == [NOW, NOW]
    assert arrived.good["event_time"].equals(found.good["event_time"])


def test_rows_without_an_id_are_named_by_content_and_counted_among_their_likes(tmp_path: Path) -> None:
    columns = {name: text for name, text in COLUMNS.items() if name != "event_id"}
    rows = [{"id": "x"}, {"id": "y"}, {"id": "z", "price": "9"}, {"id": "w"}]
    found = read(tmp_path, rows, mapping(columns))
    ids = found.good["event_id"].to_list()
    assert len(set(ids)) == 4
    stem = ids[0].removesuffix("-0")
    assert ids == [f"{stem}-0", f"{stem}-1", ids[2], f"{stem}-2"]
    assert ids[2].endswith("-0")
    other_order = read(tmp_path, rows[::-1], mapping(columns)).good["event_id"].to_list()
    assert set(other_order) == set(ids)


def test_a_content_id_does_not_depend_on_when_the_event_arrived(tmp_path: Path) -> None:
    columns = {name: text for name, text in COLUMNS.items() if name != "event_id"}
    history = read(tmp_path, [{}], mapping(columns)).good["event_id"].to_list()
    assert read(tmp_path, [{}], mapping(columns), arrival=NOW).good["event_id"].to_list() == history
    content = (
        "customer_id=ann\x1fevent_type=purchase\x1fevent_time=2019-03-01 10:00:00+00\x1famount_minor=250"
    )
    assert history == [f"{hashlib.sha256(content.encode()).hexdigest()[:32]}-0"]


def test_lines_that_are_no_rows_are_refused_beside_bad_values(tmp_path: Path) -> None:
    path = tmp_path / "shop.csv"
    path.write_text(
        "id,customer,kind,happened,price\n"
        "1,ann,view,2019-03-01 10:00:00,1.0\n"
        "2,bob,view\n"
        "3,cy,stare,2019-03-01 10:00:00,1.0\n"
        "4,di,view,2019-03-01 10:0"
    )
    found = read_source(mapping().model_copy(update={"folder": tmp_path}), {}, now=NOW)
    assert found.good["event_id"].to_list() == ["1"]
    assert found.refused["row"].to_list() == [3, 4, 5]
    assert found.refused["raw"].to_list()[0] == "2,bob,view"
    assert found.refused["raw"].to_list()[2] == "4,di,view,2019-03-01 10:0"
    assert found.refused["file"].to_list() == [str(path)] * 3
    assert found.read == 4


HEADER = b"id,customer,kind,happened,price\n"
scraps = st.sampled_from(
    [
        b"1,ann,view,2019-03-01 10:00:00,1.0",
        b"2,bob,view",
        b"\n",
        b"\r\n",
        b",",
        b'"',
        b"\xff",
        b"\x00",
        b"9" * 30,
        "牛奶,é".encode(),
        b"infinity",
        b"3,cy,purchase,2019-03-01,1e309\n",
        b"4,di,purchase,99999-01-01,-1\n",
    ]
)


@settings(max_examples=60)
@given(st.lists(scraps | st.binary(max_size=12), max_size=12))
def test_whatever_a_file_holds_its_rows_are_accounted_for_or_it_is_named(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]
) -> None:
    path = tmp_path_factory.getbasetemp() / "shop.csv"
    path.write_bytes(HEADER + b"0,ann,view,2019-03-01 10:00:00,1.0\n" + b"".join(parts))
    try:
        found = read_source(mapping().model_copy(update={"folder": path.parent}), {}, now=NOW)
    except SourceError as refusal:
        named = refusal.message
    else:
        named = ""
    if named:
        assert named.startswith("source shop: ")
        assert "\n" not in named
        return
    assert found.good.height + found.refused.height + found.left_out + found.later == found.read
    assert found.refused["raw"].null_count() == 0


def test_cdnow_is_read_as_its_lines_say(data_folder: Path) -> None:
    from features.mapping import load_mapping

    environ = {"TAGTIDE_DATA": str(data_folder)}
    path = data_folder / "cdnow" / "CDNOW_sample.txt"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    found = read_source(load_mapping("cdnow", environ), environ, now=NOW)
    lines = [line.split() for line in path.read_text().splitlines()]
    assert found.good.height == len(lines) == 6_919
    assert found.good["event_id"].n_unique() == len(lines)
    assert found.good["customer_id"].to_list() == [line[0] for line in lines]
    assert found.good["quantity"].to_list() == [int(line[3]) for line in lines]
    assert found.good["amount_minor"].to_list() == [int(line[4].replace(".", "")) for line in lines]
    last_moments = [
        datetime.strptime(line[2], "%Y%m%d").replace(tzinfo=UTC) + timedelta(days=1, microseconds=-1)
        for line in lines
    ]
    assert found.good["event_time"].to_list() == last_moments


def test_online_retail_keeps_the_lines_of_known_customers(data_folder: Path) -> None:
    from features.mapping import load_mapping

    folder = data_folder / "online_retail_ii"
    if not folder.exists():
        pytest.skip(f"{folder} is absent")
    environ = {"TAGTIDE_DATA": str(data_folder)}
    found = read_source(load_mapping("online_retail_ii", environ), environ, now=NOW)
    raw = pl.read_parquet(folder / "*.parquet")
    known = raw.filter(pl.col("CustomerID").is_not_null())
    assert found.read == raw.height
    assert found.left_out == raw.height - known.height
    assert found.refused.is_empty()
    refunds = found.good.filter(event_type="refund")
    assert refunds.height == known.filter(pl.col("Quantity") < 0).height
    net = found.good.filter(event_type="purchase")["amount_minor"].sum() - refunds["amount_minor"].sum()
    # Each line is rounded to the penny, so the sums differ by less than half a penny a line.
    expected = (100 * known["Quantity"] * known["Price"]).sum()
    assert abs(net - expected) < 0.5 * known.height
    local = found.good["event_time"].dt.convert_time_zone("Europe/London").dt.replace_time_zone(None)
    assert local.equals(known["InvoiceDate"].cast(pl.Datetime("us")).rename("event_time"))


def test_a_loader_is_read_like_a_file(tmp_path: Path) -> None:
    made = mapping(read={"loader": f"{__name__}.three_rows"})
    table = open_table(made, threads=1)
    found = events_of(made, table, now=NOW, arrival=None, future_skew=timedelta(minutes=5))
    assert found.good["event_id"].to_list() == ["0", "2"]
    assert found.refused["row"].to_list() == [2]


def three_rows() -> pl.DataFrame:
    return pl.DataFrame([SOUND | {"id": str(n), "price": 1.0 - n % 2 * 5} for n in range(3)])


def test_a_source_that_was_not_imported_is_named(home: Home) -> None:
    assert imported_sources(home) == []
    with pytest.raises(SourceError, match="source 'shop' was never imported into"):
        imported_mapping(home, "shop")


def test_ingestion_times_are_of_the_schema_even_of_no_rows(tmp_path: Path) -> None:
    found = read(tmp_path, [{"kind": "nothing"}], mapping())
    assert found.good.is_empty()
    assert found.good.schema["ingested_at"] == INSTANT
