"""What changed at WeCom's customers since somebody last asked, as calls that make it so there."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

import msgspec
import polars as pl

from configs.wecom import WecomConfig
from features.identities import Resolution
from features.identity_log import Identities
from features.tag_names import TagNames
from features.wecom_contacts import Contact, contacts_of
from monitoring.tag_changes import Histories, Moment, TagChanges, live_tags
from serving.paging import as_cursor, bad_cursor, read_cursor
from serving.wecom_removals import WecomRemovals
from serving.wecom_schemas import MarkTag, Skipped, WecomTag

TAGS_MAX = 3_000
"""What WeCom allows a member of staff and a customer."""

START = -1
"""Stands for a batch before all others: nothing was ever sent."""


class Point(msgspec.Struct, frozen=True, array_like=True):
    """How far a follower is: transitions, instant of expiries, lines of the log of links."""

    batch: int
    us: int
    links: int

    @property
    def moment(self) -> Moment:
        """Without the links."""
        return Moment(self.batch, self.us)


class Position(msgspec.Struct, frozen=True, array_like=True):
    """A cursor. In the middle of a span it also says where that ends, and behind whom to go on."""

    since: Point
    removals: int
    until: Point | None = None
    behind: str = ""


@dataclass(frozen=True)
class Diff:
    """One page of changes."""

    bodies: list[MarkTag]
    tags: list[WecomTag]
    skipped: list[Skipped]
    next_cursor: str
    has_more: bool


@dataclass
class _Page:
    bodies: list[MarkTag] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    tags: dict[str, WecomTag] = field(default_factory=dict)


class WecomDiff:
    """Compares what each WeCom contact carried at one moment with what it carries at another.

    Everything is taken from the ledger, so that a reply never says what a later one does not know of. Links
    made or taken back in between count: a contact is compared with the customer it belonged to then.

    Parameters
    ----------
    changes, removals
        Of the ledger's database.
    links
        The log of links; None: nobody is linked.
    names, config
        What tags are called, and whose contact a customer is.
    """

    def __init__(
        self,
        changes: TagChanges,
        removals: WecomRemovals,
        links: Identities | None,
        names: TagNames,
        config: WecomConfig,
    ) -> None:
        self._changes = changes
        self._removals = removals
        self._links = links
        self._names = names
        self._config = config

    def since(self, cursor: str | None, *, limit: int, now_us: int, dry_run: bool = False) -> Diff:
        """Return the changes behind a cursor.

        Parameters
        ----------
        limit
            Most customers looked at.
        now_us
            The present, microseconds since the epoch, UTC.
        dry_run
            Whether what the cursor says was sent is kept all the same.

        Raises
        ------
        InvalidRequest
            If the cursor is none.
        """
        start = Position(Point(START, 0, 0), 0) if cursor is None else read_cursor(cursor, Position)
        span_end = start.until or self._present(max(now_us, start.since.us), start.since.links)
        if start.since.batch > span_end.batch or start.since.links > span_end.links:
            raise bad_cursor(cursor or "")
        page = _Page()
        if not dry_run:
            self._removals.sent(start.removals)
        removals = self._removals.after(start.removals, limit)
        for one in removals:
            self._mark(page, one.contact, added=(), removed=self._sent(one.tag_ids))
        customers = self._affected(start, span_end, limit)
        self._compare(page, customers, start, span_end)
        is_done = len(customers) < limit
        seq = removals[-1].seq if removals else start.removals
        onward = Position(span_end, seq) if is_done else Position(start.since, seq, span_end, customers[-1])
        has_more = not is_done or len(removals) == limit or start.until is not None
        return Diff(page.bodies, list(page.tags.values()), page.skipped, as_cursor(onward), has_more)

    def _present(self, now_us: int, seen_links: int) -> Point:
        # Erasing somebody removes lines: the newest may be older than what was seen before.
        return Point(self._changes.latest_batch(), now_us, max(self._newest_line(), seen_links))

    def _newest_line(self) -> int:
        if self._links is None:
            return 0
        lines = self._links.log()
        return 0 if lines.is_empty() else int(lines["seq"].to_list()[-1])

    def _resolution(self, line: int) -> Resolution:
        if self._links is None:
            return Resolution()
        return self._links.resolution() if line >= self._newest_line() else self._links.resolution_at(line)

    def _affected(self, start: Position, end: Point, limit: int) -> list[str]:
        """Return the first ids, in their order, about which something may have changed."""
        if start.since.batch == START:
            return self._changes.carrying(end.us, behind=start.behind, limit=limit)
        moved = self._changes.changed(start.since.moment, end.moment, behind=start.behind, limit=limit)
        return sorted({*moved, *self._linked(start.since.links, end.links, start.behind)})[:limit]

    def _linked(self, after: int, until: int, behind: str) -> set[str]:
        if self._links is None or after == until:
            return set()
        lines = self._links.log().filter(pl.col("seq") > after, pl.col("seq") <= until)
        return {one for side in ("left", "right") for one in lines[side] if one > behind}

    def _compare(self, page: _Page, customers: Sequence[str], start: Position, end: Point) -> None:
        now = self._resolution(end.links)
        then = now if start.since.batch == START else self._resolution(start.since.links)
        people = dict.fromkeys(now.one(one) for one in customers)
        members = {person: now.members(person) for person in people}
        ids = {one for mine in members.values() for one in mine}
        ids |= {one for person in ids for one in then.members(person)}
        histories = self._changes.histories(ids, min(start.since.us or end.us, end.us))
        for person, mine in members.items():
            contacts, lack = contacts_of(mine, now.spaces, self._config)
            after = self._tags(histories, mine, end.moment)
            if not contacts:
                before = self._before(histories, mine, then, start)
                if before != after and lack is not None:
                    page.skipped.append(Skipped(person, lack))
                continue
            if len(after) > TAGS_MAX:
                page.skipped.append(Skipped(person, "too_many_tags"))
            for contact in contacts:
                was = _first(self._before(histories, self._belonged(contact, mine, then), then, start))
                self._mark(page, contact, added=_first(after) - was, removed=was - _first(after))

    def _belonged(self, contact: Contact, members: Sequence[str], then: Resolution) -> tuple[str, ...]:
        """Return the ids of the customer whom a contact belonged to."""
        own = [one for one in members if one.endswith(contact.external_userid)]
        return then.members(own[0] if own else members[0])

    def _before(
        self, histories: Histories, ids: Sequence[str], then: Resolution, start: Position
    ) -> set[str]:
        if start.since.batch == START:
            return set()
        mine = {member for one in ids for member in then.members(one)}
        return self._tags(histories, mine, start.since.moment)

    def _tags(self, histories: Histories, ids: Collection[str], at: Moment) -> set[str]:
        return set(self._sent(live_tags(histories, ids, at)))

    def _sent(self, tag_ids: Iterable[str]) -> list[str]:
        return [one for one in tag_ids if self._config.is_sent(one)]

    def _mark(
        self, page: _Page, contact: Contact, *, added: Collection[str], removed: Collection[str]
    ) -> None:
        if added or removed:
            entries = [[self._entry(page, one) for one in sorted(tags)] for tags in (added, removed)]
            page.bodies.append(MarkTag(contact.userid, contact.external_userid, *entries))

    def _entry(self, page: _Page, tag_id: str) -> str:
        wecom_id, name = self._config.tag_ids.get(tag_id), self._names.of(tag_id)
        entry = wecom_id or name
        page.tags[entry] = WecomTag(entry, tag_id, name, self._config.group_of(tag_id), wecom_id)
        return entry


def _first(tag_ids: set[str]) -> set[str]:
    return set(sorted(tag_ids)[:TAGS_MAX]) if len(tag_ids) > TAGS_MAX else tag_ids
