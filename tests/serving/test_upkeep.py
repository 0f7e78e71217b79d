import threading
from dataclasses import replace
from datetime import timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.packed_store import CUSTOMER_PROFILE, PackedRow
from features.windows import from_us
from serving.live_tags import CUSTOMER_TAGS, KEPT_US, LiveTags
from serving.measures import Measures
from serving.scores import ScoredTag
from serving.tagging import Tagging
from serving.upkeep import Background, Upkeep, until_due
from tests.serving.parts import DAY_US, START_US, CategoryScorer, Parts, event, settings_of
from tests.serving.test_stream import write, writer_of

HOUR_US = DAY_US // 24


@pytest.fixture
def parts(home):
    made = Parts(home)
    yield made
    made.close()


def upkeep_of(parts, refresh=None, **settings):
    tags = LiveTags(parts.store)
    tagging = Tagging(tags, parts.ledger, parts.holder, renew_after_us=DAY_US)
    return Upkeep(
        settings_of(parts.home, **settings),
        parts.store,
        tags,
        tagging,
        Measures(),
        refresh or parts.refreshed.append,
        threading.RLock(),
    )


def test_profiles_are_refreshed_once_a_day_when_they_are_published(parts):
    upkeep = upkeep_of(parts)
    for hours in (0.5, 1, 2, 24.9, 25, 30):
        upkeep.run(START_US + int(hours * HOUR_US))
    assert parts.refreshed == [START_US - DAY_US, START_US, START_US + DAY_US]
    assert upkeep.boundary_us == START_US + DAY_US


def test_after_a_long_pause_only_the_latest_boundary_is_refreshed(parts):
    upkeep = upkeep_of(parts)
    upkeep.run(START_US + 2 * HOUR_US)
    upkeep.run(START_US + 10 * DAY_US + 2 * HOUR_US)
    assert parts.refreshed == [START_US, START_US + 10 * DAY_US]


def test_a_failed_refresh_keeps_the_old_profiles_says_so_and_is_tried_again(parts):
    tries = []

    def refresh(boundary_us):
        tries.append(boundary_us)
        if len(tries) == 1:
            raise OSError("no space")

    upkeep = upkeep_of(parts, refresh)
    upkeep.run(START_US + 2 * HOUR_US)
    assert "OSError" in upkeep.refresh_problem
    assert upkeep.boundary_us is None
    upkeep.run(START_US + 2 * HOUR_US + 1)
    assert len(tries) == 1
    upkeep.run(START_US + 3 * HOUR_US)
    assert (upkeep.refresh_problem, upkeep.boundary_us) == ("", START_US)


def test_the_sweep_renews_what_still_holds_and_writes_expiries_down(parts):
    write(writer_of(parts), [event(1)])
    upkeep = upkeep_of(parts)
    upkeep.run(START_US)
    upkeep.run(START_US + 25 * HOUR_US)
    assert parts.claims().sort("assigned_at_us")["kind"].to_list() == ["assigned", "renewed"]
    upkeep.run(START_US + 200 * HOUR_US)
    steps = parts.ledger.read_transitions().sort("at_us")
    assert steps["to_state"].to_list() == ["assigned", "renewed", "expired"]
    assert steps["at_us"].to_list()[-1] == START_US + (25 + 72) * HOUR_US


def test_a_sweep_clears_away_the_tags_that_hold_nothing_any_more(parts):
    upkeep = upkeep_of(parts)
    upkeep.run(START_US)
    ages = {
        "live": START_US,
        "barred": START_US - KEPT_US + HOUR_US + 1,
        "over": START_US - KEPT_US + HOUR_US,
    }
    parts.store.put_many(CUSTOMER_TAGS, [PackedRow(key, age, b"\x90") for key, age in ages.items()])
    upkeep.run(START_US + HOUR_US)
    assert upkeep.sweep_problem == ""
    assert sorted(parts.store.keys(CUSTOMER_TAGS)) == ["barred", "live"]


def test_tags_are_kept_until_a_sweep_has_written_their_expiry_down(parts):
    upkeep = upkeep_of(parts)
    upkeep.run(START_US)
    parts.store.put_many(CUSTOMER_TAGS, [PackedRow("damaged", START_US, b"\xc1")])
    upkeep.run(START_US + 30 * DAY_US)
    assert upkeep.sweep_problem != ""
    assert list(parts.store.keys(CUSTOMER_TAGS)) == ["damaged"]


class QuietScorer(CategoryScorer):
    """Also gives everybody a tag of a family that looks at quiet customers, while it says so."""

    def __init__(self, store):
        super().__init__(store)
        self.quiet_families = frozenset({"slipping_away"})
        self.slipping = True

    def _score(self, customer, now_us, with_tags, with_reasons):
        found = super()._score(customer, now_us, with_tags, with_reasons)
        tag = ScoredTag("slipping_away", "slipping_away", None, 0.9, 0.9, 0.8, 0.85, 1.4, True, True)
        return replace(found, tags=[*found.tags, *([tag] if self.slipping else [])])


def profiles(parts, boundary_us, *customers):
    parts.store.put_many(CUSTOMER_PROFILE, [PackedRow(name, boundary_us, b"") for name in customers])


def carried(parts, customer, now_us):
    live = LiveTags(parts.store).live([customer], now_us).get(customer, [])
    return {record.evidence.tag_id for record in live}


def test_quiet_customers_are_looked_at_once_by_each_days_profiles(parts):
    parts.holder.scorer = scorer = QuietScorer(parts.store)
    profiles(parts, START_US, "quiet", "another")
    upkeep = upkeep_of(parts)
    for hours in range(50):
        upkeep.run(START_US + hours * HOUR_US)
    assert (upkeep.sweep_problem, upkeep.refresh_problem) == ("", "")
    assert [(set(names), (at - START_US) // HOUR_US) for names, at in scorer.calls] == [
        ({"quiet", "another"}, hours) for hours in (1, 25, 49)
    ]
    steps = parts.ledger.read_transitions().filter(pl.col("customer_id") == "quiet").sort("at_us")
    assert steps["to_state"].to_list() == ["assigned", "renewed", "renewed"]
    scorer.slipping = False
    upkeep.run(START_US + 73 * HOUR_US)
    assert carried(parts, "quiet", START_US + 73 * HOUR_US) == set()
    assert parts.ledger.read_transitions().filter(pl.col("to_state") == "withdrawn").height == 2


def test_of_quiet_customers_only_the_families_that_look_at_them_move_on(parts):
    write(writer_of(parts), [event(1)])
    parts.holder.scorer = QuietScorer(parts.store)
    profiles(parts, START_US, "c1")
    upkeep = upkeep_of(parts)
    upkeep.run(START_US)
    upkeep.run(START_US + 71 * HOUR_US)
    both = {"interest:MILK", "slipping_away"}
    assert carried(parts, "c1", START_US + 71 * HOUR_US) == both
    # The memory is dead by now: the interest lives on to its end, and only then is it over.
    upkeep.run(START_US + 97 * HOUR_US)
    assert carried(parts, "c1", START_US + 97 * HOUR_US) == both
    upkeep.run(START_US + 145 * HOUR_US)
    assert carried(parts, "c1", START_US + 145 * HOUR_US) == {"slipping_away"}
    steps = parts.ledger.read_transitions().filter(pl.col("tag_id") == "interest:MILK").sort("at_us")
    assert steps["to_state"].to_list() == ["assigned", "renewed", "expired"]


def test_the_sweep_runs_on_its_rhythm(parts):
    write(writer_of(parts), [event(1)])
    parts.scorer.calls.clear()
    upkeep = upkeep_of(parts, sweep_every_hours=6)
    for hours in range(25):
        upkeep.run(START_US + hours * HOUR_US)
    assert [(at - START_US) // HOUR_US for _, at in parts.scorer.calls] == [6, 12, 18, 24]


def test_a_failed_sweep_says_so_and_the_next_one_mends_it(parts):
    write(writer_of(parts), [event(1)])
    upkeep = upkeep_of(parts)
    upkeep.run(START_US)
    parts.scorer.fails = True
    upkeep.run(START_US + HOUR_US)
    assert "RuntimeError" in upkeep.sweep_problem
    parts.scorer.fails = False
    upkeep.run(START_US + 2 * HOUR_US)
    assert upkeep.sweep_problem == ""


def test_one_customer_who_cannot_be_scored_does_not_cost_the_others_their_sweep(parts):
    write(writer_of(parts), [event(number, f"c{number:03}") for number in range(120)])
    upkeep = upkeep_of(parts)
    upkeep.run(START_US)
    scorer = parts.holder.scorer

    class Picky:
        versions = scorer.versions
        quiet_families = frozenset()

        def score_many(self, customers, now_us, **asked):
            if "c007" in customers:
                raise ValueError("damaged memory")
            return scorer.score_many(customers, now_us, **asked)

    parts.holder.scorer = Picky()
    upkeep.run(START_US + 25 * HOUR_US)
    assert "ValueError" in upkeep.sweep_problem
    assert parts.claims().height == 120 + 70


@given(
    st.integers(0, 400 * 24 * 60),
    st.sampled_from(["UTC", "Europe/London", "America/New_York", "Asia/Shanghai"]),
    st.integers(0, 1440),
)
def test_the_next_due_instant_is_the_first_at_which_the_boundary_moves(tmp_path_factory, minute, zone, lag):
    upkeep = ZoneOnly(zone, lag)
    now = START_US + minute * 60_000_000 + 7
    due = upkeep._next_publication_us(now)
    assert due > now
    assert upkeep._boundary_at(due) > upkeep._boundary_at(now) == upkeep._boundary_at(due - 1)
    local = from_us(due - lag * 60_000_000).astimezone(ZoneInfo(zone))
    assert (local.hour, local.minute, local.second) == (0, 0, 0)


class ZoneOnly(Upkeep):
    def __init__(self, zone, lag_minutes):
        self._zone, self._lag = ZoneInfo(zone), timedelta(minutes=lag_minutes)


def test_a_replay_refreshes_before_the_events_that_come_after_the_boundary(parts):
    upkeep = upkeep_of(parts, lambda boundary: seen.append((boundary, parts.log.last_seq())))
    seen = []
    writer = writer_of(parts)
    writer.before_rows = upkeep.run
    write(writer, [event(1, at=0)], [event(2, at=3599), event(3, at=3600), event(4, at=90_000)])
    assert seen == [(START_US - DAY_US, 0), (START_US, 2), (START_US + DAY_US, 3)]


def test_the_background_thread_outlives_a_failure_and_stops_when_told():
    ran = threading.Event()
    calls = []

    def run():
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("once")
        ran.set()
        return 60.0

    background = Background("test", run, pause_seconds=0.01)
    background.start()
    assert ran.wait(10)
    background.stop()
    assert not background._thread.is_alive()


def test_waiting_is_bounded_by_a_minute_and_by_what_is_due(parts):
    upkeep = upkeep_of(parts)
    parts.clock.seen(START_US + 59 * 60_000_000 + 30_000_000)
    assert until_due(upkeep, parts.clock) == 30.0
    parts.clock.seen(START_US + HOUR_US)
    assert until_due(upkeep, parts.clock) == 60.0
