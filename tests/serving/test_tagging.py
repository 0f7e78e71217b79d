import pytest

from features.life_cycle import LIFE_MAX_US
from monitoring.claims import claim_id
from serving.live_tags import CUSTOMER_TAGS, LiveTags
from serving.scores import CustomerScores, ScoredTag
from serving.tagging import CONTROL_SHARE, Tagging, is_control
from tests.serving.parts import DAY_US, START_US, Holder, Parts


class ListScorer:
    """Answers with a list that a test may change."""

    def __init__(self):
        self.versions = {"tags-interest": "7"}
        self.tags = []
        self.quiet_families = frozenset()

    def score_many(self, customers, now_us, *, with_tags, with_reasons):
        return {
            one: CustomerScores({}, None, "new", list(self.tags), "ok", self.versions, "inputs-1")
            for one in customers
        }


def tag(key, *, above=True, certified=True):
    return ScoredTag(f"interest:{key}", "interest", key, 0.5, 0.85, 0.8, 0.83, 3.0, certified, above)


@pytest.fixture
def parts(home):
    made = Parts(home)
    made.scorer = ListScorer()
    made.holder = Holder(made.scorer)
    made.tags = LiveTags(made.store)
    made.tagging = Tagging(made.tags, made.ledger, made.holder, renew_after_us=DAY_US)
    yield made
    made.close()


def live(parts, now_us):
    return [record.evidence.key for record in parts.tags.live(["c1"], now_us).get("c1", [])]


def test_a_claim_is_written_as_it_was_made(parts):
    parts.scorer.tags = [tag("MILK")]
    assert parts.tagging.evaluate(["c1"], START_US, origin="event") == 1
    row = parts.claims().row(0, named=True)
    assert row["claim_id"] == claim_id("c1", "interest:MILK", START_US)
    assert (row["model_version"], row["features_hash"], row["origin"]) == ("7", "inputs-1", "event")
    assert row["expires_at_us"] == START_US + LIFE_MAX_US
    assert (row["probability"], row["probability_if_observed"], row["threshold"]) == (0.5, 0.85, 0.8)


def test_evaluating_again_at_the_same_instant_changes_nothing(parts):
    parts.scorer.tags = [tag("MILK"), tag("BREAD")]
    for _ in range(3):
        parts.tagging.evaluate(["c1"], START_US, origin="event")
    assert parts.claims().height == 2
    assert parts.ledger.read_transitions().height == 2


def test_a_tag_falls_and_returns_within_the_day_on_one_claim(parts):
    for hour, above, expected in ((0, True, ["MILK"]), (1, False, []), (2, True, ["MILK"])):
        parts.scorer.tags = [tag("MILK", above=above)]
        now = START_US + hour * DAY_US // 24
        parts.tagging.evaluate(["c1"], now, origin="sweep")
        assert live(parts, now) == expected
    assert parts.claims().height == 1
    assert parts.ledger.read_transitions().sort("at_us")["to_state"].to_list() == [
        "assigned",
        "withdrawn",
        "assigned",
    ]


def test_live_is_the_half_open_span_of_the_claim(parts):
    parts.scorer.tags = [tag("MILK")]
    parts.tagging.evaluate(["c1"], START_US, origin="event")
    assert live(parts, START_US - 1) == []
    assert live(parts, START_US) == ["MILK"]
    assert live(parts, START_US + LIFE_MAX_US - 1) == ["MILK"]
    assert live(parts, START_US + LIFE_MAX_US) == []


def test_an_event_that_arrived_while_a_sweep_ran_does_not_undo_it(parts):
    parts.scorer.tags = [tag("MILK")]
    parts.tagging.evaluate(["c1"], START_US + 100, origin="sweep")
    parts.scorer.tags = []
    parts.tagging.evaluate(["c1"], START_US + 50, origin="event")
    assert live(parts, START_US + 100) == []


def test_a_mark_is_written_even_where_no_tag_changed_and_no_model_is_there(parts):
    parts.tagging.evaluate(["c1"], START_US, origin="event", mark=("m", 5))
    assert parts.store.mark("m") == 5
    parts.holder.scorer = None
    parts.tagging.evaluate(["c1"], START_US, origin="event", mark=("m", 6))
    assert parts.store.mark("m") == 6
    assert parts.store.count(CUSTOMER_TAGS) == 0


def test_controls_are_the_share_promised_and_never_pairs_that_carry_the_tag(parts):
    parts.scorer.tags = [tag("MILK"), *(tag(f"K{number}", above=False) for number in range(20))]
    customers = [f"c{number}" for number in range(600)]
    parts.tagging.evaluate(customers, START_US, origin="sweep")
    parts.tagging.evaluate(customers, START_US, origin="sweep")
    rows = parts.ledger.read()
    controls = rows.filter(rows["is_control"])
    expected = 600 * 20 * CONTROL_SHARE
    assert expected / 2 < controls.height < expected * 2
    assert "interest:MILK" not in controls["tag_id"].to_list()
    assert rows.filter(~rows["is_control"]).height == 600


def test_the_choice_of_controls_depends_on_customer_tag_and_instant():
    drawn = [is_control(f"c{n}", "interest:MILK", START_US + n) for n in range(50_000)]
    assert 0.5 < sum(drawn) / (50_000 * CONTROL_SHARE) < 1.5
