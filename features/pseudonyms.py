"""Customers' ids replaced by keyed hashes at every door, for homes that are to hold no plain id."""

from __future__ import annotations

import base64
import hmac
import json
import re

import polars as pl
import sqlalchemy as sa

from configs.errors import ConfigError
from configs.home import Home
from configs.settings import Settings
from features.errors import IdentityError
from features.event_log import EVENT_LOG
from features.events import EVENT_SCHEMA
from features.identities import Spaces

PREFIX = "p_"
HASH_BYTES = 20
"""160 bits: no two customers ever share a pseudonym."""

PSEUDONYM = re.compile(PREFIX + r"[a-z2-7]{32}")
NAMING = b"tagtide id key"
NOT_KEPT = "(not kept)"
NAME_NOBODY = [name for name in EVENT_SCHEMA if name != "customer_id"]
QUOTED = r"""("[^"]*"|'[^']*')"""
"""What an explanation repeats of a row that could not be read."""


class Pseudonyms:
    """Replaces ids by ``p_`` and a keyed hash. One that is a pseudonym already stands for itself.

    Parameters
    ----------
    key
        Whoever has it can tell which pseudonym is whose; nobody else can try ids out.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    @property
    def key_name(self) -> str:
        """What tells the key from another: 16 hexadecimal digits."""
        return hmac.digest(self._key, NAMING, "sha256").hex()[:16]

    def __call__(self, text: str) -> str:
        """Return the pseudonym of an id without its space's prefix; nothing stays nothing.

        >>> Pseudonyms(b"a key of sixteen bytes")("c-17")
        'p_6li3ibf5yc7vqfgcgzmmxpalmfvinohn'
        """
        if not text or PSEUDONYM.fullmatch(text):
            return text
        hashed = hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), "sha256")[:HASH_BYTES]
        return PREFIX + base64.b32encode(hashed).decode("ascii").lower()


def open_pseudonyms(home: Home, settings: Settings, engine: sa.Engine) -> Pseudonyms | None:
    """Return what replaces the ids of a home, or None where they are kept as they are.

    A home is one or the other from its first event on: what was stored under plain ids would never be found
    under pseudonyms, nor the reverse.

    Raises
    ------
    ConfigError
        If ids are to be pseudonyms and there is no key.
    IdentityError
        If the home was begun otherwise, or with another key.
    """
    known = _marked(home)
    if not settings.pseudonymous_ids:
        if known is None:
            return None
        raise IdentityError(
            f"home {home.root} keeps ids as pseudonyms, and the setting 'pseudonymous_ids' is off",
            "set pseudonymous_ids: true in its tagtide.yaml, and TAGTIDE_ID_KEY as it was",
        )
    if settings.id_key is None:
        raise ConfigError(
            "pseudonymous_ids is on and there is no key: TAGTIDE_ID_KEY",
            "export TAGTIDE_ID_KEY=\"$(python3 -c 'import secrets; print(secrets.token_urlsafe(32))')\" "
            "and keep it: without it nobody is found again",
        )
    pseudonyms = Pseudonyms(settings.id_key.get_secret_value().encode())
    if known is None:
        if _holds_customers(home, engine):
            raise IdentityError(
                f"home {home.root} holds customers under plain ids already, "
                "and the setting 'pseudonymous_ids' is on",
                "begin another --home and import again, or turn the setting off",
            )
        home.id_marker.write_text(json.dumps({"pseudonymous": pseudonyms.key_name}) + "\n", encoding="ascii")
    elif known != pseudonyms.key_name:
        raise IdentityError(
            f"TAGTIDE_ID_KEY is not the key that home {home.root} was begun with",
            "set it as it was: with another one nobody is found again",
        )
    return pseudonyms


def hidden(rows: pl.DataFrame, spaces: Spaces) -> pl.DataFrame:
    """Return refused rows without ids; as they are where the home keeps ids as they are.

    Nobody can tell what a raw row holds besides what was expected: of it only a keyed hash stays, by which it
    is known when it is met again, and the value where it is that of a column that names nobody.

    Parameters
    ----------
    rows
        ``field value expected raw``, and where it is known ``customer_id``.
    spaces
        Of the home.
    """
    if spaces.pseudonym is None or rows.is_empty():
        return rows
    names_nobody = rows["field"].is_in(pl.Series(NAME_NOBODY).implode()).fill_null(value=False)
    of = spaces.pseudonym
    raw = [f"{NOT_KEPT} {of(text)}" if text else text for text in rows["raw"].to_list()]
    found = rows.with_columns(
        pl.Series("raw", raw, dtype=pl.String),
        value=pl.when(names_nobody).then("value").otherwise(pl.lit(NOT_KEPT)),
        expected=pl.when(names_nobody)
        .then("expected")
        .otherwise(pl.col("expected").str.replace_all(QUOTED, NOT_KEPT)),
    )
    if "customer_id" not in rows.columns:
        return found
    return found.with_columns(spaces.canonical_column(rows["customer_id"]))


def _marked(home: Home) -> str | None:
    try:
        return str(json.loads(home.id_marker.read_text(encoding="ascii"))["pseudonymous"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise IdentityError(f"{home.id_marker} is damaged", "restore it") from None


def _holds_customers(home: Home, engine: sa.Engine) -> bool:
    if any(home.lake.rglob("*.parquet")) or any(home.quarantine.glob("*.parquet")):
        return True
    if not sa.inspect(engine).has_table(EVENT_LOG.name):
        return False
    with engine.connect() as connection:
        return connection.execute(sa.select(EVENT_LOG.c.seq).limit(1)).first() is not None
