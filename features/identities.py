"""Who is who: ids of several places joined into customers, by connected components."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from features.windows import IntArray

MARK = ":"
"""Parts the name of a space from an id in it: ``pos:1098``."""

POSTED_SPACES = ("external_userid", "unionid")
"""Spaces whose ids may be given in a field of that name instead of a customer's id."""

FEW_ROWS = 20_000
"""Up to this many ids are looked up one by one: a join would first have to read every merged id."""

PLAIN_RANK, SOURCE_RANK, SPACE_RANK = 0, 1, 2


@dataclass(frozen=True)
class Space:
    """A set of ids that do not collide with each other: a source's customer ids, unionids, hashed phones.

    Attributes
    ----------
    name
        Of the source or of the kind of id.
    prefix
        What Tagtide writes before an id of it: ``NAME:``; nothing for the first source of a home; another
        source's where both share their customer ids.
    is_source
        Whether customers of a source are meant.
    """

    name: str
    prefix: str
    is_source: bool


class Spaces:
    """The spaces of a home, in the order in which they came up.

    Every id has one canonical text: the prefix of its space and the id itself. It may also be written with
    its space's name: where ``web`` was imported first, ``web:17`` is ``17``.

    Parameters
    ----------
    spaces
        Of the home.
    pseudonym
        What stands for an id in its canonical text; None: the id itself.
    """

    def __init__(self, spaces: Iterable[Space] = (), pseudonym: Callable[[str], str] | None = None) -> None:
        self.pseudonym = pseudonym
        self.by_name: Mapping[str, Space] = {space.name: space for space in spaces}
        self._aliases = {
            space.name: space.prefix for space in self.by_name.values() if space.prefix != space.name + MARK
        }
        owners = [space for space in self.by_name.values() if space.name not in self._aliases]
        self._rank = {
            space.name: (SOURCE_RANK if space.is_source else SPACE_RANK, number)
            for number, space in enumerate(owners)
        }

    def with_one(self, space: Space) -> Spaces:
        """Return these spaces and one more, in the place of one of its name."""
        return Spaces({**self.by_name, space.name: space}.values(), self.pseudonym)

    @property
    def sources(self) -> list[str]:
        """Names of the sources."""
        return [space.name for space in self.by_name.values() if space.is_source]

    @property
    def is_plain(self) -> bool:
        """Whether every id is its own canonical text."""
        return not self._aliases and self.pseudonym is None

    def named_by(self, text: str) -> str | None:
        """Return the space whose name an id begins with, or None.

        >>> Spaces([Space("pos", "pos:", is_source=True)]).named_by("pos:17")
        'pos'
        """
        head, mark, _ = text.partition(MARK)
        return head if mark and head in self.by_name else None

    def prefix_of(self, name: str) -> str:
        """Return what is written before an id of a space; one that never came up would get its own name."""
        space = self.by_name.get(name)
        return name + MARK if space is None else space.prefix

    def canonical(self, text: str) -> str:
        """Return an id as Tagtide writes it.

        >>> shop = Spaces([Space("web", "", is_source=True), Space("pos", "pos:", is_source=True)])
        >>> shop.canonical("web:17"), shop.canonical("17"), shop.canonical("pos:17")
        ('17', '17', 'pos:17')
        """
        prefixed = self.as_prefixed(text)
        if self.pseudonym is None:
            return prefixed
        head, mark, rest = prefixed.partition(MARK)
        # These may be used before they came up, and must give the same pseudonyms afterwards.
        is_marked = mark and (head in self._rank or head in POSTED_SPACES)
        return f"{head}{MARK}{self.pseudonym(rest)}" if is_marked else self.pseudonym(prefixed)

    def as_prefixed(self, text: str) -> str:
        """Return an id with the prefix of its space, whatever stands for it otherwise."""
        head, mark, rest = text.partition(MARK)
        return self._aliases[head] + rest if mark and head in self._aliases else text

    def canonical_column(self, ids: pl.Series) -> pl.Series:
        """Return ids as Tagtide writes them; null stays null."""
        if self.pseudonym is not None:
            distinct = ids.unique().drop_nulls().to_list()
            written = {text: self.canonical(text) for text in distinct}
            changed = {text: one for text, one in written.items() if one != text}
            return ids.replace(list(changed), list(changed.values())) if changed else ids
        column = pl.col(ids.name)
        for name, prefix in self._aliases.items():
            bare = pl.col(ids.name).str.strip_prefix(name + MARK)
            is_alias = pl.col(ids.name).str.starts_with(name + MARK)
            column = pl.when(is_alias).then(prefix + bare).otherwise(column)
        return ids.to_frame().select(column.alias(ids.name)).to_series()

    def parted(self, text: str) -> tuple[str, str]:
        """Part a canonical id into its space's prefix and the id itself."""
        head, mark, rest = text.partition(MARK)
        return (head + MARK, rest) if mark and head in self._rank else ("", text)

    def spellings(self, text: str) -> list[str]:
        """Return every way a canonical id may be written.

        >>> Spaces([Space("web", "", is_source=True)]).spellings("17")
        ['17', 'web:17']
        """
        own, rest = self.parted(text)
        aliases = [name + MARK + rest for name, prefix in self._aliases.items() if prefix == own]
        return [text, *aliases]

    def order(self, texts: pl.Series) -> pl.DataFrame:
        """Return ``rank`` and ``number`` of canonical ids: by them, then by text, the first survives a merge.

        Plain ids come first, then those of further sources, then those of other spaces, both in the order in
        which the spaces came up.
        """
        heads = texts.str.splitn(MARK, 2).struct.field("field_0")
        is_marked = texts.str.contains(MARK, literal=True)
        ranks = pl.DataFrame(
            [(name, rank, number) for name, (rank, number) in self._rank.items()],
            schema={"head": pl.String, "rank": pl.Int64, "number": pl.Int64},
            orient="row",
        )
        named = pl.DataFrame({"head": heads.set(~is_marked, None)}).join(
            ranks, on="head", how="left", maintain_order="left"
        )
        return named.select(pl.col("rank").fill_null(PLAIN_RANK), pl.col("number").fill_null(0))


class Resolution:
    """Who is who by some links: pure, and never changed.

    Parameters
    ----------
    spaces
        Of the home.
    links
        ``left`` and ``right``: canonical ids of one person. Order and direction do not matter.
    """

    def __init__(self, spaces: Spaces | None = None, links: pl.DataFrame | None = None) -> None:
        self.spaces = Spaces() if spaces is None else spaces
        self.links = pl.DataFrame(schema=LINKS) if links is None else links.select(list(LINKS))
        self._joined = _join(self.spaces, self.links)

    @cached_property
    def _survivor(self) -> dict[str, str]:
        merged = self._joined.filter(pl.col("id") != pl.col("survivor"))
        return dict(zip(merged["id"], merged["survivor"], strict=True))

    @cached_property
    def _members(self) -> dict[str, list[str]]:
        grouped = self._joined.group_by("survivor", maintain_order=True).agg("id")
        return dict(grouped.iter_rows())

    def one(self, text: str) -> str:
        """Return the customer who carries an id's history."""
        canonical = self.spaces.canonical(text)
        return self._survivor.get(canonical, canonical)

    def members(self, text: str) -> tuple[str, ...]:
        """Return every canonical id of the person who has this one, the surviving customer first."""
        survivor = self.one(text)
        return tuple(self._members.get(survivor, (survivor,)))

    def spellings(self, customers: Collection[str]) -> set[str]:
        """Return every id under which events of these customers may be stored."""
        members = {member for customer in customers for member in self.members(customer)}
        return {spelling for member in members for spelling in self.spaces.spellings(member)}

    def resolved(self, ids: pl.Series) -> pl.Series:
        """Return the customer of each id; null stays null."""
        if not self.spaces.is_plain:
            ids = self.spaces.canonical_column(ids)
        if self._joined.is_empty():
            return ids
        if ids.len() <= FEW_ROWS:
            found = [text if text is None else self._survivor.get(text, text) for text in ids.to_list()]
            return pl.Series(ids.name, found, dtype=pl.String)
        return ids.replace(self._joined["id"], self._joined["survivor"])

    def resolve(self, events: pl.DataFrame) -> pl.DataFrame:
        """Return the same rows, each under the customer who carries its history."""
        if self.spaces.is_plain and self._joined.is_empty():
            return events
        return events.with_columns(self.resolved(events["customer_id"]))


LINKS: dict[str, pl.DataType] = {"left": pl.String(), "right": pl.String()}


def as_pair(one: str, other: str) -> tuple[str, str]:
    """Return a link's two ids in the order in which it is stored.

    >>> as_pair("b", "a")
    ('a', 'b')
    """
    return (one, other) if one <= other else (other, one)


def _join(spaces: Spaces, links: pl.DataFrame) -> pl.DataFrame:
    """Return ``id`` and ``survivor`` of every linked id, a component's survivor first."""
    if links.is_empty():
        return pl.DataFrame(schema={"id": pl.String, "survivor": pl.String})
    ids = pl.concat([links["left"], links["right"]]).unique().sort()
    number = pl.DataFrame({"id": ids, "number": np.arange(ids.len())})
    ends = [
        links.select(id=side).join(number, on="id", how="left", maintain_order="left")["number"].to_numpy()
        for side in ("left", "right")
    ]
    component = components(ids.len(), ends[0], ends[1])
    ordered = (
        pl.DataFrame({"id": ids, "component": component})
        .hstack(spaces.order(ids))
        .sort("component", "rank", "number", "id")
    )
    return ordered.select("id", survivor=pl.col("id").first().over("component"))


def components(count: int, left: IntArray | Sequence[int], right: IntArray | Sequence[int]) -> IntArray:
    """Number the connected components of a graph.

    Parameters
    ----------
    count
        How many nodes there are.
    left, right
        Shape (n_edges,): the nodes that each edge joins.

    Returns
    -------
    Shape (count,): the component of each node.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = coo_array((np.ones(len(left), np.int32), (left, right)), shape=(count, count))
    labels: IntArray = connected_components(edges, directed=False)[1].astype(np.int64)
    return labels
