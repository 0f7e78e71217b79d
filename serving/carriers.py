"""Who carries a tag: an index from tags to customers, beside the tags in the online store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from features.life_cycle import LIVE_STATES, TagRecord
from features.packed_store import SEPARATOR, PackedRow, PackedStore

TAG_IDS = "tag_ids"
"""View of the tags that somebody carries or carried lately, each until its last expiry."""

INDEXED_MARK = "carriers_indexed"
"""Progress mark: every stored tag is in the index."""

Records = Mapping[str, TagRecord]


class CarrierPage(NamedTuple):
    """Customers behind one another in the index, and the last of them if there are more."""

    customers: list[str]
    next_after: str | None


class Carriers:
    """The index. It may hold customers too many, never too few: whoever reads checks with the tags.

    Each tag has a view of its own, whose rows are as of the tag's expiry, so that what has expired is not
    even looked at, and erasing a customer reaches every view. Rows are written before the tags they are about
    and deleted after them: a crash between the two leaves some too many, until they expire.

    Parameters
    ----------
    store
        The online store.
    """

    def __init__(self, store: PackedStore) -> None:
        self._store = store

    def add(self, before: Mapping[str, Records], after: Mapping[str, Records]) -> None:
        """Take in the tags of customers that are new or live longer than before."""
        written: dict[str, list[PackedRow]] = defaultdict(list)
        latest: dict[str, int] = {}
        for customer, records in after.items():
            known = before.get(customer, {})
            for tag_id, record in records.items():
                if record.state in LIVE_STATES and not _is_as_before(record, known.get(tag_id)):
                    written[view_of(tag_id)].append(PackedRow(customer, record.expires_at_us, b""))
                    latest[tag_id] = max(latest.get(tag_id, 0), record.expires_at_us)
        if written:
            written[TAG_IDS] = [PackedRow(SEPARATOR + tag_id, until, b"") for tag_id, until in latest.items()]
            self._store.change_views(written, {})

    def drop(self, before: Mapping[str, Records], after: Mapping[str, Records]) -> None:
        """Leave out the tags that customers no longer have."""
        removed: dict[str, list[str]] = defaultdict(list)
        for customer, records in before.items():
            left = after.get(customer, {})
            for tag_id, record in records.items():
                is_left = tag_id in left and left[tag_id].state in LIVE_STATES
                if record.state in LIVE_STATES and not is_left:
                    removed[view_of(tag_id)].append(customer)
        if removed:
            self._store.change_views({}, removed)

    def tag_ids(self) -> list[str]:
        """Return the tags that somebody carries or carried lately, in the order of their characters."""
        return sorted(key.removeprefix(SEPARATOR) for key in self._store.keys(TAG_IDS))

    def page(self, tag_id: str, *, after: str, limit: int, now_us: int) -> CarrierPage:
        """Return who may carry a tag, ``limit`` customers behind ``after`` in the order of their ids."""
        found = self._store.page(view_of(tag_id), after=after, limit=limit + 1, newer_than_us=now_us)
        return CarrierPage(found[:limit], found[limit - 1] if len(found) > limit else None)

    def count(self, tag_id: str, now_us: int) -> int:
        """Count a tag's carriers."""
        return self._store.count(view_of(tag_id), newer_than_us=now_us)

    def prune(self, now_us: int, forget_us: int) -> None:
        """Clear away what has expired, and tags whose last expiry was ``forget_us`` ago."""
        for tag_id in self.tag_ids():
            self._store.prune(view_of(tag_id), now_us)
        self._store.prune(TAG_IDS, now_us - forget_us)

    def is_complete(self) -> bool:
        """Tell whether every stored tag was taken in: not so in a store that is older than the index."""
        return self._store.mark(INDEXED_MARK) is not None

    def complete(self, some: Iterable[Mapping[str, Records]]) -> None:
        """Take in everything that is stored, some customers at a time."""
        for records in some:
            self.add({}, records)
        self._store.put_mark(INDEXED_MARK, 1)


def view_of(tag_id: str) -> str:
    """Return the view that a tag's carriers lie in."""
    return f"carriers:{tag_id}"


def _is_as_before(record: TagRecord, known: TagRecord | None) -> bool:
    return known is not None and known.state in LIVE_STATES and known.expires_at_us == record.expires_at_us
