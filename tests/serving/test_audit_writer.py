import threading

from monitoring.audit import Entry
from monitoring.errors import AuditError
from serving.audit_writer import AuditWriter


class Kept:
    """Takes lines, or refuses while it is told to."""

    def __init__(self):
        self.lines = []
        self.fails = False
        self.came = threading.Event()

    def append(self, entries):
        if self.fails:
            raise AuditError("the disk is full")
        self.lines += entries
        self.came.set()


def entry(number):
    return Entry(number, "scrm", "read", "get_customer")


def test_entries_are_written_by_a_thread_of_its_own_and_the_rest_at_the_end():
    kept = Kept()
    writer = AuditWriter(kept, every_seconds=0.01)
    writer.start()
    writer.record(entry(1))
    assert kept.came.wait(10)
    writer.record(entry(2))
    writer.stop()
    assert [one.at_us for one in kept.lines] == [1, 2]


def test_what_the_database_refuses_waits_and_is_reported():
    kept = Kept()
    writer = AuditWriter(kept)
    kept.fails = True
    writer.record(entry(1))
    writer.flush()
    writer.record(entry(2))
    writer.flush()
    assert (kept.lines, writer.problem) == ([], "the last write failed: AuditError")
    kept.fails = False
    writer.flush()
    assert ([one.at_us for one in kept.lines], writer.problem) == ([1, 2], "")


def test_what_finds_no_room_is_counted_and_the_count_written_down():
    kept = Kept()
    writer = AuditWriter(kept, waiting_max=2)
    for number in range(5):
        writer.record(entry(number))
    kept.fails = True
    writer.flush()
    kept.fails = False
    writer.flush()
    assert [one.at_us for one in kept.lines[:2]] == [0, 1]
    (lost,) = kept.lines[2:]
    assert (lost.who, lost.what, lost.customers) == ("service", "lost", 3)
    writer.flush()
    assert len(kept.lines) == 3
