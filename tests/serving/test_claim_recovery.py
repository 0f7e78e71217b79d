"""A process that dies between the ledger and the store, wherever that happens, loses and doubles nothing."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from configs.home import open_home
from features.errors import FeatureStoreError
from serving.live_tags import LiveTags
from serving.tagging import Tagging
from tests.serving.parts import DAY_US, START_US, Holder, Parts
from tests.serving.test_tagging import ListScorer, tag

HOUR_US = DAY_US // 24


class Crash(BaseException):
    pass


class MortalTags(LiveTags):
    """Dies at the write it is told to die at."""

    dies_at = -1

    def write(self, changed, now_us, mark, before=None):
        self.dies_at -= 1
        if self.dies_at == -1:
            raise Crash
        super().write(changed, now_us, mark, before)


class Life:
    """One customer's tags over a series of evaluations, with or without deaths."""

    def __init__(self, home):
        self.parts = Parts(home)
        self.scorer = ListScorer()
        self.tags = MortalTags(self.parts.store)
        self.start()

    def start(self):
        self.tagging = Tagging(self.tags, self.parts.ledger, Holder(self.scorer), renew_after_us=DAY_US)

    def evaluate(self, hour, above, *, dies=False):
        self.scorer.tags = [tag(key, above=is_above) for key, is_above in above.items()]
        now_us = START_US + hour * HOUR_US
        self.tags.dies_at = 0 if dies else -1
        if dies:
            with pytest.raises(Crash):
                self.tagging.evaluate(["c1"], now_us, origin="event")
            self.tags.dies_at = -1
            self.start()
            self.tagging.recover(now_us)
        # At the next start, or at the next event, the customer is evaluated again, a little later.
        self.tagging.evaluate(["c1"], now_us + 1 if dies else now_us, origin="event")

    def close(self):
        self.parts.close()


def told(life):
    """What the ledger holds, to the hour."""
    claims = life.parts.claims().sort("assigned_at_us", "tag_id")
    steps = life.parts.ledger.read_transitions().sort("at_us", "tag_id", "to_state")
    return (
        [(r["tag_id"], r["assigned_at_us"] // HOUR_US, r["kind"]) for r in claims.iter_rows(named=True)],
        [(r["tag_id"], r["at_us"] // HOUR_US, r["to_state"]) for r in steps.iter_rows(named=True)],
    )


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(
            st.integers(1, 30),
            st.fixed_dictionaries({}, optional={"MILK": st.booleans(), "TEA": st.booleans()}),
            st.booleans(),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_the_ledger_tells_the_same_with_deaths_as_without(tmp_path_factory, steps):
    mortal, immortal = (
        Life(open_home(tmp_path_factory.mktemp("life") / "home", create=True)) for _ in range(2)
    )
    hour = 0
    for gap, above, dies in steps:
        hour += gap
        before = immortal.parts.ledger.read_transitions().height
        immortal.evaluate(hour, above)
        # It can die between ledger and store only where it writes to the ledger.
        mortal.evaluate(hour, above, dies=dies and immortal.parts.ledger.read_transitions().height > before)
    assert told(mortal) == told(immortal)
    now_us = START_US + (hour + 1) * HOUR_US
    assert [one.evidence.tag_id for one in mortal.tags.live(["c1"], now_us).get("c1", [])] == [
        one.evidence.tag_id for one in immortal.tags.live(["c1"], now_us).get("c1", [])
    ]
    mortal.close()
    immortal.close()


def test_customers_evaluated_in_one_go_but_stored_in_two_are_both_recovered(home):
    life = Life(home)
    life.scorer.tags = [tag("MILK")]
    life.tagging.evaluate(["c1"], START_US, origin="sweep")
    life.tags.dies_at = 0
    with pytest.raises(Crash):
        life.tagging.evaluate(["c2"], START_US, origin="sweep")
    life.tags.dies_at = -1
    life.start()
    assert life.tagging.recover(START_US + HOUR_US) == 1
    assert sorted(life.tags.live(["c1", "c2"], START_US + HOUR_US)) == ["c1", "c2"]
    assert life.tagging.recover(START_US + HOUR_US) == 0
    life.close()


def test_controls_are_not_taken_for_tags(home):
    life = Life(home)
    life.scorer.tags = [tag(f"K{number}", above=False) for number in range(3000)]
    life.tags.dies_at = 0
    with pytest.raises(Crash):
        life.tagging.evaluate(["c1"], START_US, origin="event")
    life.tags.dies_at = -1
    assert life.parts.ledger.read().height > 0
    assert life.tagging.recover(START_US) == 0
    life.close()


class Unreachable(LiveTags):
    """Cannot be written to while it is out of reach."""

    is_out = False

    def write(self, changed, now_us, mark, before=None):
        if self.is_out:
            raise FeatureStoreError("no answer")
        super().write(changed, now_us, mark, before)


def test_where_the_store_did_not_answer_the_next_evaluation_claims_nothing_twice_without_a_restart(home):
    parts = Parts(home)
    scorer, tags = ListScorer(), Unreachable(parts.store)
    tagging = Tagging(tags, parts.ledger, Holder(scorer), renew_after_us=DAY_US)
    scorer.tags = [tag("MILK")]
    tags.is_out = True
    with pytest.raises(FeatureStoreError):
        tagging.evaluate(["c1"], START_US, origin="event")
    with pytest.raises(FeatureStoreError):
        tagging.evaluate(["c2"], START_US + 1, origin="event")
    tags.is_out = False
    for seconds in range(2, 5):
        tagging.evaluate(["c1", "c2"], START_US + seconds * 1_000_000, origin="event")
    assert sorted(parts.claims()["customer_id"]) == ["c1", "c2"]
    assert parts.ledger.read_transitions().height == 2
    assert set(tags.live(["c1", "c2"], START_US + 5_000_000)) == {"c1", "c2"}
    parts.close()
