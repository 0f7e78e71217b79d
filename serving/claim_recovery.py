"""After a crash: what the ledger says was claimed and the store of live tags does not know."""

from __future__ import annotations

from typing import Any

import msgspec
import polars as pl

from features.life_cycle import Evidence, TagRecord
from serving.live_tags import LiveTags


def adopt(live_tags: LiveTags, claims: pl.DataFrame, transitions: pl.DataFrame, now_us: int) -> int:
    """Bring the live tags up to what the ledger holds.

    The ledger is written before the store. If the process dies between the two, the claims stand and the tags
    do not know of them: the next evaluation would claim the same once more.

    Parameters
    ----------
    claims, transitions
        What the ledger holds since the store was last written; see `monitoring.ledger.Ledger`.
    now_us
        The instant, microseconds since the epoch, UTC.

    Returns
    -------
    Number of customers whose tags were mended.
    """
    claimed = claims.filter(~pl.col("is_control")).sort("assigned_at_us")
    # A life that ends and another that begins at one instant do so in this order.
    steps = transitions.sort("at_us", pl.col("to_state") != "expired")
    customers = (
        pl.concat([claimed["customer_id"], steps["customer_id"]]).unique(maintain_order=True).to_list()
    )
    stored = live_tags.read(customers, now_us)
    records = {customer: dict(stored.get(customer, {})) for customer in customers}
    for row in claimed.iter_rows(named=True):
        of_customer = records[row["customer_id"]]
        before = of_customer.get(row["tag_id"])
        if before is None or before.claimed_at_us < row["assigned_at_us"]:
            of_customer[row["tag_id"]] = _record(row, before)
    for step in steps.iter_rows(named=True):
        record = records[step["customer_id"]].get(step["tag_id"])
        if record is not None and step["at_us"] >= record.claimed_at_us and step["to_state"] != record.state:
            mended = msgspec.structs.replace(record, state=step["to_state"])
            records[step["customer_id"]][step["tag_id"]] = mended
    changed = {customer: found for customer, found in records.items() if found != stored.get(customer, {})}
    if changed:
        live_tags.write(changed, now_us, None, stored)
    return len(changed)


def _record(claim: dict[str, Any], before: TagRecord | None) -> TagRecord:
    evidence = Evidence(
        tag_id=claim["tag_id"],
        family=claim["family"],
        key=claim["key"],
        probability=claim["probability"],
        probability_if_observed=claim["probability_if_observed"],
        threshold=claim["threshold"],
        certified_precision=claim["certified_precision"],
        certified_lift=claim["certified_lift"],
        model_version=claim["model_version"],
        is_certified=True,
        is_above=True,
        features_hash=claim["features_hash"],
    )
    assigned_at_us = claim["assigned_at_us"]
    if before is not None and claim["kind"] == "renewed":
        assigned_at_us = before.assigned_at_us
    return TagRecord(
        evidence=evidence,
        state=claim["kind"],
        assigned_at_us=assigned_at_us,
        claimed_at_us=claim["assigned_at_us"],
        expires_at_us=claim["expires_at_us"],
    )
