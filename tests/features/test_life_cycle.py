from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from features.life_cycle import LIFE_MAX_US, LIVE_STATES, Evidence, Step, TagRecord, advance, erase

HOUR = 3600 * 1_000_000
DAY = 24 * HOUR
LEGAL = {
    "absent": {"assigned"},
    "assigned": {"renewed", "expired", "withdrawn", "suspended", "erased"},
    "renewed": {"renewed", "expired", "withdrawn", "suspended", "erased"},
    "withdrawn": {"assigned", "renewed"},
    "suspended": {"assigned", "renewed"},
    "expired": set(),
}


def evidence(
    tag: str = "interest:MILK", *, above: bool = True, certified: bool = True, life: int = LIFE_MAX_US
) -> Evidence:
    return Evidence(tag, "interest", "MILK", 0.6, 0.9, 0.8, 0.82, 3.0, "v1", certified, above, "", life)


def step(step_before: Step | None, now: int, *found: Evidence, none: bool = False) -> Step:
    records = step_before.records if step_before else {}
    return advance(records, None if none else found, now, renew_after_us=DAY)


def test_a_certified_tag_above_its_threshold_is_assigned_and_claimed() -> None:
    first = step(None, 0, evidence())
    assert [(c.from_state, c.to_state) for c in first.changes] == [("absent", "assigned")]
    assert [c.expires_at_us for c in first.claims] == [72 * HOUR]


def test_a_tag_is_live_at_its_assignment_and_dead_at_its_expiry() -> None:
    record = step(None, 5, evidence()).records["interest:MILK"]
    assert not record.is_live(4)
    assert record.is_live(5)
    assert record.is_live(5 + 72 * HOUR - 1)
    assert not record.is_live(5 + 72 * HOUR)


def test_nothing_is_claimed_without_certificate_or_below_the_threshold() -> None:
    for found in (evidence(above=False), evidence(certified=False)):
        assert step(None, 0, found) == Step({}, (), ())


def test_a_live_tag_is_renewed_once_a_day_and_its_expiry_moves() -> None:
    first = step(None, 0, evidence())
    early = step(first, DAY - 1, evidence())
    assert early.claims == ()
    assert early.records == first.records
    due = step(early, DAY, evidence())
    assert [c.to_state for c in due.changes] == ["renewed"]
    assert due.records["interest:MILK"].expires_at_us == DAY + 72 * HOUR
    assert due.records["interest:MILK"].assigned_at_us == 0


def test_a_withdrawn_tag_resumes_its_claim_within_the_day_without_a_second_one() -> None:
    gone = step(step(None, 0, evidence()), HOUR, evidence(above=False))
    assert gone.changes[0].to_state == "withdrawn"
    back = step(gone, 2 * HOUR, evidence())
    assert back.claims == ()
    assert back.records["interest:MILK"].expires_at_us == 72 * HOUR
    assert back.records["interest:MILK"].is_live(2 * HOUR)


def test_a_tag_that_is_no_longer_a_candidate_is_withdrawn_but_only_if_something_was_scored() -> None:
    first = step(None, 0, evidence())
    assert step(first, HOUR).changes[0].reason == "no longer a candidate"
    assert step(first, HOUR, none=True).changes == ()


def test_an_expired_tag_is_written_at_the_instant_of_its_expiry() -> None:
    late = step(step(None, 0, evidence()), 100 * HOUR, none=True)
    assert [(c.at_us, c.to_state) for c in late.changes] == [(72 * HOUR, "expired")]
    assert late.records == {}


def test_a_broken_contract_suspends() -> None:
    assert step(step(None, 0, evidence()), HOUR, evidence(certified=False)).changes[0].to_state == "suspended"


def test_erasure_ends_live_tags_only() -> None:
    first = step(None, 0, evidence("a"), evidence("b"))
    gone = step(first, HOUR, evidence("a"))
    assert [(c.tag_id, c.to_state) for c in erase(gone.records, HOUR)] == [("a", "erased")]


@dataclass
class OneTag:
    """The rules of one tag written a second time, as a plain story."""

    assigned: int | None = None
    claims: list[int] = field(default_factory=list)
    expires: int = 0
    live: bool = False

    def see(self, now: int, found: Evidence | None) -> None:
        if self.live and now >= self.expires:
            self.live, self.expires = False, -1
        holds = found is not None and found.is_above and found.is_certified
        may_claim = not self.claims or now - self.claims[-1] >= DAY
        if not holds:
            self.live = False
        elif may_claim:
            assert found is not None
            self.claims.append(now)
            self.live, self.expires = True, now + found.life_us
        elif now < self.expires:
            self.live = True


Story = list[tuple[int, dict[str, tuple[bool, bool, int]]]]
moments = st.lists(
    st.tuples(
        st.integers(0, 40 * HOUR),
        st.dictionaries(
            st.sampled_from(["a", "b", "c"]),
            st.tuples(st.booleans(), st.booleans(), st.sampled_from([6 * HOUR, 30 * HOUR, 72 * HOUR])),
        ),
    ),
    max_size=25,
)


@settings(deadline=None)
@given(moments)
def test_any_story_keeps_the_rules_and_agrees_with_the_plain_telling(story: Story) -> None:
    told = {tag: OneTag() for tag in "abc"}
    records: dict[str, TagRecord] = {}
    claims: dict[str, list[int]] = {tag: [] for tag in "abc"}
    states = dict.fromkeys("abc", "absent")
    now = 0
    for wait, seen in story:
        now += wait
        found = [evidence(tag, above=up, certified=ok, life=life) for tag, (up, ok, life) in seen.items()]
        outcome = advance(records, found, now, renew_after_us=DAY)
        assert outcome == advance(records, reversed(found), now, renew_after_us=DAY)
        again = advance(outcome.records, found, now, renew_after_us=DAY)
        assert (again.changes, again.claims, again.records) == ((), (), outcome.records)
        for change in outcome.changes:
            was = states[change.tag_id]
            assert change.from_state == was or (change.from_state == "absent" and was not in LIVE_STATES)
            assert change.to_state in LEGAL[change.from_state]
            states[change.tag_id] = change.to_state
        for claim in outcome.claims:
            claims[claim.evidence.tag_id].append(now)
            assert claim.expires_at_us <= now + LIFE_MAX_US
        records = outcome.records
        for tag in "abc":
            told[tag].see(now, next((one for one in found if one.tag_id == tag), None))
            record = records.get(tag)
            assert (record is not None and record.is_live(now)) == told[tag].live
            assert claims[tag] == told[tag].claims
