"""Signatures, against the standard library's own words; and what a sender makes of replies."""

import hashlib
import hmac
import re
import socket
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import ConfigError
from configs.home import open_home
from serving.webhooks import Sender, sign, verify, webhook_of
from tests.serving.parts import settings_of
from tests.serving.receiver import SECRET, receiving


def webhook(tmp_path, **changes):
    return webhook_of(settings_of(open_home(tmp_path / "home", create=True), **changes))


def test_a_signature_is_the_hmac_of_time_and_body():
    expected = hmac.new(b"s" * 16, b"1700000000." + b'{"a":1}', hashlib.sha256).hexdigest()
    assert sign(["s" * 16], b'{"a":1}', 1_700_000_000) == f"t=1700000000,v1={expected}"


@given(st.binary(), st.binary(), st.integers(0, 10**10), st.integers(-1000, 1000))
def test_only_the_very_body_signed_just_now_is_accepted(body, other, at, later):
    header = sign([SECRET], body, at)
    assert verify(SECRET, body, header, at + later) == (abs(later) <= 300)
    assert verify(SECRET, other, header, at) == (other == body)
    assert not verify(SECRET + "x", body, header, at)
    assert not verify(SECRET, body, header.replace(f"t={at}", f"t={at + 1}"), at)


@given(st.text())
def test_no_header_is_too_strange_to_be_refused(header):
    assert not verify(SECRET, b"{}", header, 0)


def test_while_a_secret_is_changed_receivers_accept_either():
    header = sign(["old" * 6, "new" * 6], b"{}", 5)
    assert verify("old" * 6, b"{}", header, 5)
    assert verify("new" * 6, b"{}", header, 5)
    assert not verify("odd" * 6, b"{}", header, 5)


def test_no_receiver_is_named_by_default(tmp_path):
    assert webhook(tmp_path) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"webhook_url": "ftp://host/x", "webhook_secret": SECRET}, "TAGTIDE_WEBHOOK_URL is no address"),
        ({"webhook_url": "http://:80/x", "webhook_secret": SECRET}, "TAGTIDE_WEBHOOK_URL is no address"),
        ({"webhook_url": "http://me:hidden@host/", "webhook_secret": SECRET}, "TAGTIDE_WEBHOOK_URL is no"),
        ({"webhook_url": "http://host:99999/", "webhook_secret": SECRET}, "TAGTIDE_WEBHOOK_URL is no"),
        ({"webhook_url": "http://host/"}, "TAGTIDE_WEBHOOK_SECRET: expected at least 16"),
        ({"webhook_url": "http://host/", "webhook_secret": f"{SECRET},short"}, "TAGTIDE_WEBHOOK_SECRET"),
    ],
)
def test_a_receiver_that_is_none_is_refused_without_showing_it(tmp_path, changes, said):
    with pytest.raises(ConfigError, match=said) as caught:
        webhook(tmp_path, **changes)
    assert "hidden" not in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.fixture
def receiver():
    with receiving() as made:
        yield made


@pytest.fixture
def sender(tmp_path, receiver):
    made = Sender(webhook(tmp_path, webhook_url=f"{receiver.url}?to=1", webhook_secret=SECRET))
    yield made
    made.close()


def test_a_message_arrives_signed_under_its_key(sender, receiver):
    assert sender.post("k1", b'{"a":1}', 1_700_000_000).problem == ""
    (got,) = receiver.taken
    assert (got.body, got.key, got.path) == (b'{"a":1}', "k1", "/hook?to=1")
    assert verify(SECRET, got.body, got.signature, 1_700_000_000)


@pytest.mark.parametrize("status", [301, 400, 404, 429, 500])
def test_only_a_success_counts_as_taken(sender, receiver, status):
    receiver.answer = lambda got: (status, {"retry-after": "7", "location": receiver.url})
    reply = sender.post("k1", b"{}", 5)
    assert reply.problem == f"HTTP {status}"
    assert reply.retry_after_seconds == 7
    assert receiver.taken == []


def test_an_idle_connection_that_the_receiver_closed_is_made_anew(sender, receiver):
    receiver.answer = lambda got: (204, {"connection": "close"})
    assert [sender.post("k1", b"{}", 5).problem for _ in range(3)] == ["", "", ""]
    assert len(receiver.taken) == 3


def test_a_receiver_that_is_not_there_is_a_problem_and_no_exception(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
    sender = Sender(webhook(tmp_path, webhook_url=url, webhook_secret=SECRET))
    assert sender.post("k1", b"{}", 5).problem == "Connection refused"


def test_a_receiver_that_never_answers_is_given_up_in_time(tmp_path):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        sender = Sender(webhook(tmp_path, webhook_url=url, webhook_secret=SECRET, webhook_timeout_seconds=1))
        began = time.monotonic()
        assert sender.post("k1", b"{}", 5).problem == "no reply in time"
        assert time.monotonic() - began < 5
        sender.close()


def test_the_check_that_the_documents_show_agrees_with_ours():
    page = (Path(__file__).parents[2] / "docs" / "triggers.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names = {}
    exec(compile(shown, "triggers.md", "exec"), names)  # noqa: S102 - our own document
    header = sign(["new" * 6, SECRET], b'{"a": 1}', 1_700_000_000)
    for now in (1_700_000_000, 1_700_000_301):
        for secret in (SECRET, "odd" * 6):
            for body in (b'{"a": 1}', b'{"a":1}'):
                expected = verify(secret, body, header, now)
                assert names["is_from_tagtide"](secret, body, header, now) is expected
    assert names["is_from_tagtide"](SECRET, b'{"a": 1}', header, 1_700_000_000)
    assert not names["is_from_tagtide"](SECRET, b"{}", "v1=5", 0)
