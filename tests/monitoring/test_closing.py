from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from monitoring.closing import close_windows
from tests.monitoring.shop import (
    FAMILIES,
    at_us,
    claim,
    event,
    events_of,
    filled_ledger,
    random_claims,
    random_events,
    slow_outcome,
)

NO_WAIT = timedelta(0)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_claim_is_judged_as_if_by_hand(tmp_path: Path, seed: int) -> None:
    events, claims = random_events(seed), random_claims(seed)
    ledger = filled_ledger(tmp_path, claims)
    closed = close_windows(ledger, events, FAMILIES, at_us(400), NO_WAIT)
    rows = ledger.read()
    for row in rows.iter_rows(named=True):
        family = FAMILIES[row["family"]]
        expected = slow_outcome(events, row["customer_id"], row["key"], row["assigned_at_us"], family)
        assert row["outcome"] == expected
    assert closed.judged == rows.height
    assert closed.confirmed == (rows["outcome"] == "confirmed").sum()
    assert closed.unobserved == (rows["outcome"] == "unobserved").sum()


def test_closing_twice_judges_nothing_more(tmp_path: Path) -> None:
    ledger = filled_ledger(tmp_path, random_claims(1))
    close_windows(ledger, random_events(1), FAMILIES, at_us(130), NO_WAIT)
    once = ledger.read()
    assert close_windows(ledger, random_events(2), FAMILIES, at_us(130), NO_WAIT).judged == 0
    assert ledger.read().equals(once)


def test_late_events_are_waited_for(tmp_path: Path) -> None:
    ledger = filled_ledger(tmp_path, [claim("7", 0)])
    events = events_of([event("7", 50)])
    waiting = timedelta(hours=6)
    assert close_windows(ledger, events, FAMILIES, at_us(78) - 1, waiting).judged == 0
    assert close_windows(ledger, events, FAMILIES, at_us(78), waiting).confirmed == 1


def test_a_family_the_catalogue_dropped_stays_open_and_is_counted(tmp_path: Path) -> None:
    ledger = filled_ledger(tmp_path, [claim("7", 0), claim("7", 0, family="dropped")])
    closed = close_windows(ledger, events_of([]), FAMILIES, at_us(100), NO_WAIT)
    assert (closed.judged, closed.unobserved, closed.left_open) == (1, 1, 1)
    assert ledger.open_claims(at_us(100))["family"].to_list() == ["dropped"]


def test_controls_are_judged_like_claims(tmp_path: Path) -> None:
    ledger = filled_ledger(tmp_path, [claim("7", 0, is_control=True)])
    close_windows(ledger, events_of([event("7", 1)]), FAMILIES, at_us(100), NO_WAIT)
    assert ledger.read().select("is_control", "outcome").rows() == [(True, "confirmed")]
    assert ledger.read().filter(pl.col("outcome").is_null()).is_empty()
