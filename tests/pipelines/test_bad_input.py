"""One table of bad values, brought to both doors: an import, and a request.

A bad value costs its row and no other; the row is kept with its place, field, value and what was expected.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from configs.home import Home, open_home
from configs.settings import load_settings
from features.events import EVENT_TYPES
from features.lake import Lake
from features.mapping import check_mapping
from features.quarantine import Quarantine
from pipelines.import_events import ImportReport, import_source
from serving.clock import WallClock
from tests.serving.parts import Parts

NOW = datetime.now(UTC).replace(microsecond=0)
GOOD_TIME = NOW - timedelta(hours=1)
COLUMNS = (
    *("event_id", "customer_id", "event_type", "event_time", "item_id", "category", "brand", "quantity"),
    *("amount_minor", "discount_minor", "coupon_minor", "order_id"),
)
TYPES = f"one of {', '.join(EVENT_TYPES)}"
MONEY = "0 to 1000000000000000 minor units"
TAKEN = "taken"
"""The door takes it, for there it is what it should be."""


@dataclass(frozen=True)
class Bad:
    """A bad value and what each door says to it.

    Attributes
    ----------
    csv
        Bytes of the cell; None: as a text in ``json``.
    json
        Bytes of the value; None: a CSV file cannot be compared.
    imported, posted
        What was expected, or `TAKEN`.
    shown
        What of the value is shown by both; None: not compared.
    """

    name: str
    field: str
    json: bytes | None
    csv: bytes | None
    imported: str
    posted: str
    shown: str | None = None


def text(value: str) -> tuple[bytes, bytes]:
    return json.dumps(value).encode(), b'"' + value.encode().replace(b'"', b'""') + b'"'


def at(moment: datetime) -> tuple[bytes, bytes]:
    return text(moment.isoformat().replace("+00:00", "Z"))


def whole(field: str) -> str:
    return f"a whole number from {field}"


FUTURE = "at most 5 minutes after "
LONG_TEXT = "x" * 1_000_000
INT = "`int | null`, got "
ZONE = "a time with a zone, or `time_zone` in the mapping"
TIME = "RFC 3339 with an offset, or Unix seconds"
ISO = "a time (ISO 8601) from event_time"
CONTROL = "no control characters"

BAD = [
    Bad(
        "in the future",
        "event_time",
        *at(NOW + timedelta(days=1)),
        f"{FUTURE}the import",
        f"{FUTURE}its arrival",
    ),
    Bad(
        "before 1990", "event_time", *at(datetime(1989, 12, 31, tzinfo=UTC)), "1990 or later", "1990 or later"
    ),
    Bad("a naive time", "event_time", *text("2024-03-01 10:00:00"), ZONE, TIME, "2024-03-01 10:00:00"),
    Bad("a date", "event_time", *text("2024-03-01"), ZONE, TIME, "2024-03-01"),
    Bad("no such day", "event_time", *text("2024-02-30T10:00:00Z"), ISO, TIME, "2024-02-30T10:00:00Z"),
    Bad("no time at all", "event_time", *text("yesterday"), ISO, TIME, "yesterday"),
    Bad(
        "the year 10000",
        "event_time",
        *text("10000-01-01T00:00:00Z"),
        "a time between the years 1 and 9999",
        TIME,
    ),
    Bad("no time", "event_time", b"null", b"", "a value", TIME),
    Bad("NaN", "amount_minor", b"NaN", b"NaN", whole("amount_minor"), "a finite number", "NaN"),
    Bad(
        "Infinity",
        "amount_minor",
        b"-Infinity",
        b"-Infinity",
        whole("amount_minor"),
        "a finite number",
        "-Infinity",
    ),
    Bad("an overflow", "amount_minor", b"1e999", b"1e999", whole("amount_minor"), "a finite number"),
    Bad("a fraction", "amount_minor", b"1.5", b"1.5", whole("amount_minor"), f"{INT}`float`", "1.5"),
    Bad("a truth value", "amount_minor", b"true", b"true", whole("amount_minor"), f"{INT}`bool`", "true"),
    Bad("a number as text", "amount_minor", b'"12"', b'"12"', TAKEN, f"{INT}`str`", "12"),
    Bad("a word as a number", "quantity", *text("some"), whole("quantity"), f"{INT}`str`", "some"),
    Bad("a list", "quantity", b"[1]", b"[1]", whole("quantity"), f"{INT}`array`", "[1]"),
    Bad(
        "too large for 32 bits",
        "quantity",
        b"2147483648",
        b"2147483648",
        whole("quantity"),
        "`int` <= 2147483647",
    ),
    Bad(
        "too large for 64 bits",
        "coupon_minor",
        b"1" * 40,
        b"1" * 40,
        whole("coupon_minor"),
        "`int` <= 922337203685477",
    ),
    Bad("more than all the money", "amount_minor", b"1" * 17, b"1" * 17, MONEY, MONEY, "1" * 17),
    Bad("a negative amount", "discount_minor", b"-1", b"-1", MONEY, MONEY, "-1"),
    Bad("a negative quantity", "quantity", b"-2", b"-2", "0 or more", "0 or more", "-2"),
    Bad("an unknown type", "event_type", *text("bought"), TYPES, TYPES, "bought"),
    Bad("a type in capitals", "event_type", *text("VIEW"), TYPES, TYPES, "VIEW"),
    Bad("a long id", "event_id", *text("é" * 65), "1 to 128 bytes", "1 to 128 bytes", "é" * 65),
    Bad("a long customer", "customer_id", *text("x" * 129), "1 to 128 bytes", "1 to 128 bytes"),
    Bad("no customer", "customer_id", b'""', b'""', "a value", "1 to 128 bytes"),
    Bad("an object", "customer_id", b'{"id": 1}', None, "", "`str | null`, got `object`", '{"id": 1}'),
    Bad("a number as an id", "customer_id", b"17", b"17", TAKEN, "`str | null`, got `int`", "17"),
    Bad("a megabyte", "category", *text(LONG_TEXT), "1 to 256 bytes", "1 to 256 bytes", "x" * 80),
    Bad("a zero byte", "brand", b'"a\\u0000b"', b'"a\x00b"', CONTROL, CONTROL, "a\x00b"),
    Bad("a line break", "item_id", *text("a\nb"), CONTROL, CONTROL, "a\nb"),
    Bad("no UTF-8", "brand", b'"caf\xe9"', b"caf\xe9", "text in utf-8", "text in UTF-8", "caf\\xe9"),
    Bad("half a character", "order_id", b'"\\ud83d"', b"\xed\xa0\xbd", "text in utf-8", "text in UTF-8"),
]
IDS = [one.name for one in BAD]


def good(number: int) -> dict[str, Any]:
    return dict.fromkeys(COLUMNS) | {
        "event_id": f"good {number}",
        "customer_id": "ann",
        "event_type": "purchase",
        "event_time": GOOD_TIME.isoformat(),
        "brand": "Ärzte & 牛奶",
        "quantity": number,
        "amount_minor": 250,
    }


def csv_line(row: dict[str, Any], field: str = "", cell: bytes = b"") -> bytes:
    cells = [b"" if row[name] is None else str(row[name]).encode() for name in COLUMNS]
    return b",".join(cell if name == field else one for name, one in zip(COLUMNS, cells, strict=True))


def json_row(row: dict[str, Any], field: str = "", value: bytes = b"") -> bytes:
    written = {
        name: json.dumps(one).encode() for name, one in row.items() if one is not None or name == field
    }
    parts = [b'"%s": %s' % (name.encode(), value if name == field else one) for name, one in written.items()]
    return b"{" + b", ".join(parts) + b"}"


def imported(home: Home, folder: Path, lines: list[bytes]) -> ImportReport:
    (folder / "shop.csv").write_bytes(b"\n".join([",".join(COLUMNS).encode(), *lines]) + b"\n")
    columns = {name: name for name in COLUMNS}
    mapping = check_mapping(
        {"source": "shop", "read": {"csv": "shop.csv"}, "columns": columns}, "mapping", folder
    )
    settings = load_settings(home.root, {}).settings
    return import_source(home, settings, mapping, now=datetime.now(UTC), environ={})


def posted(home: Home, rows: list[bytes]) -> dict[str, Any]:
    """Post rows to a service on the wall clock; what it answers, and the lake holds them afterwards."""

    async def post() -> dict[str, Any]:
        parts = Parts(home, WallClock())
        try:
            async with parts.running() as client:
                body = b'{"events": [' + b", ".join(rows) + b"]}"
                reply = await client.post(
                    "/v1/events", content=body, headers={"content-type": "application/json"}
                )
                parts.log.compact(Lake(home.lake))
                return {"status": reply.status_code} | reply.json()
        finally:
            parts.close()

    return asyncio.run(post())


def stored(home: Home) -> list[dict[str, Any]]:
    events = Lake(home.lake).read(columns=["event_id", "customer_id", "brand", "quantity", "amount_minor"])
    return events.sort("event_id").to_dicts()


def as_stored(*numbers: int) -> list[dict[str, Any]]:
    names = ("event_id", "customer_id", "brand", "quantity", "amount_minor")
    return [{name: good(number)[name] for name in names} for number in numbers]


@pytest.mark.parametrize("bad", BAD, ids=IDS)
def test_an_import_keeps_out_a_bad_value_and_takes_the_rows_around_it(
    home: Home, tmp_path: Path, bad: Bad
) -> None:
    if bad.csv is None:
        pytest.skip("a CSV cell holds no such value")
    lines = [csv_line(good(1)), csv_line(good(2), bad.field, bad.csv), csv_line(good(3))]
    report = imported(home, tmp_path, lines)
    if bad.imported == TAKEN:
        assert (report.stored, report.quarantined) == (3, 0)
        kept = Lake(home.lake).read().filter(pl.col("event_id").is_in(["good 1", "good 3"]).not_())
        assert str(kept[bad.field][0]).encode() == bad.csv.strip(b'"')
        return
    assert (report.rows_read, report.stored, report.quarantined) == (3, 2, 1)
    assert stored(home) == as_stored(1, 3)
    (kept,) = Quarantine(home.quarantine).read("shop").to_dicts()
    assert (kept["row"], kept["file"], kept["field"]) == (3, str(tmp_path / "shop.csv"), bad.field)
    assert kept["expected"].startswith(bad.imported)
    assert len(kept["value"]) < 120
    if bad.shown is not None:
        assert bad.shown in kept["value"]
    assert len(kept["raw"]) >= len(bad.csv)


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, dict[str, Any]]:
    """The home and the reply of one request with every bad row, each between two good ones."""
    home = open_home(tmp_path_factory.mktemp("posted") / "home", create=True)
    rows = [json_row(good(0))]
    for number, bad in enumerate(BAD, start=1):
        assert bad.json is not None
        rows += [json_row(good(1000 + number), bad.field, bad.json), json_row(good(number))]
    return home, posted(home, rows)


@pytest.mark.parametrize(("number", "bad"), list(enumerate(BAD)), ids=IDS)
def test_a_request_keeps_out_a_bad_value(
    answered: tuple[Home, dict[str, Any]], number: int, bad: Bad
) -> None:
    home, reply = answered
    error = reply["errors"][number]
    assert (error["index"], error["field"]) == (2 * number + 1, bad.field)
    assert error["expected"].startswith(bad.posted)
    assert len(error["value"]) < 120
    if bad.shown is not None:
        assert bad.shown in error["value"]
    kept = Quarantine(home.quarantine).read("api").row(number, named=True)
    assert (kept["row"], kept["field"], kept["value"]) == (2 * number + 2, bad.field, error["value"])
    assert kept["expected"] == error["expected"]
    assert len(kept["raw"]) >= len(bad.json or b"")


def test_the_good_rows_of_that_request_are_stored_as_they_were(answered: tuple[Home, dict[str, Any]]) -> None:
    home, reply = answered
    assert (reply["status"], reply["accepted"], len(reply["errors"])) == (202, len(BAD) + 1, len(BAD))
    assert stored(home) == sorted(as_stored(*range(len(BAD) + 1)), key=lambda row: row["event_id"])


def test_all_of_them_at_once_cost_an_import_no_good_row(home: Home, tmp_path: Path) -> None:
    lines, bad_lines = [csv_line(good(0))], []
    for number, bad in enumerate(BAD, start=1):
        if bad.csv is not None and bad.imported != TAKEN:
            lines.append(csv_line(good(1000 + number), bad.field, bad.csv))
            bad_lines.append(1 + sum(line.count(b"\n") + 1 for line in lines[:-1]) + 1)
        lines.append(csv_line(good(number)))
    report = imported(home, tmp_path, lines)
    assert (report.stored, report.quarantined) == (len(BAD) + 1, len(bad_lines))
    assert [row["event_id"] for row in stored(home)] == sorted(f"good {n}" for n in range(len(BAD) + 1))
    assert Quarantine(home.quarantine).read("shop")["row"].to_list() == bad_lines


def test_the_same_id_with_other_content_is_kept_out_at_both_doors(home: Home, tmp_path: Path) -> None:
    other = good(1) | {"amount_minor": 999}
    report = imported(home, tmp_path, [csv_line(good(1)), csv_line(other), csv_line(good(1))])
    assert (report.stored, report.duplicate, report.quarantined) == (1, 1, 1)
    (kept,) = Quarantine(home.quarantine).read("shop").to_dicts()
    assert (kept["row"], kept["field"], kept["value"]) == (3, "event_id", "good 1")
    assert json.loads(kept["raw"])["amount_minor"] == "999"

    second = open_home(tmp_path / "second", create=True)
    reply = posted(second, [json_row(good(1)), json_row(other), json_row(good(1))])
    assert (reply["accepted"], reply["duplicates"]) == (1, 1)
    assert [(one["index"], one["field"], one["value"]) for one in reply["errors"]] == [
        (1, "event_id", "good 1")
    ]
    (kept,) = Quarantine(second.quarantine).read("api").to_dicts()
    assert (kept["row"], kept["field"], kept["value"]) == (2, "event_id", "good 1")
    assert json.loads(kept["raw"])["amount_minor"] == 999
    assert stored(home) == stored(second) == as_stored(1)


@pytest.mark.parametrize("row", [b"null", b"[1]", b'"x"', b"17", b"{}", b'{"event_id": 1, "event_idd": 2}'])
def test_a_row_that_is_no_event_is_named_by_its_place(home: Home, row: bytes) -> None:
    reply = posted(home, [json_row(good(1)), row, json_row(good(2))])
    assert reply["accepted"] == 2
    assert [error["index"] for error in reply["errors"]] == [1]


def test_ten_megabytes_in_a_cell_cost_its_row_and_are_kept(home: Home, tmp_path: Path) -> None:
    size = 10_000_000
    lines = [csv_line(good(1)), csv_line(good(2), "category", b"x" * size), csv_line(good(3))]
    report = imported(home, tmp_path, lines)
    assert (report.stored, report.quarantined) == (2, 1)
    (kept,) = Quarantine(home.quarantine).read("shop").to_dicts()
    assert kept["value"] == "x" * 80 + f"… ({size} characters)"
    assert len(kept["raw"]) > size
