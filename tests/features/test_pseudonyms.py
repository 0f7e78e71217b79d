from __future__ import annotations

import hashlib
import hmac
from base64 import b32decode
from collections.abc import Iterator

import polars as pl
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import ConfigError
from configs.home import Home
from configs.settings import Settings, load_settings
from features.database import open_engine
from features.errors import IdentityError
from features.event_log import EventLog
from features.identities import Resolution, Space, Spaces
from features.lake import Lake
from features.pseudonyms import PSEUDONYM, Pseudonyms, hidden, open_pseudonyms
from tests.features.made_events import event, frame

KEY = "a key of sixteen bytes or more"
OF = Pseudonyms(KEY.encode())
SHOP = Spaces(
    [
        Space("web", "", is_source=True),
        Space("pos", "pos:", is_source=True),
        Space("app", "pos:", is_source=True),
        Space("unionid", "unionid:", is_source=False),
    ],
    OF,
)


@pytest.fixture
def engine(home: Home) -> Iterator[sa.Engine]:
    made = open_engine(None, home)
    yield made
    made.dispose()


def chosen(home: Home, on: bool = True, key: str | None = KEY) -> Settings:
    environ = {"TAGTIDE_PSEUDONYMOUS_IDS": str(on).lower()} | ({} if key is None else {"TAGTIDE_ID_KEY": key})
    return load_settings(home.root, environ).settings


@given(st.text())
def test_a_pseudonym_is_160_bits_of_the_keyed_hash_and_stands_for_itself(text: str) -> None:
    found = OF(text)
    assert OF(found) == found
    if not text or PSEUDONYM.fullmatch(text):
        assert found == text
        return
    expected = hmac.new(KEY.encode(), text.encode(), hashlib.sha256).digest()[:20]
    assert b32decode(found.removeprefix("p_").upper()) == expected
    assert PSEUDONYM.fullmatch(found)


def test_another_key_gives_other_pseudonyms() -> None:
    other = Pseudonyms(b"another key of sixteen bytes")
    assert other("c-17") != OF("c-17")
    assert other.key_name != OF.key_name


def test_every_way_of_writing_an_id_has_one_pseudonym_within_its_space() -> None:
    written = ["17", "web:17", "pos:17", "app:17", "unionid:17", "x:17"]
    bare = OF("17")
    expected = [bare, bare, f"pos:{bare}", f"pos:{bare}", f"unionid:{bare}", OF("x:17")]
    assert [SHOP.canonical(text) for text in written] == expected
    assert SHOP.canonical_column(pl.Series([*written, None])).to_list() == [*expected, None]
    assert [SHOP.canonical(text) for text in expected] == expected


def test_an_id_of_a_platform_has_the_same_pseudonym_before_and_after_its_space_came_up() -> None:
    before = Spaces(pseudonym=OF)
    after = before.with_one(Space("unionid", "unionid:", is_source=False))
    assert before.canonical("unionid:U-1") == after.canonical("unionid:U-1") == f"unionid:{OF('U-1')}"
    assert before.canonical("13800138000:x") == OF("13800138000:x")


def test_links_join_pseudonyms_and_any_plain_id_finds_them() -> None:
    links = pl.DataFrame({"left": [OF("17")], "right": [f"unionid:{OF('U-1')}"]})
    resolution = Resolution(SHOP, links)
    assert resolution.one("unionid:U-1") == OF("17")
    assert resolution.members("web:17") == (OF("17"), f"unionid:{OF('U-1')}")
    assert resolution.resolved(pl.Series(["unionid:U-1", "18"])).to_list() == [OF("17"), OF("18")]


def test_of_a_refused_row_stays_what_names_nobody() -> None:
    rows = pl.DataFrame(
        {
            "field": ["quantity", "customer_id", "custmer_id", None],
            "value": ["-1", "c-17\t", "c-17", "c-17;3"],
            "expected": ["0 or more", "no control characters", "no such field", 'a row, got "c-17;3"'],
            "raw": ['{"customer_id": "c-17", "quantity": -1}', "{}", "", None],
            "customer_id": ["c-17", "c-17", None, None],
        }
    )
    kept = hidden(rows, SHOP)
    assert "c-17" not in str(kept.to_dicts())
    assert kept["value"].to_list() == ["-1", *["(not kept)"] * 3]
    assert kept["expected"].to_list()[:3] == rows["expected"].to_list()[:3]
    assert kept["customer_id"].to_list() == [OF("c-17"), OF("c-17"), None, None]
    assert kept["raw"].n_unique() == 4
    assert hidden(rows, SHOP)["raw"].equals(kept["raw"])
    assert hidden(rows, Spaces()).equals(rows)


def test_a_home_is_begun_with_a_key_and_read_with_that_key_only(home: Home, engine: sa.Engine) -> None:
    made = open_pseudonyms(home, chosen(home), engine)
    assert made is not None
    assert made("c-17") == OF("c-17")
    assert KEY not in home.id_marker.read_text()
    again = open_pseudonyms(home, chosen(home), engine)
    assert again is not None
    with pytest.raises(IdentityError, match="not the key"):
        open_pseudonyms(home, chosen(home, key="another key of sixteen"), engine)
    with pytest.raises(IdentityError, match="is off"):
        open_pseudonyms(home, chosen(home, on=False), engine)
    home.id_marker.write_text("{")
    with pytest.raises(IdentityError, match="damaged"):
        open_pseudonyms(home, chosen(home), engine)


def test_without_a_key_nothing_is_begun(home: Home, engine: sa.Engine) -> None:
    with pytest.raises(ConfigError, match="TAGTIDE_ID_KEY"):
        open_pseudonyms(home, chosen(home, key=None), engine)
    assert not home.id_marker.exists()


@pytest.mark.parametrize("where", ["lake", "log"])
def test_a_home_that_holds_plain_ids_stays_as_it_is(home: Home, engine: sa.Engine, where: str) -> None:
    assert open_pseudonyms(home, chosen(home, on=False), engine) is None
    rows = frame([event(0)])
    if where == "lake":
        Lake(home.lake).append(rows)
    else:
        EventLog(engine).append(rows)
    with pytest.raises(IdentityError, match="plain ids already"):
        open_pseudonyms(home, chosen(home), engine)
    assert open_pseudonyms(home, chosen(home, on=False), engine) is None
