from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.home import Home
from features.database import open_engine
from features.errors import IdentityError
from features.identities import Resolution, Space
from features.identity_log import LOG_SCHEMA, Identities
from tests.features.postgres_database import empty_postgres_schema

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """Of the database: None for SQLite in the home."""
    if request.param == "sqlite":
        yield None
        return
    with empty_postgres_schema() as own:
        yield own


@pytest.fixture
def engine(home: Home, url: str | None) -> Iterator[sa.Engine]:
    engine = open_engine(url, home)
    yield engine
    engine.dispose()


@pytest.fixture
def identities(engine: sa.Engine) -> Identities:
    return Identities(engine)


def pairs(*given_pairs: tuple[str, str]) -> pl.DataFrame:
    return pl.DataFrame(given_pairs, schema={"left": pl.String, "right": pl.String}, orient="row")


def test_a_new_log_is_empty_and_everybody_is_themselves(identities: Identities) -> None:
    assert identities.log().schema == LOG_SCHEMA
    assert identities.log().is_empty()
    assert identities.resolution().members("7") == ("7",)


def test_every_step_is_a_line_with_when_and_why(identities: Identities) -> None:
    identities.link("b", "a", why="at the till", at=NOON)
    identities.unlink("a", "b", why="a mistake", at=NOON + timedelta(hours=1))
    assert identities.log().rows() == [
        (1, NOON, "link", "a", "b", "at the till"),
        (2, NOON + timedelta(hours=1), "unlink", "a", "b", "a mistake"),
    ]
    assert identities.resolution().one("b") == "b"


def test_what_is_linked_cannot_be_linked_again_nor_what_is_not_be_unlinked(identities: Identities) -> None:
    identities.link("a", "b", why="", at=NOON)
    identities.link("b", "c", why="", at=NOON)
    with pytest.raises(IdentityError, match="linked already"):
        identities.link("b", "a", why="", at=NOON)
    with pytest.raises(IdentityError, match="no link between") as raised:
        identities.unlink("a", "c", why="", at=NOON)
    assert "identities show" in raised.value.next_step
    with pytest.raises(IdentityError, match="the same one"):
        identities.link("a", "a", why="", at=NOON)
    assert identities.log().height == 2


def test_another_process_sees_a_link_at_its_next_question(
    engine: sa.Engine, home: Home, url: str | None
) -> None:
    ours, theirs = Identities(engine), open_engine(url, home)
    before = ours.resolution()
    assert ours.resolution() is before
    Identities(theirs).link("a", "b", why="", at=NOON)
    assert ours.resolution().one("b") == "a"
    Identities(theirs).forget(["a"])
    assert ours.resolution().one("b") == "b"
    theirs.dispose()


def test_what_a_source_says_again_is_no_new_link(identities: Identities) -> None:
    said = pairs(("7", "unionid:x"), ("unionid:x", "7"), ("7", "7"), ("8", "unionid:y"))
    assert identities.add_links(said, why="import", at=NOON) == 2
    assert identities.add_links(said, why="import", at=NOON) == 0


def test_what_was_unlinked_by_hand_no_import_links_again(identities: Identities) -> None:
    identities.add_links(pairs(("7", "unionid:x")), why="import", at=NOON)
    identities.unlink("unionid:x", "7", why="a shared phone", at=NOON)
    assert identities.add_links(pairs(("unionid:x", "7")), why="import", at=NOON) == 0
    assert identities.resolution().one("unionid:x") == "unionid:x"
    identities.link("7", "unionid:x", why="after all", at=NOON)
    assert identities.resolution().one("unionid:x") == "7"


def test_spaces_keep_their_order_and_their_prefix(identities: Identities) -> None:
    identities.settle(Space("web", "", is_source=True))
    identities.settle(Space("pos", "pos:", is_source=False))
    identities.settle(Space("crm", "crm:", is_source=True))
    identities.settle(Space("pos", "changed:", is_source=True))
    identities.settle(Space("web", "", is_source=False))
    spaces = identities.resolution().spaces
    assert list(spaces.by_name.values()) == [
        Space("web", "", is_source=True),
        Space("pos", "pos:", is_source=True),
        Space("crm", "crm:", is_source=True),
    ]


def test_a_forgotten_id_is_in_no_line_and_numbers_are_not_given_again(identities: Identities) -> None:
    identities.link("a", "b", why="", at=NOON)
    identities.link("c", "d", why="", at=NOON)
    identities.link("d", "b", why="", at=NOON)
    assert identities.forget(["b", "nobody"]) == 2
    assert identities.log()["left"].to_list() == ["c"]
    identities.link("a", "b", why="", at=NOON)
    assert identities.log()["seq"].to_list() == [2, 4]


steps = st.lists(st.tuples(st.booleans(), st.integers(0, 4), st.integers(0, 4)), max_size=15)


@settings(max_examples=15)
@given(steps)
def test_the_log_read_bit_by_bit_or_at_once_or_up_to_a_line_says_the_same(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[bool, int, int]]
) -> None:
    engine = open_engine(None, Home(tmp_path_factory.mktemp("log")))
    identities = Identities(engine)
    seen: list[list[tuple[str, ...]]] = []
    ids = [str(number) for number in range(5)]

    def members(resolution: Resolution) -> list[tuple[str, ...]]:
        return [resolution.members(one) for one in ids]

    for is_link, one, other in steps:
        try:
            act = identities.link if is_link else identities.unlink
            act(ids[one], ids[other], why="", at=NOON)
        except IdentityError:
            continue
        seen.append(members(identities.resolution()))
    assert [members(identities.resolution_at(seq + 1)) for seq in range(len(seen))] == seen
    assert members(Identities(engine).resolution()) == members(identities.resolution())
    engine.dispose()


def test_a_database_that_refuses_is_named_without_ids(engine: sa.Engine, identities: Identities) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE identity_log")
    with pytest.raises(IdentityError, match=r"no such table|does not exist") as raised:
        identities.link("secret-1", "secret-2", why="", at=NOON)
    assert "secret" not in str(raised.value)
