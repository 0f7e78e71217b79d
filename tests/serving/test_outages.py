import pytest

from features.errors import ConsentError, EventLogError, FeatureStoreError
from monitoring.errors import AuditError, LedgerError
from serving.errors import KeptRepliesError, OutboxError, RemovalsError, TriggerError
from serving.outages import as_outage


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (FeatureStoreError("redis://:secret@host: refused"), "the online store"),
        (EventLogError("disk I/O error in /srv/home/tagtide.db"), "the event log"),
        (LedgerError("no"), "the ledger"),
        (KeptRepliesError("disk full: /srv"), "the store of kept replies"),
        (ConsentError("no"), "the register of consent"),
        (AuditError("no"), "the audit log"),
        (OutboxError("no"), "the outbox"),
        (RemovalsError("no"), "the list of WeCom removals"),
        (TriggerError("no"), "the list of pending triggers"),
    ],
)
def test_the_part_is_named_and_nothing_from_its_inside(error, named):
    outage = as_outage(error)
    assert outage.status == 503
    assert outage.message.startswith(f"{named} does not answer")
    assert "secret" not in outage.message
    assert "/srv" not in outage.message
    assert int(outage.headers["retry-after"]) > 0


def test_a_defect_is_no_outage():
    assert as_outage(KeyError("x")) is None
