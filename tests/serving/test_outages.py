import pytest

from features.errors import EventLogError, FeatureStoreError
from monitoring.errors import LedgerError
from serving.outages import as_outage


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (FeatureStoreError("redis://:secret@host: refused"), "the online store"),
        (EventLogError("disk I/O error in /srv/home/tagtide.db"), "the event log"),
        (LedgerError("no"), "the ledger"),
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
