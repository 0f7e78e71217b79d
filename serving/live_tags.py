"""Where each customer's tags stand, packed in the online store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

import msgspec

from features.life_cycle import LIFE_MAX_US, TagRecord
from features.packed_store import PackedRow, PackedStore
from serving.carriers import Carriers, Records

CUSTOMER_TAGS = "customer_tags"

SETTLED_MARK = "tags_settled_us"
"""Progress mark: whatever the ledger holds of the time before it is in the store too."""

KEPT_US = LIFE_MAX_US + 24 * 3600 * 1_000_000
"""A row written longer ago holds nothing that is live or bars a claim, microseconds."""

READ_AT_ONCE = 1_000
PAGE_ROUNDS = 20
"""How often a page is filled up where the index holds customers too many, before it is given out short."""

_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(list[TagRecord])


class LiveTags:
    """Tag records by customer. Safe to share between threads; one thread at a time may write.

    Parameters
    ----------
    store
        The online store.
    """

    def __init__(self, store: PackedStore) -> None:
        self._store = store
        self._later: frozenset[str] = frozenset()
        self._carriers = Carriers(store)

    def read(self, customers: Sequence[str], now_us: int) -> dict[str, dict[str, TagRecord]]:
        """Return every stored record, dead ones included, by customer and tag id."""
        rows = self._store.get_many(CUSTOMER_TAGS, customers, now_us=now_us, ttl_us=None)
        return {
            customer: {record.evidence.tag_id: record for record in _decoder.decode(row.value)}
            for customer, row in rows.items()
        }

    def live(self, customers: Sequence[str], now_us: int) -> dict[str, list[TagRecord]]:
        """Return the tags that hold at ``now_us``, most probable first; a customer without one is missing."""
        found = {}
        for customer, records in self.read(customers, now_us).items():
            live = [record for record in records.values() if record.is_live(now_us)]
            if live:
                live.sort(
                    key=lambda record: (-record.evidence.probability_if_observed, record.evidence.tag_id)
                )
                found[customer] = live
        return found

    def write(
        self,
        changed: Mapping[str, Records],
        now_us: int,
        mark: tuple[str, int] | None,
        before: Mapping[str, Records] | None = None,
    ) -> None:
        """Replace customers' records as of ``now_us``, and set a progress mark with them.

        They replace what is as of a later instant too, where `look_ahead` found it: before the service was
        started anew its machine's clock may have been ahead.

        Parameters
        ----------
        before
            The records replaced, by customer, so that the index of carriers loses those that are gone.
        """
        stored = self._later_us(changed, now_us)
        known = {customer: (before or {}).get(customer, {}) for customer in changed}
        self._carriers.add(known, changed)
        rows = [
            PackedRow(customer, stored.get(customer, now_us), _encode(list(records.values())))
            for customer, records in changed.items()
        ]
        if rows or mark is not None:
            self._store.put_many(CUSTOMER_TAGS, rows, mark)
        self._carriers.drop(known, changed)

    def look_ahead(self, now_us: int) -> None:
        """Find what is stored as of a later instant than the first one that will be written now."""
        self._later = frozenset(self._store.keys(CUSTOMER_TAGS, newer_than_us=now_us))

    def _later_us(self, customers: Iterable[str], now_us: int) -> dict[str, int]:
        found = [customer for customer in customers if customer in self._later]
        rows = self._store.get_many(CUSTOMER_TAGS, found, now_us=now_us, ttl_us=None) if found else {}
        return {customer: row.event_us for customer, row in rows.items() if row.event_us > now_us}

    def settle(self, now_us: int) -> None:
        """Note that everything claimed before ``now_us`` is stored."""
        self._store.put_mark(SETTLED_MARK, now_us)

    def settled_us(self) -> int | None:
        """Return the instant noted last, or None."""
        return self._store.mark(SETTLED_MARK)

    def complete_index(self, now_us: int) -> None:
        """Make the index of carriers of a store that is older than it."""
        if self._carriers.is_complete():
            return
        customers = self.carriers(now_us)
        lots = iter(lambda: list(islice(customers, READ_AT_ONCE)), [])
        self._carriers.complete(self.read(some, now_us) for some in lots)

    def who(
        self, tag_id: str, *, after: str, limit: int, now_us: int
    ) -> tuple[list[tuple[str, TagRecord]], str | None]:
        """Return who carries a tag at ``now_us``, in the order of their ids.

        Whoever carries it throughout is seen exactly once by whoever goes on from ``after`` to ``after``,
        whatever is written meanwhile.

        Parameters
        ----------
        after
            Only customers behind this id; the empty text is before all.
        limit
            At most so many customers, > 0.

        Returns
        -------
        Customers with their records, and the id to go on behind, or None where there are no more.
        """
        found: list[tuple[str, TagRecord]] = []
        behind: str | None = after
        for _ in range(PAGE_ROUNDS):
            if behind is None or len(found) == limit:
                break
            page = self._carriers.page(tag_id, after=behind, limit=limit - len(found), now_us=now_us)
            records = self.read(page.customers, now_us)
            mine = ((customer, records.get(customer, {}).get(tag_id)) for customer in page.customers)
            found += [(one, record) for one, record in mine if record is not None and record.is_live(now_us)]
            behind = page.next_after
        return found, behind

    def tag_ids(self) -> list[str]:
        """Return the tags that somebody carries or carried lately."""
        return self._carriers.tag_ids()

    def count_carriers(self, tag_id: str, now_us: int) -> int:
        """Count who carries a tag; after a crash some too many, until they expire."""
        return self._carriers.count(tag_id, now_us)

    def prune(self, now_us: int) -> None:
        """Clear away what no sweep asks for any more: every expiry in it is written down."""
        self._store.prune(CUSTOMER_TAGS, now_us - KEPT_US)
        self._carriers.prune(now_us, KEPT_US)

    def carriers(self, since_us: int) -> Iterator[str]:
        """Iterate over the customers who may have carried a tag at ``since_us`` or later."""
        return self._store.keys(CUSTOMER_TAGS, newer_than_us=since_us - KEPT_US)

    def count(self) -> int:
        """Count the customers with stored records."""
        return self._store.count(CUSTOMER_TAGS)
