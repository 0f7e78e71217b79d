"""kill -9 in mid-stream: of every change of a tag in the ledger the receiver hears at least once."""

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from serving.clock import WallClock
from tests.reliability.service import services, until
from tests.reliability.stream import Senders, settled
from tests.serving.parts import Parts


class Receiver(ThreadingHTTPServer):
    """Writes down what is posted, by its idempotency key; every fifth post it loses after writing it down."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.bodies, self.times = {}, Counter()
        self.url = f"http://127.0.0.1:{self.server_port}/hook"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        key = self.headers["x-tagtide-delivery"]
        with self.server.lock:
            self.server.times[key] += 1
            same = self.server.bodies.setdefault(key, body)
            is_lost = sum(self.server.times.values()) % 5 == 0
        self.send_response(500 if is_lost or same != body else 200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver():
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def heard(receiver):
    """Return (customer, tag, state) of every change that arrived."""
    told = [json.loads(body) for body in list(receiver.bodies.values())]
    return {
        (one["customer_id"], one["tag_id"], one["to_state"]) for one in told if one["type"] == "tag.changed"
    }


def test_every_change_in_the_ledger_is_heard_of_however_often_the_sender_dies(home, receiver):
    settings = {"TAGTIDE_WEBHOOK_URL": receiver.url, "TAGTIDE_WEBHOOK_SECRET": "s" * 40}
    with services(home, 2, settings=settings) as pair:
        senders = Senders([one.url for one in pair])
        until(senders.have_acknowledged(60), 60)
        leading, other = pair if pair[0].is_leading() else pair[::-1]
        leading.kill()
        until(other.is_leading, 60)
        until(senders.have_acknowledged(60), 60)
        other.kill()
        leading.start()
        until(senders.have_acknowledged(60), 60)
        senders.stop()
        parts = Parts(home, clock=WallClock())
        try:
            until(lambda: settled(parts), 60)
            steps = parts.ledger.read_transitions().select("customer_id", "tag_id", "to_state").rows()
            assert steps
            until(lambda: set(steps) <= heard(receiver), 60)
            assert heard(receiver) == set(steps)
        finally:
            parts.close()
