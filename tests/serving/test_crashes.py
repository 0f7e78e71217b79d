"""A real process dies by SIGKILL at a chosen write; after the next start everything counts exactly once."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from features.packed_memory import decode_memory
from features.packed_store import CUSTOMER_MEMORY
from serving.live_tags import LiveTags
from serving.stream import STREAM_MARK
from serving.tag_queue import TAGGED_MARK
from tests.serving.parts import Parts
from tests.serving.run_writer import CUSTOMERS, POSTS, ROWS

ROOT = Path(__file__).resolve().parents[2]


def run(home, where, number):
    command = [sys.executable, "-m", "tests.serving.run_writer", str(home.root), where, str(number)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    counts = [tuple(map(int, line.split())) for line in ended.stdout.splitlines()]
    return ended.returncode, counts, ended.stderr


@pytest.mark.parametrize(("where", "number"), [("memory", 4), ("claims", 2), ("tags", 2)])
def test_after_a_death_every_event_and_every_claim_counts_once(home, where, number):
    code, acknowledged, said = run(home, where, number)
    assert code == -signal.SIGKILL, said
    assert len(acknowledged) < POSTS
    stored = sum(accepted for accepted, _ in acknowledged)

    code, again, said = run(home, "nowhere", 0)
    assert code == 0, said
    assert sum(accepted + duplicates for accepted, duplicates in again) == POSTS * ROWS
    assert sum(duplicates for _, duplicates in again) >= stored

    parts = Parts(home)
    names = [f"c{number}" for number in range(CUSTOMERS)]
    rows = parts.store.get_many(CUSTOMER_MEMORY, names, now_us=0, ttl_us=None)
    keys = [key for row in rows.values() for key in decode_memory(row.value).event_key]
    stored_rows = parts.log.read_after(0, 1000)
    assert len(keys) == len(set(keys)) == POSTS * ROWS == stored_rows.height
    last = stored_rows["seq"].to_list()[-1]
    assert parts.store.mark(STREAM_MARK) == parts.store.mark(TAGGED_MARK) == last
    claims = parts.claims()
    claimed = sorted(claims.select("customer_id", "tag_id").rows())
    expected = sorted((name, f"interest:K{kind}") for name in names for kind in range(3))
    assert claimed == expected
    assert parts.ledger.read_transitions().height == len(expected)
    now_us = int(claims["assigned_at_us"].to_numpy().max())
    live = LiveTags(parts.store).live(names, now_us)
    assert sorted((name, one.evidence.tag_id) for name, found in live.items() for one in found) == expected
    parts.close()
