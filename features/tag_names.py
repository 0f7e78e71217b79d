"""Short names of tags: at most 30 characters, one tag each, the same for ever."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping

from configs.errors import ConfigError

NAME_LENGTH_MAX = 30
"""What WeCom allows a tag's name, in UTF-16 code units: most characters are one, emoji are two."""

HASH_MARK = "~"
HASH_LENGTH = 5
HASH_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
"""No digit that looks like a letter, nor the reverse: names are read aloud."""

HEAD_LENGTH_MAX = 8
LOOKS_HASHED = re.compile(rf"{HASH_MARK}[{HASH_ALPHABET}]{{{HASH_LENGTH}}}$")


class TagNames:
    """Names tags; a mapping of one's own goes before the rule.

    A name depends on the tag's id and the mapping alone, never on which other tags there are: whoever knows a
    name knows it for ever. Two tags never share one, but for hashes that collide: one in 33 million for two
    ids that begin alike.

    Parameters
    ----------
    chosen
        Name by tag id.

    Raises
    ------
    ConfigError
        If a chosen name is empty, too long, or chosen twice.
    """

    def __init__(self, chosen: Mapping[str, str] | None = None) -> None:
        self._chosen = dict(chosen or {})
        owners: dict[str, str] = {}
        for tag_id, name in self._chosen.items():
            if not name.strip() or name_length(name) > NAME_LENGTH_MAX:
                raise ConfigError(
                    f"name of tag {tag_id!r} is {name!r}; expected 1 to {NAME_LENGTH_MAX} characters"
                )
            other = owners.setdefault(name, tag_id)
            if other != tag_id:
                raise ConfigError(
                    f"tags {other!r} and {tag_id!r} are both named {name!r}", "choose another for one of them"
                )
        self._owners = owners

    def of(self, tag_id: str) -> str:
        """Return a tag's name.

        >>> names = TagNames({"high_intent": "即将购买"})
        >>> names.of("high_intent"), names.of("interest:MILK")
        ('即将购买', 'interest:MILK')
        """
        chosen = self._chosen.get(tag_id)
        if chosen is not None:
            return chosen
        name = short_name(tag_id)
        return _hashed(tag_id) if name in self._owners else name


def short_name(tag_id: str) -> str:
    """Name a tag by its id where that is short and clean, else by its beginning and a hash of it all.

    >>> short_name("interest:FLUID MILK PRODUCTS")
    'interest:FLUID MILK PRODUCTS'
    >>> short_name("brand_preference:PRIVATE LABEL ORGANIC")
    'brand:PRIVATE LABEL ORGA~a8x84'
    """
    is_clean = tag_id == _cleaned(tag_id) and not LOOKS_HASHED.search(tag_id)
    return tag_id if is_clean and 1 <= name_length(tag_id) <= NAME_LENGTH_MAX else _hashed(tag_id)


def name_length(text: str) -> int:
    """Return a text's length as WeCom may count it: in UTF-16 code units.

    >>> name_length("牛奶"), name_length("🥛")
    (2, 2)
    """
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _hashed(tag_id: str) -> str:
    family, mark, key = _cleaned(tag_id).partition(":")
    head = f"{family.split('_')[0][:HEAD_LENGTH_MAX]}{mark}" if mark else ""
    readable = _cut(head + (key if mark else family), NAME_LENGTH_MAX - HASH_LENGTH - len(HASH_MARK))
    return readable + HASH_MARK + _hash(tag_id)


def _cut(text: str, most: int) -> str:
    while name_length(text) > most:
        text = text[:-1]
    return text.rstrip()


def _hash(tag_id: str) -> str:
    number = int.from_bytes(hashlib.blake2b(tag_id.encode("utf-8", "surrogatepass"), digest_size=8).digest())
    letters = []
    for _ in range(HASH_LENGTH):
        number, place = divmod(number, len(HASH_ALPHABET))
        letters.append(HASH_ALPHABET[place])
    return "".join(letters)


def _cleaned(text: str) -> str:
    composed = unicodedata.normalize("NFC", text)
    return " ".join("".join(one if one.isprintable() else " " for one in composed).split())
