"""Messages go out by HTTP, signed so that the receiver knows whose they are and when they were sent."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import re
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from configs.errors import ConfigError
from configs.settings import Settings

SIGNATURE = "X-Tagtide-Signature"
DELIVERY = "X-Tagtide-Delivery"

TOLERANCE_SECONDS = 300
"""A signature whose time is further from the receiver's clock is refused: somebody may be replaying it."""

SECRET_CHARACTERS_MIN = 16

PLAIN = re.compile(r"[!-~]+")
"""What host and path consist of: ASCII, percent-encoded where it is not."""

REPLY_BYTES_MAX = 64 * 1024
"""More of a receiver's reply is not read; the connection is closed instead."""


@dataclass(frozen=True)
class Reply:
    """What the receiver said.

    Attributes
    ----------
    problem
        Why the message was not taken; empty: it was.
    retry_after_seconds
        When the receiver asked to come back, where it did.
    """

    problem: str = ""
    retry_after_seconds: float | None = None


def sign(secrets: Sequence[str], body: bytes, at_seconds: int) -> str:
    """Return the signature header: the time, and an HMAC-SHA256 of time and body for each secret.

    >>> sign(["a" * 16], b"{}", 5).partition(",")[0]
    't=5'
    """
    signed = b"%d." % at_seconds + body
    digests = [hmac.digest(secret.encode(), signed, "sha256").hex() for secret in secrets]
    return ",".join([f"t={at_seconds}", *(f"v1={digest}" for digest in digests)])


def verify(
    secret: str, body: bytes, header: str, now_seconds: float, tolerance_seconds: float = TOLERANCE_SECONDS
) -> bool:
    """Tell whether a signature header was made with a secret, for this body, just now.

    Parameters
    ----------
    body
        As it came, before anything parsed it.
    now_seconds
        The receiver's present, Unix seconds.

    >>> header = sign(["a" * 16], b"{}", 1_700_000_000)
    >>> verify("a" * 16, b"{}", header, 1_700_000_010), verify("a" * 16, b"{ }", header, 1_700_000_010)
    (True, False)
    """
    parts = [part.partition("=") for part in header.split(",")]
    times = [value for name, _, value in parts if name == "t"]
    if len(times) != 1 or not (times[0].isascii() and times[0].isdigit()):
        return False
    if abs(now_seconds - int(times[0])) > tolerance_seconds:
        return False
    signed = times[0].encode() + b"." + body
    expected = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    given = [value for name, _, value in parts if name == "v1"]
    matches = [hmac.compare_digest(expected.encode(), one.encode()) for one in given]
    return any(matches)


@dataclass(frozen=True)
class Webhook:
    """Where messages go and what signs them."""

    scheme: str
    host: str
    port: int
    target: str
    secrets: tuple[str, ...]
    timeout_seconds: float

    def __repr__(self) -> str:
        """Show no secret: the address may hold one too."""
        return f"Webhook({self.scheme}://{self.host}:{self.port})"


def webhook_of(settings: Settings) -> Webhook | None:
    """Return the receiver that the settings name; None: they name none.

    Raises
    ------
    ConfigError
        If the address is none, or there is nothing to sign with. Neither is shown.
    """
    if settings.webhook_url is None:
        return None
    expected = "expected http://HOST[:PORT]/PATH or https://…, without user and password"
    try:
        parts = urlsplit(settings.webhook_url.get_secret_value())
        port = parts.port
    except ValueError:
        raise ConfigError("TAGTIDE_WEBHOOK_URL is no address", expected) from None
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    is_plain = PLAIN.fullmatch(target) and PLAIN.fullmatch(parts.hostname or "")
    if parts.scheme not in ("http", "https") or not is_plain or parts.username or parts.fragment:
        raise ConfigError("TAGTIDE_WEBHOOK_URL is no address messages can be posted to", expected)
    given = "" if settings.webhook_secret is None else settings.webhook_secret.get_secret_value()
    secrets = tuple(one.strip() for one in given.split(",") if one.strip())
    if not secrets or any(len(one) < SECRET_CHARACTERS_MIN for one in secrets):
        raise ConfigError(
            f"TAGTIDE_WEBHOOK_SECRET: expected at least {SECRET_CHARACTERS_MIN} characters, to sign with",
            "export TAGTIDE_WEBHOOK_SECRET="
            "\"$(python3 -c 'import secrets; print(secrets.token_urlsafe(32))')\"",
        )
    return Webhook(
        parts.scheme,
        parts.hostname or "",
        port or (443 if parts.scheme == "https" else 80),
        target,
        secrets,
        settings.webhook_timeout_seconds,
    )


class Sender:
    """Posts messages over one connection that is kept open. For one thread.

    A message is one write to a socket, its reply is read by the standard library: a general client costs
    several times the CPU. Redirects are not followed; a proxy of the environment is not used.
    """

    def __init__(self, webhook: Webhook) -> None:
        self._webhook = webhook
        self._connection: socket.socket | None = None
        self._tls = ssl.create_default_context() if webhook.scheme == "https" else None
        host = f"[{webhook.host}]" if ":" in webhook.host else webhook.host
        self._head = (
            f"POST {webhook.target} HTTP/1.1\r\nHost: {host}:{webhook.port}\r\n"
            "User-Agent: tagtide\r\nAccept-Encoding: identity\r\nContent-Type: application/json\r\n"
        ).encode("ascii")

    def post(self, key: str, body: bytes, at_seconds: int) -> Reply:
        """Post a message and return what the receiver said; nothing is raised.

        Parameters
        ----------
        key
            Of the message.
        at_seconds
            The present, Unix seconds: it is signed.
        """
        is_new = self._connection is None
        try:
            try:
                return self._exchange(key, body, at_seconds)
            except ConnectionError:
                # The receiver closed a connection it had been idle on; a new one may still be refused.
                if is_new:
                    raise
                self.close()
                return self._exchange(key, body, at_seconds)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            return Reply(_said(error))

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _exchange(self, key: str, body: bytes, at_seconds: int) -> Reply:
        if self._connection is None:
            self._connection = self._connect()
        # In one piece: two would be two packets, and cost twice.
        self._connection.sendall(self._request(key, body, at_seconds))
        response = http.client.HTTPResponse(self._connection, method="POST")
        try:
            response.begin()
            response.read(REPLY_BYTES_MAX)
            if response.will_close or not response.isclosed():
                self.close()
            if 200 <= response.status < 300:
                return Reply()
            return Reply(f"HTTP {response.status}", _seconds(response.getheader("Retry-After")))
        finally:
            response.close()

    def _request(self, key: str, body: bytes, at_seconds: int) -> bytes:
        headers = (
            f"{SIGNATURE}: {sign(self._webhook.secrets, body, at_seconds)}\r\n"
            f"{DELIVERY}: {key}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return self._head + headers.encode("ascii") + body

    def _connect(self) -> socket.socket:
        to = self._webhook
        connection = socket.create_connection((to.host, to.port), to.timeout_seconds)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                return self._tls.wrap_socket(connection, server_hostname=to.host)
        except BaseException:
            connection.close()
            raise
        return connection


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isascii() and text.isdigit() else None


def _said(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no reply in time"
    # The operating system's words; those of the library may hold what was sent.
    return getattr(error, "strerror", None) or type(error).__name__
