"""What WeCom shows after every diff was carried out, against the tags that are live."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.home import Home, open_home
from configs.wecom import WecomConfig, load_wecom
from features.identities import Space
from features.life_cycle import LIFE_MAX_US
from features.resolver import open_resolver
from features.tag_names import TagNames
from features.windows import from_us
from monitoring.tag_changes import TagChanges
from pipelines.erase import erase
from pipelines.link_changes import change_links
from serving.errors import InvalidRequest
from serving.live_tags import LiveTags
from serving.tagging import Tagging
from serving.wecom_diff import WecomDiff
from serving.wecom_removals import WecomRemovals
from tests.serving.parts import DAY_US, START_US, Holder, Parts, event
from tests.serving.test_api import ask, assert_error_form, get, post
from tests.serving.test_tagging import ListScorer, tag

AT = datetime(2024, 5, 1, tzinfo=UTC)
HOUR_US = DAY_US // 24
CONFIG = WecomConfig(staff={"default": "zhangsan"})


def external(text: str) -> str:
    return f"external_userid:{text}"


class Follower:
    """Carries out what it is told, as WeCom would, and counts calls."""

    def __init__(self, diff: WecomDiff, limit: int = 1000) -> None:
        self.diff, self.limit = diff, limit
        self.cursor: str | None = None
        self.shown: dict[tuple[str, str], set[str]] = {}
        self.calls: list[Any] = []
        self.skipped: list[Any] = []

    def follow(self, now_us: int) -> list[Any]:
        first = len(self.calls)
        has_more = True
        while has_more:
            page = self.diff.since(self.cursor, limit=self.limit, now_us=now_us)
            for body in page.bodies:
                assert body.add_tag or body.remove_tag
                mine = self.shown.setdefault((body.userid, body.external_userid), set())
                mine -= set(body.remove_tag)
                mine |= set(body.add_tag)
            self.calls += page.bodies
            self.skipped += page.skipped
            self.cursor, has_more = page.next_cursor, page.has_more
        return self.calls[first:]

    def carried(self) -> dict[tuple[str, str], set[str]]:
        return {contact: tags for contact, tags in self.shown.items() if tags}


class Shop(Parts):
    """A service whose customers are evaluated by hand."""

    def __init__(self, home: Home, config: WecomConfig = CONFIG) -> None:
        super().__init__(home)
        self.resolver = open_resolver(home, self.engine, self.settings)
        self.lists = ListScorer()
        self.tags = LiveTags(self.store)
        self.tagging = Tagging(self.tags, self.ledger, Holder(self.lists), renew_after_us=DAY_US)
        self.wecom = WecomDiff(
            TagChanges(self.engine),
            WecomRemovals(self.engine),
            self.resolver.identities,
            TagNames(),
            config,
        )
        self.follower = Follower(self.wecom)

    def evaluate(self, customer: str, now_us: int, *keys: str) -> None:
        self.lists.tags = [tag(key) for key in keys]
        self.tagging.evaluate([customer], now_us, origin="event")

    def link(self, one: str, other: str, *, undo: bool = False) -> None:
        def change(_: Any, links: Any) -> None:
            (links.unlink if undo else links.link)(one, other, why="", at=AT)

        change_links(self.home, self.settings, change)


@pytest.fixture
def shop(home: Home):
    made = Shop(home)
    yield made
    made.close()


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c"]),
        st.sets(st.sampled_from(["MILK", "TEA", "牛奶/x"])),
        st.integers(0, 40),
        st.booleans(),
    ),
    max_size=25,
)


@settings(max_examples=25, deadline=None)
@given(steps=STEPS, limit=st.integers(1, 3))
def test_whoever_carries_out_every_diff_shows_what_is_live(steps, limit, tmp_path_factory):
    shop = Shop(open_home(tmp_path_factory.mktemp("shop") / "home", create=True))
    try:
        shop.follower.limit = limit
        now_us = START_US
        for customer, keys, hours, is_asked in steps:
            shop.evaluate(external(customer), now_us, *sorted(keys))
            now_us += hours * HOUR_US
            if is_asked:
                shop.follower.follow(now_us)
        shop.follower.follow(now_us)
        live = shop.tags.live([external(one) for one in "abc"], now_us)
        expected = {
            ("zhangsan", customer.removeprefix("external_userid:")): {one.evidence.tag_id for one in records}
            for customer, records in live.items()
        }
        assert shop.follower.carried() == expected
        assert shop.follower.follow(now_us) == []
    finally:
        shop.close()


def test_the_net_of_coming_and_going_between_two_questions_is_nothing(shop):
    shop.follower.follow(START_US)
    shop.evaluate(external("a"), START_US + 1, "MILK")
    shop.evaluate(external("a"), START_US + 2)
    assert shop.follower.follow(START_US + 3) == []
    shop.evaluate(external("a"), START_US + 4, "MILK")
    (added,) = shop.follower.follow(START_US + 5)
    assert (added.add_tag, added.remove_tag) == (["interest:MILK"], [])
    shop.evaluate(external("a"), START_US + 6)
    shop.evaluate(external("a"), START_US + 7, "MILK", "TEA")
    (added,) = shop.follower.follow(START_US + 8)
    assert (added.add_tag, added.remove_tag) == (["interest:TEA"], [])


def test_an_expiry_is_told_to_the_microsecond_before_any_sweep_wrote_it_and_not_again_after(shop):
    shop.evaluate(external("a"), START_US, "MILK")
    shop.follower.follow(START_US)
    assert shop.follower.follow(START_US + LIFE_MAX_US - 1) == []
    (removed,) = shop.follower.follow(START_US + LIFE_MAX_US)
    assert (removed.add_tag, removed.remove_tag) == ([], ["interest:MILK"])
    shop.tagging.expire([external("a")], START_US + LIFE_MAX_US + 5)
    assert shop.follower.follow(START_US + LIFE_MAX_US + 9) == []


def test_a_suspended_tag_is_removed(shop):
    shop.evaluate(external("a"), START_US, "MILK")
    shop.follower.follow(START_US)
    shop.lists.tags = [tag("MILK", certified=False)]
    shop.tagging.evaluate([external("a")], START_US + 5, origin="sweep")
    assert [one.remove_tag for one in shop.follower.follow(START_US + 6)] == [["interest:MILK"]]


def test_without_a_cursor_everything_carried_now_is_added_and_nothing_older(shop):
    shop.evaluate(external("old"), START_US, "MILK")
    shop.evaluate(external("gone"), START_US + HOUR_US, "MILK")
    shop.evaluate(external("gone"), START_US + 2 * HOUR_US)
    now_us = START_US + LIFE_MAX_US
    shop.evaluate(external("a"), now_us, "TEA")
    shop.follower.follow(now_us)
    assert [(one.external_userid, one.add_tag) for one in shop.follower.calls] == [("a", ["interest:TEA"])]


def test_who_cannot_be_marked_is_listed_with_the_reason(home):
    shop = Shop(home, WecomConfig(staff={"by_customer": {"a": "lisi"}}))
    for customer in ("7", external("a"), external("b"), "wecom_contact:wang.wu/c"):
        shop.evaluate(customer, START_US, "MILK")
    shop.follower.follow(START_US)
    assert [(one.userid, one.external_userid) for one in shop.follower.calls] == [
        ("lisi", "a"),
        ("wang.wu", "c"),
    ]
    assert [(one.customer_id, one.reason) for one in shop.follower.skipped] == [
        ("7", "no_external_userid"),
        (external("b"), "no_staff"),
    ]
    shop.close()


def settle(shop):
    for name in ("external_userid", "wecom_contact"):
        shop.resolver.identities.settle(Space(name, f"{name}:", is_source=False))


def test_every_member_of_staff_who_knows_a_customer_is_told(shop):
    settle(shop)
    shop.link("7", "wecom_contact:lisi/w")
    shop.link("7", "wecom_contact:wangwu/w")
    shop.link("7", external("w"))
    shop.evaluate("7", START_US, "MILK")
    shop.follower.follow(START_US)
    assert [(one.userid, one.external_userid) for one in shop.follower.calls] == [
        ("lisi", "w"),
        ("wangwu", "w"),
    ]


def test_a_link_brings_the_tags_to_wecom_and_taking_it_back_removes_them(shop):
    settle(shop)
    shop.evaluate("7", START_US, "MILK", "TEA")
    shop.evaluate(external("w"), START_US, "BREAD")
    shop.follower.follow(START_US + 1)
    assert shop.follower.carried() == {("zhangsan", "w"): {"interest:BREAD"}}
    shop.link("7", external("w"))
    shop.follower.follow(START_US + 2)
    everything = {"interest:BREAD", "interest:MILK", "interest:TEA"}
    assert shop.follower.carried() == {("zhangsan", "w"): everything}
    shop.link("7", external("w"), undo=True)
    shop.follower.follow(START_US + 3)
    assert shop.follower.carried() == {("zhangsan", "w"): {"interest:BREAD"}}


def test_who_is_erased_loses_their_tags_at_wecom_once_and_is_forgotten_then(home):
    (home.root / "wecom.yaml").write_text("staff: {default: zhangsan}\n")
    shop = Shop(home, load_wecom(home.root))
    shop.evaluate(external("w"), START_US, "MILK", "TEA")
    shop.follower.follow(START_US + 1)
    erase(home, shop.settings, external("w"), now=from_us(START_US + 2))
    (removed,) = shop.follower.follow(START_US + 3)
    assert removed.remove_tag == ["interest:MILK", "interest:TEA"]
    assert shop.follower.carried() == {}
    assert shop.follower.follow(START_US + 4) == []
    assert WecomRemovals(shop.engine).after(0, 10) == []
    shop.close()


def test_more_tags_than_wecom_allows_are_capped_and_told(shop):
    keys = [f"K{number:04}" for number in range(3001)]
    shop.evaluate(external("a"), START_US, *keys)
    shop.follower.follow(START_US)
    (body,) = shop.follower.calls
    assert body.add_tag == [f"interest:{key}" for key in keys[:3000]]
    assert [one.reason for one in shop.follower.skipped] == ["too_many_tags"]


def test_only_the_families_asked_for_are_sent_under_the_ids_and_names_chosen(home):
    config = WecomConfig(
        staff={"default": "z"},
        families=("interest",),
        tag_ids={"interest:MILK": "etMILK"},
        groups={"interest": "兴趣"},
    )
    shop = Shop(home, config)
    shop.evaluate(external("a"), START_US, "MILK", "A VERY LONG CATEGORY OF MANY WORDS")
    page = shop.wecom.since(None, limit=9, now_us=START_US)
    (body,) = page.bodies
    known = {one.entry: one for one in page.tags}
    assert set(body.add_tag) == set(known)
    assert known["etMILK"].wecom_id == "etMILK"
    (other,) = set(known) - {"etMILK"}
    assert (known[other].name, known[other].group, known[other].wecom_id) == (other, "兴趣", None)
    assert len(other) <= 30
    shop.close()


def test_a_cursor_of_another_home_is_refused(shop, tmp_path):
    other = Shop(open_home(tmp_path / "other", create=True))
    other.evaluate(external("a"), START_US, "MILK")
    other.follower.follow(START_US)
    for cursor in (other.follower.cursor, "nonsense", ""):
        with pytest.raises(InvalidRequest):
            shop.wecom.since(cursor, limit=1, now_us=START_US)
    other.close()


def test_the_route_answers_with_bodies_and_a_cursor_to_go_on_from(home):
    parts = Parts(home)
    row = event(1, "external_userid:w")

    async def both(client):
        first = await client.post("/v1/wecom:diff", json={})
        body = {"cursor": first.json()["next_cursor"], "limit": 1}
        return first, await client.post("/v1/wecom:diff", json=body)

    _, (first, second) = ask(parts, post(row), both)
    assert first.status_code == 200
    # Nobody is named as the default member of staff here.
    assert first.json()["skipped"] == [{"customer_id": "external_userid:w", "reason": "no_staff"}]
    assert (first.json()["bodies"], first.json()["has_more"]) == ([], False)
    assert second.json()["skipped"] == []
    parts.close()


@pytest.mark.parametrize("body", [[], {"cursor": 7}, {"limit": 0}, {"limit": 1001}, {"more": 1}])
def test_a_question_of_another_shape_is_refused(home, body):
    parts = Parts(home)
    (reply,) = ask(parts, lambda client: client.post("/v1/wecom:diff", json=body))
    assert_error_form(reply, 422, "invalid_request")
    parts.close()


def test_the_route_stands_in_the_document(home):
    parts = Parts(home)
    (reply,) = ask(parts, get("/openapi.json"))
    assert "/v1/wecom:diff" in reply.json()["paths"]
    parts.close()
