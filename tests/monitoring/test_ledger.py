from __future__ import annotations

import dataclasses
import random
import tempfile
from collections.abc import Collection
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import polars as pl
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.claims import OUTCOMES
from monitoring.errors import LedgerError
from monitoring.ledger import CLAIM_WINDOW_US, READ_SCHEMA, Claim, Ledger, Measurement, Prediction, Transition
from tests.monitoring.shop import START_US, at_us, claim, filled_ledger, open_ledger

CLAIMS = st.builds(
    claim,
    st.sampled_from(["a", "b", "顾客"]),
    st.integers(0, 200),
    st.sampled_from(["MILK", "BREAD", 'A "quoted", name']),
    probability=st.floats(0, 1),
)


def test_a_claim_comes_back_as_it_was_recorded(tmp_path: Path) -> None:
    recorded = [claim("7", 1, "茶/红"), claim("7", 2, None, family="high_intent", lift=None, is_control=True)]
    rows = filled_ledger(tmp_path, recorded).read()
    assert rows.schema == pl.Schema(READ_SCHEMA)
    for row, expected in zip(rows.to_dicts(), recorded, strict=True):
        assert {name: row[name] for name in dataclasses.asdict(expected)} == dataclasses.asdict(expected)
        assert row["claim_id"] == expected.claim_id
        assert (row["outcome"], row["judged_at_us"]) == (None, None)


@settings(max_examples=25, deadline=None)
@given(claims=st.lists(CLAIMS, max_size=12), order=st.randoms(use_true_random=False))
def test_recording_again_in_any_order_changes_nothing(claims: list[Claim], order: random.Random) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ledger = filled_ledger(Path(folder), claims)
        once = ledger.read()
        again = list(claims)
        order.shuffle(again)
        ledger.record(again)
        ledger.record(again[::2])
        assert ledger.read().equals(once)
        first: dict[str, float] = {}
        for each in claims:
            first.setdefault(each.claim_id, each.probability)
        assert dict(once.select("claim_id", "probability").iter_rows()) == first


def test_more_claims_than_a_batch_are_all_stored(tmp_path: Path) -> None:
    claims = [dataclasses.replace(claim("7", 0), assigned_at_us=number) for number in range(12_001)]
    assert filled_ledger(tmp_path, claims).read().height == 12_001


def test_a_row_that_does_not_fit_leaves_nothing_behind(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    bad = dataclasses.replace(claim("secret-customer", 1), family=cast(str, None))
    with pytest.raises(LedgerError, match="NOT NULL") as caught:
        ledger.record([claim("7", 1), bad])
    assert "secret-customer" not in caught.value.message
    assert ledger.read().is_empty()


def test_a_window_is_closed_from_its_last_microsecond_on(tmp_path: Path) -> None:
    ledger = filled_ledger(tmp_path, [claim("7", 0)])
    assert ledger.open_claims(START_US + CLAIM_WINDOW_US - 1).is_empty()
    assert ledger.open_claims(START_US + CLAIM_WINDOW_US).height == 1


def test_a_judged_claim_is_no_longer_open_and_keeps_its_first_outcome(tmp_path: Path) -> None:
    ledger = filled_ledger(tmp_path, [claim("7", 0), claim("8", 0)])
    one = ledger.open_claims(at_us(100)).filter(pl.col("customer_id") == "7").select("claim_id")
    ledger.write_outcomes(one.with_columns(outcome=pl.lit("confirmed")), at_us(100))
    ledger.write_outcomes(one.with_columns(outcome=pl.lit("refuted")), at_us(101))
    assert ledger.open_claims(at_us(100))["customer_id"].to_list() == ["8"]
    judged = ledger.read().filter(pl.col("customer_id") == "7").to_dicts()[0]
    assert (judged["outcome"], judged["judged_at_us"]) == ("confirmed", at_us(100))


@pytest.mark.parametrize("outcome", ["maybe", None])
def test_an_outcome_that_is_none_is_refused(tmp_path: Path, outcome: str | None) -> None:
    ledger = filled_ledger(tmp_path, [claim("7", 0)])
    rows = ledger.read().select("claim_id", outcome=pl.lit(outcome, pl.String))
    with pytest.raises(LedgerError, match=", ".join(OUTCOMES)):
        ledger.write_outcomes(rows, 0)


def test_reading_takes_the_right_edge_and_leaves_the_left(tmp_path: Path) -> None:
    ledger = filled_ledger(tmp_path, [claim("7", hour) for hour in (0, 1, 2)])
    read = ledger.read(since_us=at_us(0), until_us=at_us(2))
    assert read["assigned_at_us"].to_list() == [at_us(1), at_us(2)]


def test_transitions_and_predictions_are_stored_once(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    steps = [Transition("7", "interest:MILK", 5, "absent", "assigned", "above its threshold")]
    served = [Prediction("7", "72h", 0.4, 5, "1"), Prediction("7", "7d", 0.6, 5, "1")]
    for _ in range(2):
        ledger.record([], steps)
        ledger.record_predictions(served)
    assert ledger.read_transitions().to_dicts() == [dataclasses.asdict(step) for step in steps]
    assert sorted(ledger.read_predictions(since_us=4, until_us=5)["probability"]) == [0.4, 0.6]
    assert ledger.read_predictions(since_us=5).is_empty()
    assert ledger.read_transitions(until_us=4).is_empty()


def test_a_measurement_is_replaced_and_the_newest_known_is_told(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    for value, when in ((1.0, 10), (2.0, 20), (3.0, 20)):
        ledger.record_measurement(Measurement("clv_bias", value, when, "a backtest"))
    assert ledger.latest_measurement("clv_bias", until_us=19) == Measurement(
        "clv_bias", 1.0, 10, "a backtest"
    )
    assert ledger.latest_measurement("clv_bias") == Measurement("clv_bias", 3.0, 20, "a backtest")
    assert ledger.latest_measurement("other") is None


def test_what_is_needed_first_is_an_open_claim_or_an_entry_of_the_span(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    assert ledger.first_needed_us(None) is None
    ledger.record([claim("7", 0), claim("7", 50)])
    ledger.record_predictions([Prediction("7", "72h", 0.4, at_us(20), "1")])
    assert ledger.first_needed_us(at_us(40)) == at_us(0)
    first = ledger.open_claims(at_us(72)).select("claim_id", outcome=pl.lit("refuted"))
    ledger.write_outcomes(first, at_us(72))
    assert ledger.first_needed_us(None) == at_us(0)
    assert ledger.first_needed_us(at_us(1)) == at_us(20)
    assert ledger.first_needed_us(at_us(30)) == at_us(50)


def test_forgetting_leaves_no_row_of_that_customer_and_every_row_of_others(tmp_path: Path) -> None:
    database = tmp_path / "ledger.db"
    ledger = filled_ledger(tmp_path, [claim(who, hour) for who in ("forget-me", "8") for hour in (0, 1)])
    judged = ledger.read().select("claim_id", outcome=pl.lit("confirmed"))
    ledger.write_outcomes(judged, at_us(100))
    ledger.record([], [Transition(who, "t", 1, "absent", "assigned", "") for who in ("forget-me", "8")])
    ledger.record_predictions([Prediction(who, "72h", 0.4, 1, "1") for who in ("forget-me", "8")])
    assert ledger.forget("forget-me") == 2 + 2 + 1 + 1
    assert ledger.forget("forget-me") == 0
    engine = sa.create_engine(f"sqlite:///{database}")
    with engine.connect() as connection:
        for table in ("claims", "transitions", "predictions"):
            people = connection.execute(sa.text(f"SELECT DISTINCT customer_id FROM {table}")).scalars().all()
            assert people == ["8"], table
        assert connection.execute(sa.text("SELECT count(*) FROM outcomes")).scalar() == 2
    engine.dispose()


class Merged:
    """Says that customer 8 is customer 7."""

    def resolve(self, events: pl.DataFrame) -> pl.DataFrame:
        return events.with_columns(pl.col("customer_id").replace("8", "7"))

    def spellings(self, customers: Collection[str]) -> list[str]:
        return list(customers)


def test_what_was_written_of_a_merged_customer_is_read_as_the_survivors(tmp_path: Path) -> None:
    written = filled_ledger(tmp_path, [claim("7", 0), claim("8", 1)])
    written.record([], [Transition("8", "t", 1, "absent", "assigned", "")])
    written.record_predictions([Prediction("8", "72h", 0.4, 1, "1")])
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'ledger.db'}")
    merged = Ledger(engine, Merged())
    assert merged.open_claims(at_us(1_000))["customer_id"].to_list() == ["7", "7"]
    assert merged.read()["claim_id"].equals(written.read()["claim_id"])
    for frame in (merged.read(), merged.read_transitions(), merged.read_predictions()):
        assert set(frame["customer_id"]) == {"7"}
    assert written.read()["customer_id"].to_list() == ["7", "8"]
    engine.dispose()


def test_two_ledgers_on_one_file_see_each_other(tmp_path: Path) -> None:
    one, other = open_ledger(tmp_path), open_ledger(tmp_path)
    one.record([claim("7", 0)])
    other.record([claim("7", 0), claim("8", 0)])
    assert one.read().equals(other.read())
    assert one.read().height == 2


def test_another_kind_of_database_is_named() -> None:
    engine = SimpleNamespace(dialect=SimpleNamespace(name="oracle"))
    with pytest.raises(LedgerError, match="'oracle'; expected one of sqlite, postgresql"):
        Ledger(cast(sa.Engine, engine))


def test_a_database_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="unable to open database file"):
        Ledger(sa.create_engine(f"sqlite:///{tmp_path / 'missing' / 'ledger.db'}"))
