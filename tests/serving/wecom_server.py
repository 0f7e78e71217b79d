"""WeCom's interface as far as tags need it, over real HTTP, with the platform's limits and errors."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, deque
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

CORP_ID, SECRET = "ww0123", "the-application's-secret"
NAME_LENGTH_MAX, TAGS_MAX = 30, 3_000


class WecomServer:
    """What the platform knows, and how it behaves.

    Attributes
    ----------
    shown
        Tag names by (userid, external_userid).
    friends
        Contacts there are; None: all.
    at_once_most
        Calls of one interface at once; more are refused with 45033.
    per_window
        ``mark_tag`` calls in ``window_seconds``; more are refused with 45009.
    token_calls
        After so many calls an access token is over.
    faults
        Error codes that the next calls of an interface answer with; 0 lets one pass.
    delay_seconds
        How long a call takes.
    """

    def __init__(self):
        self.shown, self.friends = {}, None
        self.at_once_most, self.per_window, self.window_seconds = 5, 10_000, 60.0
        self.token_calls, self.delay_seconds = 10**9, 0.0
        self.faults = {}
        self.tags = {}
        self.calls, self.refused = Counter(), Counter()
        self.most_at_once = 0
        self.bodies = []
        self._lock = threading.Lock()
        self._at_once = Counter()
        self._marks = deque()
        self._token, self._token_left, self._tokens = None, 0, 0

    def answer(self, interface, query, body):
        with self._lock:
            self.calls[interface] += 1
            self._at_once[interface] += 1
            self.most_at_once = max(self.most_at_once, self._at_once[interface])
            is_crowded = self._at_once[interface] > self.at_once_most
        try:
            if self.delay_seconds:
                time.sleep(self.delay_seconds)  # the platform's own time
            with self._lock:
                reply = self._answered(interface, query, body, is_crowded)
        finally:
            with self._lock:
                self._at_once[interface] -= 1
        if reply.get("errcode"):
            self.refused[reply["errcode"]] += 1
        return {"errcode": 0, "errmsg": "ok"} | reply

    def _answered(self, interface, query, body, is_crowded):
        if fault := (self.faults.get(interface) or [0]).pop(0):
            return {"errcode": fault}
        if interface == "gettoken":
            return self._gettoken(query)
        if is_crowded:
            return {"errcode": 45033}
        if query.get("access_token") != self._token:
            return {"errcode": 40014}
        self._token_left -= 1
        if self._token_left < 0:
            self._token = None
            return {"errcode": 42001}
        return getattr(self, f"_{interface}")(body)

    def _gettoken(self, query):
        if (query.get("corpid"), query.get("corpsecret")) != (CORP_ID, SECRET):
            return {"errcode": 40001}
        self._tokens += 1
        self._token, self._token_left = f"token-{self._tokens}", self.token_calls
        return {"access_token": self._token, "expires_in": 7200}

    def _mark_tag(self, body):
        now = time.monotonic()
        while self._marks and self._marks[0] <= now - self.window_seconds:
            self._marks.popleft()
        if len(self._marks) >= self.per_window:
            return {"errcode": 45009}
        self._marks.append(now)
        self.bodies.append(body)
        contact = body["userid"], body["external_userid"]
        if not body["add_tag"] and not body["remove_tag"]:
            return {"errcode": 40035}
        if self.friends is not None and contact not in self.friends:
            return {"errcode": 84061}
        names = {tag_id: name for (_, name), tag_id in self.tags.items()}
        if not {*body["add_tag"], *body["remove_tag"]} <= set(names):
            return {"errcode": 40068}
        mine = self.shown.setdefault(contact, set())
        mine |= {names[one] for one in body["add_tag"]}
        mine -= {names[one] for one in body["remove_tag"]}
        return {"errcode": 45059} if len(mine) > TAGS_MAX else {}

    def _add_corp_tag(self, body):
        group, names = body["group_name"], [one["name"] for one in body["tag"]]
        if not names or any(not 1 <= len(name) <= NAME_LENGTH_MAX for name in [group, *names]):
            return {"errcode": 40058}
        if any((group, name) in self.tags for name in names) or len(set(names)) < len(names):
            return {"errcode": 40071}
        for name in names:
            self.tags[group, name] = f"et{len(self.tags):04}"
        return {"tag_group": self._group(group)}

    def _get_corp_tag_list(self, body):
        return {"tag_group": [self._group(one) for one in sorted({group for group, _ in self.tags})]}

    def _group(self, group):
        tags = [{"id": one, "name": name} for (of, name), one in self.tags.items() if of == group]
        return {"group_id": f"eg{group}", "group_name": group, "tag": tags}


def _handler(wecom):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _respond(self, body):
            url = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            reply = json.dumps(wecom.answer(url.path.rsplit("/", 1)[-1], query, body)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def do_GET(self):
            self._respond(None)

        def do_POST(self):
            self._respond(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def log_message(self, *_):
            """Say nothing."""

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


@contextmanager
def wecom_server():
    """Run a platform; yield it and the address of its interface."""
    wecom = WecomServer()
    server = _Server(("127.0.0.1", 0), _handler(wecom))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield wecom, f"http://127.0.0.1:{server.server_port}/cgi-bin"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
