"""Where each customer's tags stand, packed in the online store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from features.life_cycle import LIFE_MAX_US, TagRecord
from features.packed_store import PackedRow, PackedStore

CUSTOMER_TAGS = "customer_tags"

SETTLED_MARK = "tags_settled_us"
"""Progress mark: whatever the ledger holds of the time before it is in the store too."""

KEPT_US = LIFE_MAX_US + 24 * 3600 * 1_000_000
"""A row written longer ago holds nothing that is live or bars a claim, microseconds."""

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
        changed: Mapping[str, Mapping[str, TagRecord]],
        now_us: int,
        mark: tuple[str, int] | None,
    ) -> None:
        """Replace customers' records as of ``now_us``, and set a progress mark with them.

        They replace what is as of a later instant too, where `look_ahead` found it: before the service was
        started anew its machine's clock may have been ahead.
        """
        stored = self._later_us(changed, now_us)
        rows = [
            PackedRow(customer, stored.get(customer, now_us), _encode(list(records.values())))
            for customer, records in changed.items()
        ]
        if rows or mark is not None:
            self._store.put_many(CUSTOMER_TAGS, rows, mark)

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

    def carriers(self, since_us: int) -> Iterator[str]:
        """Iterate over the customers who may have carried a tag at ``since_us`` or later."""
        return self._store.keys(CUSTOMER_TAGS, newer_than_us=since_us - KEPT_US)

    def count(self) -> int:
        """Count the customers with stored records."""
        return self._store.count(CUSTOMER_TAGS)
