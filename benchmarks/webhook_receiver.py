"""The other end of the webhook: notes what comes and when, and whether it is signed as it should be."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

SIGNATURE, DELIVERY = "X-Tagtide-Signature", "X-Tagtide-Delivery"


@dataclass(frozen=True)
class Delivery:
    """One message.

    Attributes
    ----------
    key
        The same if it is delivered again.
    content
        As parsed.
    received_us
        When it had come, microseconds since the epoch.
    """

    key: str
    content: Mapping[str, Any]
    received_us: int
    is_signed: bool

    @property
    def at_us(self) -> int:
        """The instant the message speaks of; that of its receipt where it names none."""
        said = self.content.get("at")
        return self.received_us if said is None else int(datetime.fromisoformat(str(said)).timestamp() * 1e6)


class Receiver:
    """Listens on loopback within a ``with`` block.

    Parameters
    ----------
    secret
        That messages are to be signed with.

    Attributes
    ----------
    deliveries
        All that came, in order.
    latest
        When the last one came, by the monotonic clock.
    """

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self.deliveries: list[Delivery] = []
        self.latest = time.monotonic()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.note(body, self.headers.get(DELIVERY, ""), self.headers.get(SIGNATURE, ""))
                self.send_response(204)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """Where messages go."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/tagtide"

    def note(self, body: bytes, key: str, signature: str) -> None:
        """Note one message."""
        received_us = int(time.time() * 1e6)
        self.latest = time.monotonic()
        self.deliveries.append(Delivery(key, json.loads(body), received_us, self._is_signed(body, signature)))

    def _is_signed(self, body: bytes, signature: str) -> bool:
        parts = dict(part.partition("=")[::2] for part in signature.split(","))
        signed = parts.get("t", "").encode() + b"." + body
        expected = hmac.new(self.secret.encode(), signed, hashlib.sha256).hexdigest()
        return hmac.compare_digest(expected, parts.get("v1", ""))

    def __enter__(self) -> Self:
        """Begin to listen."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
