"""A receiver of messages on a port of its own, which answers as it is told."""

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = "a-secret-for-tests-only"


@dataclass(frozen=True)
class Got:
    body: bytes
    key: str
    signature: str
    path: str

    @property
    def content(self):
        return json.loads(self.body)


class Receiver:
    """Keeps what it took, in order; ``answer`` returns a status for a message, or (status, headers)."""

    def __init__(self, port=0):
        self.taken = []
        self.refused = []
        self.answer = lambda got: 204
        self.changed = threading.Condition()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                got = Got(
                    body, self.headers["x-tagtide-delivery"], self.headers["x-tagtide-signature"], self.path
                )
                answered = outer.answer(got)
                status, headers = answered if isinstance(answered, tuple) else (answered, {})
                with outer.changed:
                    (outer.taken if status < 300 else outer.refused).append(got)
                    outer.changed.notify_all()
                self.send_response(status)
                for name, value in {"content-length": "0", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                """A sender that hangs up is no error of the test."""

        self.server = Server(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        self.thread = threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self.thread.start()

    def wait_until(self, holds, seconds=20):
        with self.changed:
            assert self.changed.wait_for(holds, seconds), (
                f"taken {len(self.taken)}, refused {len(self.refused)}"
            )

    def wait_for(self, count, seconds=20):
        self.wait_until(lambda: len(self.taken) >= count, seconds)
        return [got.content for got in self.taken]

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@contextmanager
def receiving(port=0):
    receiver = Receiver(port)
    try:
        yield receiver
    finally:
        receiver.close()
