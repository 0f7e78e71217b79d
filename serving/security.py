"""Who may ask, from where, and what every reply tells a browser."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Iterable

from pydantic import SecretStr

from configs.errors import ConfigError
from serving.errors import ServingError, Unauthorized

TOKEN_CHARACTERS_MIN = 16
"""A shorter bearer token is refused at the start: it could be guessed."""

HOW_TO_MAKE_ONE = (
    "export TAGTIDE_API_TOKEN=\"$(python3 -c 'import secrets; print(secrets.token_urlsafe(32))')\""
)

HEADERS = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
"""Sent with every reply. The only page has its style inline and loads nothing."""


class BearerAuth:
    """Accepts requests that carry one of the configured bearer tokens.

    Parameters
    ----------
    api_token
        One token, or several separated by commas, so that a token can be changed without a gap.

    Raises
    ------
    ConfigError
        If there is none, or one that could be guessed.
    """

    def __init__(self, api_token: SecretStr | None) -> None:
        text = "" if api_token is None else api_token.get_secret_value()
        tokens = [token.strip() for token in text.split(",") if token.strip()]
        if not tokens:
            raise ConfigError("no bearer token is set: TAGTIDE_API_TOKEN", HOW_TO_MAKE_ONE)
        if any(len(token) < TOKEN_CHARACTERS_MIN or not token.isascii() for token in tokens):
            raise ConfigError(
                f"TAGTIDE_API_TOKEN: expected at least {TOKEN_CHARACTERS_MIN} ASCII characters",
                HOW_TO_MAKE_ONE,
            )
        self._tokens = [token.encode() for token in tokens]

    def check(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Refuse a request without a valid token, in time that does not depend on how wrong it is.

        Raises
        ------
        Unauthorized
            If the header is missing or malformed, or the token is wrong.
        """
        values = [value for name, value in headers if name == b"authorization"]
        if len(values) != 1:
            raise Unauthorized("expected one header Authorization: Bearer TOKEN")
        scheme, _, given = values[0].partition(b" ")
        if scheme.lower() != b"bearer":
            raise Unauthorized("expected the header Authorization: Bearer TOKEN")
        matches = [hmac.compare_digest(given.strip(), token) for token in self._tokens]
        if not any(matches):
            raise Unauthorized("the bearer token is wrong")


def check_host(host: str, *, may_be_reached: bool) -> str:
    """Return the IP address to listen on, refusing one that others can reach unless that is wanted.

    Parameters
    ----------
    host
        An IP address, or ``localhost``.
    may_be_reached
        Whether the operator said that other machines may reach the service.

    Raises
    ------
    ServingError
        If it is no address, or can be reached from elsewhere.

    >>> check_host("localhost", may_be_reached=False)
    '127.0.0.1'
    """
    address = "127.0.0.1" if host == "localhost" else host
    try:
        is_loopback = ipaddress.ip_address(address).is_loopback
    except ValueError:
        raise ServingError(
            f"host {host!r} is no IP address", "use 127.0.0.1, or the address of an interface"
        ) from None
    if not is_loopback and not may_be_reached:
        raise ServingError(
            f"host {host!r} can be reached from other machines, and the service speaks plain HTTP",
            "put a TLS proxy in front and add --public, or use 127.0.0.1",
        )
    return address
