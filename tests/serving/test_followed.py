from hypothesis import given
from hypothesis import strategies as st

from serving.followed import Followed


def test_senders_are_answered_once_their_rows_are_applied_and_evaluated_where_they_wait_for_that():
    followed = Followed[str]()
    followed.add([("plain", False), ("tagged", True)], 5, 0.0)
    followed.add([("later", False)], 6, 0.0)
    assert list(followed.done(4, 9)) == []
    assert list(followed.done(5, 4)) == ["plain"]
    assert list(followed.done(6, 5)) == ["tagged", "later"]
    assert len(followed) == 0


def test_who_has_waited_long_enough_is_told_so_and_no_sooner():
    followed = Followed[str](patience_seconds=10)
    followed.add([("first", False)], 5, 0.0)
    followed.add([("second", False)], 6, 1.0)
    assert list(followed.overdue(9.9)) == []
    assert list(followed.overdue(10.0)) == ["first"]
    assert list(followed.all()) == ["second"]


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans(), st.floats(0, 50)), max_size=30), st.data())
def test_everyone_is_answered_exactly_once(senders, data):
    followed = Followed[int]()
    for number, (seq, with_tags, now) in enumerate(senders):
        followed.add([(number, with_tags)], seq, now)
    answered = []
    for _ in range(3):
        answered += followed.done(data.draw(st.integers(0, 20)), data.draw(st.integers(0, 20)))
        answered += followed.overdue(data.draw(st.floats(0, 70)))
    answered += followed.all()
    assert sorted(answered) == list(range(len(senders)))
