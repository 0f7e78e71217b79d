"""Consent: what was said last holds, what restricts most holds of several ids, and processes agree."""

import contextlib
import json

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from configs.home import open_home
from features.consent import FIELDS, HISTORY, UNSAID, Consent, Permission, strictest
from features.database import open_engine
from features.errors import ConsentError
from tests.features.postgres_database import empty_postgres_schema

said = st.none() | st.booleans()
permissions = st.builds(
    Permission,
    profiling=said,
    marketing=said,
    do_not_disturb=said,
    takeover=said,
    takeover_until_us=st.none() | st.integers(0, 10),
    time_zone=st.none() | st.sampled_from(["UTC", "Asia/Shanghai"]),
    seq=st.integers(1, 10**6),
)


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request, tmp_path):
    with contextlib.ExitStack() as stack:
        url = None if request.param == "sqlite" else stack.enter_context(empty_postgres_schema())
        made = open_engine(url, open_home(tmp_path / "home", create=True))
        yield made
        made.dispose()


def test_what_was_said_last_holds_and_the_rest_stays(engine):
    consent = Consent(engine)
    consent.change("a/b", {"marketing": False, "time_zone": "Asia/Shanghai"}, at_us=5, said_by="crm")
    consent.change("a/b", {"marketing": True}, at_us=7, said_by="shop")
    found = consent.of(["a/b", "stranger"])
    assert found["stranger"] == UNSAID
    assert (found["a/b"].marketing, found["a/b"].time_zone) == (True, "Asia/Shanghai")
    assert consent.history("a/b") == [
        (5, "crm", {"marketing": False, "time_zone": "Asia/Shanghai"}),
        (7, "shop", {"marketing": True}),
    ]


def test_a_change_of_one_process_is_seen_by_another_that_knew_otherwise(engine):
    here, there = Consent(engine), Consent(engine)
    for consent in (here, there):
        consent.refresh()
        assert consent.of(["c1", "c2"])["c1"] == UNSAID
    here.change("c1", {"profiling": False}, at_us=5, said_by="crm")
    assert here.of(["c1"])["c1"].profiling is False, "its own writes without a refresh"
    there.refresh()
    assert there.of(["c1"])["c1"].profiling is False
    here.forget(["c1"])
    there.refresh()
    assert there.of(["c1"])["c1"] == UNSAID


def test_what_one_says_for_all_ids_of_a_customer_holds_for_those_that_had_said_something(engine):
    consent = Consent(engine)
    consent.change("b", {"marketing": False}, at_us=1, said_by="crm")
    consent.change("a", {"marketing": True}, at_us=2, said_by="crm", others=["b", "c"])
    found = consent.of(["a", "b", "c"])
    assert [found[name].marketing for name in "abc"] == [True, True, None]
    assert strictest(list(found.values())).marketing is True


def test_forgetting_leaves_no_row_not_even_of_the_history(engine):
    consent = Consent(engine)
    for name in ("a", "b"):
        consent.change(name, {"marketing": False}, at_us=1, said_by="crm")
    assert consent.forget(["a"]) == 2
    assert (consent.history("a"), consent.of(["a"])["a"]) == ([], UNSAID)
    assert consent.of(["b"])["b"].marketing is False


def test_a_field_that_is_none_is_refused(engine):
    with pytest.raises(ConsentError, match=f"no such field: emailing; expected some of {FIELDS[0]}"):
        Consent(engine).change("c1", {"emailing": True}, at_us=1, said_by="crm")


@given(st.lists(permissions, min_size=1, max_size=4))
def test_joined_ids_are_as_restricted_as_the_most_restricted_of_them(listed):
    joined = strictest(listed)
    assert strictest(list(reversed(listed))) == joined or len({one.seq for one in listed}) < len(listed)
    for purpose in ("profiling", "marketing"):
        votes = [getattr(one, purpose) for one in listed]
        expected = False if False in votes else True if True in votes else None
        assert getattr(joined, purpose) is expected
    for now_us in range(11):
        assert joined.is_taken_over(now_us) == any(one.is_taken_over(now_us) for one in listed)
    assert bool(joined.do_not_disturb) == any(one.do_not_disturb for one in listed)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "c"]),
            st.dictionaries(st.sampled_from(["profiling", "marketing", "do_not_disturb"]), said, min_size=1),
        ),
        max_size=12,
    )
)
def test_the_state_is_the_history_told_from_its_beginning(tmp_path_factory, story):
    home = open_home(tmp_path_factory.mktemp("story"), create=True)
    engine = open_engine(None, home)
    try:
        consent, known = Consent(engine), {}
        for at_us, (name, changes) in enumerate(story):
            consent.change(name, changes, at_us=at_us, said_by="crm")
            known.setdefault(name, {}).update(changes)
            assert {field: getattr(consent.of([name])[name], field) for field in known[name]} == known[name]
        with engine.connect() as connection:
            lines = connection.execute(sa.select(HISTORY).order_by(HISTORY.c.seq)).all()
        told = {}
        for line in lines:
            told.setdefault(line.customer_id, {}).update(json.loads(line.changes))
        assert told == known
    finally:
        engine.dispose()
