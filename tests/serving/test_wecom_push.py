"""Changes are carried to a platform that limits and fails as WeCom does, over real HTTP."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

import pytest

from serving.wecom import ContactRefused, Pauses, Wecom, WecomError
from serving.wecom_budget import Allowance, Budget
from serving.wecom_push import Push
from serving.wecom_schemas import MarkTag, Skipped, WecomDiffReply, WecomTag
from serving.wecom_state import CURSOR_FILE, FOLDER, WecomState
from tests.serving.wecom_server import CORP_ID, SECRET, wecom_server

AT = datetime(2024, 5, 1, tzinfo=UTC)
SHORT = Pauses(first_seconds=0.01, most_seconds=0.05, tries=60)


@pytest.fixture
def platform():
    with wecom_server() as served:
        yield served


def tag(number):
    return WecomTag(f"tag {number}", f"interest:{number}", f"tag {number}", "Tagtide", None)


def page(number, contacts, *, added=(0,), removed=(), has_more=False, skipped=()):
    bodies = [
        MarkTag("lisi", one, [tag(n).entry for n in added], [tag(n).entry for n in removed])
        for one in contacts
    ]
    tags = [tag(n) for n in {*added, *removed}]
    return WecomDiffReply(AT, {}, "r", bodies, tags, list(skipped), f"cursor-{number}", has_more)


class Pages:
    """A service with so many pages of changes."""

    def __init__(self, *pages):
        self.pages, self.asked = pages, []

    async def ask(self, cursor):
        self.asked.append(cursor)
        number = 0 if cursor is None else int(cursor.partition("-")[2]) + 1
        if number < len(self.pages):
            return self.pages[number]
        return page(number - 1, [])


def push(home, platform, pages, *, cursor=None, secret=SECRET, budget=None, is_dry_run=False, pauses=SHORT):
    async def run():
        state = WecomState(home)
        async with Wecom(CORP_ID, secret, platform[1], budget=budget, pauses=pauses) as wecom:
            pushing = Push(pages.ask, None if is_dry_run else wecom, state)
            try:
                await pushing.all_there_is(state.cursor() if cursor is None else cursor)
            finally:
                pushing.traffic = wecom.traffic
            return pushing

    return asyncio.run(run())


def contacts(count):
    return [f"wo{number}" for number in range(count)]


def test_tags_are_made_put_on_and_taken_off_and_the_cursor_is_kept(home, platform):
    wecom, _ = platform
    pages = Pages(
        page(0, contacts(30), added=(0, 1), has_more=True),
        page(1, contacts(10), added=(), removed=(1, 7), skipped=[Skipped("7", "no_staff")]),
    )
    report = push(home, platform, pages).report
    assert pages.asked == [None, "cursor-0"]
    assert wecom.shown["lisi", "wo0"] == {"tag 0"}
    assert wecom.shown["lisi", "wo29"] == {"tag 0", "tag 1"}
    assert (report.marked, report.added, report.removed, report.tags_made) == (40, 60, 10, 2)
    assert report.skipped == {"no_staff": 1}
    state = WecomState(home)
    assert state.cursor() == "cursor-1"
    assert state.tag_ids() == {"interest:0": "et0000", "interest:1": "et0001"}
    push(home, platform, pages)
    assert pages.asked[-1] == "cursor-1"


def test_never_are_more_calls_made_at_once_than_the_platform_allows(home, platform):
    wecom, _ = platform
    wecom.delay_seconds = 0.01
    push(home, platform, Pages(page(0, contacts(60))))
    assert 2 <= wecom.most_at_once <= 5
    assert wecom.refused == {}


def test_refusals_for_too_many_calls_are_waited_out_and_nothing_is_lost(home, platform):
    wecom, _ = platform
    wecom.at_once_most, wecom.delay_seconds = 2, 0.005
    wecom.per_window, wecom.window_seconds = 10, 0.5
    done = push(home, platform, Pages(page(0, contacts(35))))
    assert {contact: tags for contact, tags in wecom.shown.items() if tags == {"tag 0"}} == wecom.shown
    assert len(wecom.shown) == 35
    assert set(done.traffic.busy) == {"45033", "45009"}
    assert wecom.refused[45009] > 0


def test_a_budget_keeps_the_calls_within_what_the_platform_allows(home, platform):
    wecom, _ = platform
    wecom.per_window, wecom.window_seconds = 20, 0.2
    push(home, platform, Pages(page(0, contacts(45))), budget=Budget([Allowance(20, 1.0)]))
    assert len(wecom.shown) == 45
    assert 45009 not in wecom.refused


def test_an_access_token_that_is_over_or_wrong_is_renewed_once_for_all(home, platform):
    wecom, _ = platform
    wecom.token_calls = 20
    push(home, platform, Pages(page(0, contacts(90))))
    assert len(wecom.shown) == 90
    assert wecom.refused.keys() <= {42001, 40014}
    assert wecom.calls["gettoken"] <= 7


def test_contacts_that_may_not_be_marked_are_counted_and_the_others_go_on(home, platform):
    wecom, _ = platform
    wecom.friends = {("lisi", one) for one in contacts(10)[3:]}
    report = push(home, platform, Pages(page(0, contacts(10)))).report
    assert (report.marked, report.refused) == (7, {"84061": 3})
    assert WecomState(home).cursor() == "cursor-0"


def test_a_refusal_that_concerns_all_stops_before_the_cursor_and_the_next_push_goes_on(home, platform):
    wecom, _ = platform
    pages = Pages(page(0, contacts(5), has_more=True), page(1, contacts(9), added=(1,)))
    wecom.faults["mark_tag"] = [0] * 7 + [48002]
    with pytest.raises(WecomError, match="48002"):
        push(home, platform, pages)
    assert WecomState(home).cursor() == "cursor-0"
    push(home, platform, pages)
    assert WecomState(home).cursor() == "cursor-1"
    assert all("tag 1" in wecom.shown["lisi", one] for one in contacts(9))


def test_a_wrong_secret_is_told_without_showing_it(home, platform):
    with pytest.raises(WecomError, match="40001") as refused:
        push(home, platform, Pages(page(0, contacts(1))), secret="wrong-secret")
    assert "wrong-secret" not in f"{refused.value} {refused.value.next_step}"
    assert "TAGTIDE_WECOM_SECRET" in refused.value.next_step
    assert WecomState(home).cursor() is None


def test_tags_that_are_there_already_are_found_and_not_made(home, platform):
    wecom, _ = platform
    wecom.tags = {("Tagtide", "tag 0"): "et9", ("Other", "tag 1"): "et8"}
    push(home, platform, Pages(page(0, contacts(1), added=(0, 1))))
    assert WecomState(home).tag_ids() == {"interest:0": "et9", "interest:1": "et0002"}


def test_a_tag_made_by_somebody_else_meanwhile_is_no_error_and_one_never_made_is(home, platform):
    wecom, _ = platform
    wecom.faults["add_corp_tag"] = [40071]
    with pytest.raises(WecomError, match="'tag 0'"):
        push(home, platform, Pages(page(0, contacts(1))))
    assert WecomState(home).cursor() is None
    push(home, platform, Pages(page(0, contacts(1))))
    assert wecom.shown == {("lisi", "wo0"): {"tag 0"}}


def test_the_bodies_of_one_contact_are_sent_in_their_order(home, platform):
    wecom, _ = platform
    wecom.delay_seconds = 0.003
    both = page(0, contacts(1) * 20, added=(0,))
    turns = [
        MarkTag("lisi", "wo0", ["tag 0"], []) if number % 2 else MarkTag("lisi", "wo0", [], ["tag 0"])
        for number in range(21)
    ]
    mixed = WecomDiffReply(AT, {}, "r", turns, both.tags, [], "cursor-0", has_more=False)
    push(home, platform, Pages(mixed))
    assert wecom.shown["lisi", "wo0"] == set()
    assert [bool(one["add_tag"]) for one in wecom.bodies] == [bool(one.add_tag) for one in turns]


def test_a_dry_run_asks_the_platform_nothing_and_notes_nothing(home, platform):
    wecom, _ = platform
    pages = Pages(page(0, contacts(5), has_more=True), page(1, contacts(3)))
    report = push(home, platform, pages, is_dry_run=True).report
    assert (report.marked, report.tags_made, wecom.calls) == (8, 1, {})
    assert not (home.root / FOLDER / CURSOR_FILE).exists()


def test_a_platform_that_is_not_there_or_busy_for_too_long_is_given_up(home, platform):
    wecom, _ = platform
    wecom.faults["mark_tag"] = [-1] * 99
    with pytest.raises(WecomError, match="busy at 3 tries"):
        push(home, platform, Pages(page(0, contacts(1))), pauses=Pauses(0.001, 0.001, tries=3))
    nowhere = (None, "http://127.0.0.1:9/cgi-bin")
    with pytest.raises(WecomError, match="no access token"):
        push(home, nowhere, Pages(page(0, contacts(1))), pauses=Pauses(0.001, 0.001, tries=3))


def test_one_contact_that_is_refused_is_an_exception_of_its_own(platform):
    async def run():
        async with Wecom(CORP_ID, SECRET, platform[1], pauses=SHORT) as wecom:
            await wecom.mark(MarkTag("lisi", "wo", ["et404"], []))

    with pytest.raises(ContactRefused) as refused:
        asyncio.run(run())
    assert refused.value.code == 40068


class Time:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_a_budget_never_lets_more_calls_into_any_span():
    clock = Time()
    allowances = [Allowance(3, 10.0), Allowance(5, 60.0)]
    budget = Budget(allowances, clock)
    made = []
    while len(made) < 12:
        wait = budget.wait_seconds()
        if wait > 0:
            clock.now += wait
        else:
            made.append(clock.now)
            clock.now += 0.5
    for allowance in allowances:
        for first in made:
            assert sum(first <= one < first + allowance.seconds for one in made) <= allowance.calls
    assert made[-1] < 130.0


def test_a_cursor_that_names_somebody_erased_goes_back_and_a_damaged_file_says_what_to_do(home):
    from serving.errors import ServingError
    from serving.paging import as_cursor
    from serving.wecom_diff import Point, Position

    state = WecomState(home)
    assert state.forget(["7"]) == 0
    middle = Position(Point(1, 2, 3), 4, Point(5, 6, 7), "pos:7")
    state.keep_cursor(as_cursor(middle))
    assert (state.forget(["7"]), state.forget(["pos:7"])) == (0, 1)
    assert state.cursor() == as_cursor(Position(Point(1, 2, 3), 4))
    (home.root / FOLDER / CURSOR_FILE).write_text(json.dumps({"cursor": 7}))
    with pytest.raises(ServingError, match="is damaged"):
        state.cursor()
