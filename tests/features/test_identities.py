from __future__ import annotations

from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.identities import FEW_ROWS, Resolution, Space, Spaces, as_pair, components

SHOP = Spaces(
    [
        Space("web", "", is_source=True),
        Space("unionid", "unionid:", is_source=False),
        Space("pos", "pos:", is_source=True),
        Space("app", "pos:", is_source=True),
        Space("crm", "crm:", is_source=True),
    ]
)
IDS = ["7", "8", "a:b", "pos:7", "pos:8", "crm:7", "unionid:7", "unionid:x"]


def links(*pairs: tuple[str, str]) -> pl.DataFrame:
    return pl.DataFrame(pairs, schema={"left": pl.String, "right": pl.String}, orient="row")


class UnionFind:
    """The oracle: every id points to another of its customer, or to itself."""

    def __init__(self) -> None:
        self.parent = {one: one for one in IDS}

    def root(self, one: str) -> str:
        while self.parent[one] != one:
            one = self.parent[one]
        return one

    def join(self, one: str, other: str) -> None:
        self.parent[self.root(one)] = self.root(other)

    def customers(self) -> set[frozenset[str]]:
        roots: dict[str, set[str]] = {}
        for one in IDS:
            roots.setdefault(self.root(one), set()).add(one)
        return {frozenset(members) for members in roots.values()}


pairs = st.tuples(st.sampled_from(IDS), st.sampled_from(IDS)).filter(lambda pair: pair[0] != pair[1])


@given(st.lists(st.tuples(st.booleans(), pairs), max_size=20), st.randoms(use_true_random=False))
def test_any_links_and_unlinks_in_any_order_give_the_components_of_a_union_find(
    steps: list[tuple[bool, tuple[str, str]]], random
) -> None:
    in_force: set[tuple[str, str]] = set()
    for is_link, pair in steps:
        (in_force.add if is_link else in_force.discard)(as_pair(*pair))
    oracle = UnionFind()
    for pair in in_force:
        oracle.join(*pair)
    shuffled = list(in_force)
    random.shuffle(shuffled)
    found = Resolution(SHOP, links(*shuffled))
    assert {frozenset(found.members(one)) for one in IDS} == oracle.customers()
    assert found.one("7") == Resolution(SHOP, links(*in_force)).one("7")


@given(st.lists(pairs, max_size=12))
def test_resolving_what_is_resolved_changes_nothing_and_a_survivor_is_one_of_its_ids(
    given_pairs: list[tuple[str, str]],
) -> None:
    found = Resolution(SHOP, links(*given_pairs))
    ids = pl.Series("customer_id", IDS)
    once = found.resolved(ids)
    assert found.resolved(once).to_list() == once.to_list() == [found.one(one) for one in IDS]
    for one in IDS:
        assert found.members(one)[0] == found.one(one)
        assert one in found.members(one)


@pytest.mark.parametrize(
    ("members", "survivor"),
    [
        (["pos:7", "8", "unionid:x"], "8"),
        (["8", "7"], "7"),
        (["10", "9"], "10"),
        (["crm:1", "pos:9"], "pos:9"),
        (["unionid:1", "crm:1"], "crm:1"),
        (["unionid:2", "unionid:10"], "unionid:10"),
        (["a:b", "pos:1"], "a:b"),
    ],
)
def test_who_survives_is_plain_then_of_the_earlier_source_then_smaller_as_text(
    members: list[str], survivor: str
) -> None:
    chain = list(pairwise(members))
    for given_links in (chain, chain[::-1], [(right, left) for left, right in chain]):
        assert Resolution(SHOP, links(*given_links)).one(members[-1]) == survivor


def test_an_id_may_be_written_with_its_spaces_name_and_means_the_same() -> None:
    written = ["7", "web:7", "pos:7", "app:7", "crm:7", "other:7", "web:web:7", ":7"]
    canonical = ["7", "7", "pos:7", "pos:7", "crm:7", "other:7", "web:7", ":7"]
    assert [SHOP.canonical(text) for text in written] == canonical
    assert SHOP.canonical_column(pl.Series("customer_id", written)).to_list() == canonical
    assert SHOP.canonical_column(pl.Series("customer_id", [None], pl.String)).to_list() == [None]
    assert Resolution(SHOP).resolved(pl.Series("customer_id", written)).to_list() == canonical


@given(st.sampled_from(IDS))
def test_every_spelling_of_an_id_leads_back_to_it(one: str) -> None:
    spellings = SHOP.spellings(one)
    assert spellings[0] == one
    assert {SHOP.canonical(spelling) for spelling in spellings} == {one}
    assert len(set(spellings)) == len(spellings)


def test_readers_ask_for_everything_a_customer_may_be_stored_under() -> None:
    found = Resolution(SHOP, links(("7", "pos:8")))
    assert found.spellings(["pos:8"]) == {"7", "web:7", "pos:8", "app:8"}
    assert found.spellings(["9"]) == {"9", "web:9"}


def test_a_link_to_an_unimported_space_waits_for_nothing() -> None:
    found = Resolution(Spaces(), links(("7", "member:1")))
    assert found.one("member:1") == "7"
    assert Spaces().prefix_of("member") == "member:"


def test_a_column_keeps_its_nulls_and_other_columns() -> None:
    found = Resolution(SHOP, links(("7", "pos:8")))
    events = pl.DataFrame({"customer_id": ["pos:8", None, "9"], "n": [1, 2, 3]})
    assert found.resolve(events).rows() == [("7", 1), (None, 2), ("9", 3)]


def test_many_rows_resolve_as_few_do() -> None:
    found = Resolution(SHOP, links(("7", "pos:8"), ("pos:8", "crm:7"), ("unionid:x", "8")))
    few = pl.Series("customer_id", [*IDS, None])
    many = pl.concat([few] * (FEW_ROWS // few.len() + 1))
    assert found.resolved(many).to_list() == found.resolved(few).to_list() * (FEW_ROWS // few.len() + 1)


def test_without_links_and_further_sources_events_are_handed_on_as_they_are() -> None:
    events = pl.DataFrame({"customer_id": ["7"]})
    assert Resolution().resolve(events) is events


def test_components_of_a_path_a_pair_and_a_single_node() -> None:
    found = components(6, [0, 1, 4], [1, 2, 5])
    assert [found.tolist().index(label) for label in found] == [0, 0, 0, 3, 4, 4]
