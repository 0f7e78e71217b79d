"""Who may ask, from where, and what every reply tells a browser."""

from __future__ import annotations

import hmac
import ipaddress
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import SecretStr

from configs.errors import ConfigError
from serving.errors import Forbidden, ServingError, TokenError, Unauthorized
from serving.tokens import Scope, Token, TokenFile, digest_of, includes

logger = logging.getLogger(__name__)

LOOK_EVERY_SECONDS = 1.0
"""How often, at most, the file of tokens is looked at: so soon a revoked one opens nothing any more."""

OF_ENVIRONMENT = "environment"
"""What the tokens of `TAGTIDE_API_TOKEN` are called."""

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


@dataclass(frozen=True)
class Caller:
    """Whose bearer token a request carries.

    Attributes
    ----------
    name
        The token's.
    scope
        What it is good for.
    """

    name: str
    scope: Scope

    def require(self, needed: Scope) -> None:
        """Refuse what the token is not good for.

        Raises
        ------
        Forbidden
            If its scope does not hold the one needed.
        """
        if not includes(self.scope, needed):
            raise Forbidden(f"this needs a token of scope `{needed}`; the one given has `{self.scope}`")


class BearerAuth:
    """Knows the bearer tokens in force: those of the environment, and those of the home as they change.

    Parameters
    ----------
    api_token
        One token of scope ``admin``, or several separated by commas.
    tokens
        Of the home; read anew, a look a second at most, when the file changes. If it can no longer be read,
        what was read last stays in force.
    now
        The present.
    monotonic
        Seconds that only grow.

    Raises
    ------
    ConfigError
        If there is none, or one of the environment that could be guessed.
    TokenError
        If the file is damaged.
    """

    def __init__(
        self,
        api_token: SecretStr | None,
        tokens: TokenFile | None = None,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = tokens
        self._now = now
        self._monotonic = monotonic
        self._fixed = [
            Token(OF_ENVIRONMENT, "admin", digest_of(one), now()) for one in _of_environment(api_token)
        ]
        self._version: tuple[int, ...] = ()
        self._of_home: list[Token] = []
        if tokens is not None:
            self._version, self._of_home = tokens.version(), tokens.read()
        self._looked_at = monotonic()
        self.problem = ""
        """Why the tokens of the home are not as the file says, or an empty string."""
        if not self._fixed and not any(one.is_valid(now()) for one in self._of_home):
            raise ConfigError(
                "no bearer token is set: neither TAGTIDE_API_TOKEN nor one of the home",
                f"`tagtide tokens add NAME`, or {HOW_TO_MAKE_ONE}",
            )

    def check(self, headers: Iterable[tuple[bytes, bytes]]) -> Caller:
        """Return whose token a request carries, in time that does not depend on how wrong it is.

        Raises
        ------
        Unauthorized
            If the header is missing or malformed, or the token is wrong or has expired.
        """
        values = [value for name, value in headers if name == b"authorization"]
        if len(values) != 1:
            raise Unauthorized("expected one header Authorization: Bearer TOKEN")
        scheme, _, given = values[0].partition(b" ")
        if scheme.lower() != b"bearer":
            raise Unauthorized("expected the header Authorization: Bearer TOKEN")
        self._follow()
        digest = digest_of(given.strip())
        found = None
        for token in (*self._fixed, *self._of_home):
            if hmac.compare_digest(digest, token.digest):
                found = token
        if found is None or not found.is_valid(self._now()):
            raise Unauthorized("the bearer token is wrong or no longer valid")
        return Caller(found.name, found.scope)

    def _follow(self) -> None:
        moment = self._monotonic()
        if self._file is None or moment - self._looked_at < LOOK_EVERY_SECONDS:
            return
        self._looked_at = moment
        try:
            version = self._file.version()
            if version != self._version:
                self._of_home, self._version = self._file.read(), version
            self.problem = ""
        except TokenError as error:
            if not self.problem:
                logger.error("the bearer tokens as read last stay in force: %s", error.message)
            self.problem = "the file of tokens cannot be read; those read last stay in force"


def _of_environment(api_token: SecretStr | None) -> list[bytes]:
    text = "" if api_token is None else api_token.get_secret_value()
    tokens = [token.strip() for token in text.split(",") if token.strip()]
    if any(len(token) < TOKEN_CHARACTERS_MIN or not token.isascii() for token in tokens):
        raise ConfigError(
            f"TAGTIDE_API_TOKEN: expected at least {TOKEN_CHARACTERS_MIN} ASCII characters",
            HOW_TO_MAKE_ONE,
        )
    return [token.encode() for token in tokens]


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
