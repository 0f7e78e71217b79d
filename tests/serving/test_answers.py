"""What is said about customers, put together by fakes of known answers."""

from __future__ import annotations

import pytest

from features.sqlite_packed_store import SqlitePackedStore
from serving.answers import Answers
from serving.clock import ReplayClock
from serving.errors import NotReady
from serving.live_tags import LiveTags
from serving.scores import CustomerScores
from tests.serving.parts import START_US, Holder


class Versioned:
    """Says the number of its version as the propensity."""

    quiet_families = frozenset()

    def __init__(self, number):
        self.number = number
        self.versions = {"propensity": f"propensity/{number}"}
        self.asked = []

    def score_many(self, customers, now_us, *, with_tags, with_reasons):
        self.asked.append(list(customers))
        one = CustomerScores(
            propensity={"72h": self.number / 100},
            clv=None,
            life_cycle_stage="new",
            tags=(),
            status="ok",
            model_versions=self.versions,
        )
        return dict.fromkeys(customers, one)


class Swapped:
    """New models come into force every time somebody looks."""

    problem = ""

    def __init__(self):
        self.number = 0

    @property
    def scorer(self):
        self.number += 1
        return Versioned(self.number)

    @property
    def versions(self):
        self.number += 1
        return {"propensity": f"propensity/{self.number}"}


class Married:
    """Knows that whoever is called ``x, born y`` is ``x``."""

    def resolution(self):
        return self

    def one(self, customer):
        return customer.partition(", born ")[0]


@pytest.fixture
def store(tmp_path):
    opened = SqlitePackedStore(tmp_path / "online.db")
    yield opened
    opened.close()


def answers(store, scorers, identities=None):
    return Answers(LiveTags(store), scorers, ReplayClock(START_US), identities)


def test_an_answer_names_the_models_that_gave_it_though_others_come_into_force_meanwhile(store):
    asked = answers(store, Swapped())
    for _ in range(5):
        answer = asked.predict(["a", "b"])
        (said,) = {one.propensity["72h"] for one in answer.customers}
        assert answer.model_version == {"propensity": f"propensity/{round(said * 100)}"}


def test_one_customer_asked_about_by_many_names_is_scored_once_and_answered_under_each(store):
    scorer = Versioned(7)
    asked = answers(store, Holder(scorer), Married())
    answer = asked.predict(["ann", "ann, born lee", "bob", "ann"])
    assert scorer.asked == [["ann", "bob"]]
    assert [one.customer_id for one in answer.customers] == ["ann", "ann, born lee", "bob", "ann"]
    assert [one.merged_into or None for one in answer.customers if isinstance(one.merged_into, str)] == [
        "ann"
    ]


def test_nobody_is_answered_about_while_no_models_are_in_force(store):
    with pytest.raises(NotReady):
        answers(store, Holder(None)).predict(["a"])
