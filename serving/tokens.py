"""Bearer tokens of a home: named, scoped, hashed at rest, changed without a restart."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from configs.errors import did_you_mean
from features.file_lock import exclusive
from serving.errors import TokenError

Scope = Literal["read", "write", "admin"]
"""What a bearer token may be good for: asking, posting too, or everything."""

RANK: Mapping[str, int] = {"read": 0, "write": 1, "admin": 2}
"""A scope holds whatever a lower one does."""

PREFIX = "tt_"
"""Every token of a home begins so: a leaked one can be searched for."""

TOKEN_BYTES = 32
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
RESERVED_NAMES = frozenset({"cli", "environment", "service"})
"""What the audit log calls the command line, the token of the environment and the service itself."""


@dataclass(frozen=True)
class Token:
    """One bearer token as it is kept: its hash, never itself.

    Attributes
    ----------
    digest
        SHA-256 of the token, 64 hexadecimal digits. A token has 256 random bits: nobody guesses it from that.
    expires_at
        It opens nothing at or after this instant; None: it does not expire.
    """

    name: str
    scope: Scope
    digest: str
    created_at: datetime
    expires_at: datetime | None = None

    def is_valid(self, now: datetime) -> bool:
        """Tell whether it opens anything at an instant."""
        return self.expires_at is None or now < self.expires_at


def digest_of(token: bytes) -> str:
    """Return what is kept of a token.

    >>> digest_of(b"tt_a")[:8]
    'c309469e'
    """
    return hashlib.sha256(token).hexdigest()


def includes(scope: str, needed: str) -> bool:
    """Tell whether a token of a scope may do what needs another.

    >>> includes("admin", "write"), includes("read", "write")
    (True, False)
    """
    return RANK[scope] >= RANK[needed]


class TokenFile:
    """The tokens of a home, in one file that only its owner may read. Safe between processes.

    Parameters
    ----------
    path
        The file; it need not exist.

    Raises
    ------
    TokenError
        If the file is damaged, or may not be read or written; so does every method.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def version(self) -> tuple[int, ...]:
        """Return what changes whenever the file does; empty where there is none."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise self._refused(error) from None
        return (found.st_ino, found.st_mtime_ns, found.st_size)

    def read(self) -> list[Token]:
        """Return every token, expired ones included, in the order they were made."""
        try:
            content = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._refused(error) from None
        if stat.S_IMODE(self._path.stat().st_mode) & 0o022:
            raise TokenError(
                f"{self._path} may be written by others than its owner", f"chmod 600 {self._path}"
            )
        try:
            return [_token(row) for row in json.loads(content)["tokens"]]
        except (ValueError, KeyError, TypeError):
            raise TokenError(
                f"{self._path} is damaged", "restore it, or delete it and make new tokens"
            ) from None

    def add(self, name: str, scope: Scope, *, now: datetime, expires_at: datetime | None = None) -> str:
        """Make a token; return it: nobody can read it again.

        Raises
        ------
        TokenError
            If the name is none, or stands for a valid token already.
        """
        if not NAME.fullmatch(name) or name in RESERVED_NAMES:
            raise TokenError(
                f"token name {name!r}: expected 1 to 64 letters, digits, dots, dashes and underscores, "
                f"none of {', '.join(sorted(RESERVED_NAMES))}"
            )
        with self._changing() as tokens:
            if any(one.name == name and one.is_valid(now) for one in tokens):
                raise TokenError(
                    f"there is a token named {name!r} already",
                    "choose another name, or `tagtide tokens rotate` it",
                )
            secret, token = _made(name, scope, now, expires_at)
            tokens[:] = [one for one in tokens if one.name != name] + [token]
        return secret

    def rotate(
        self, name: str, *, now: datetime, grace: timedelta, expires_at: datetime | None = None
    ) -> str:
        """Make a new token of the same name and scope; the earlier ones end after a grace period.

        Raises
        ------
        TokenError
            If no valid token has that name.
        """
        with self._changing() as tokens:
            earlier = self._named(tokens, name, now)
            ends = now + grace
            kept = [
                replace(one, expires_at=ends if one.expires_at is None else min(ends, one.expires_at))
                if one in earlier
                else one
                for one in tokens
                if one.name != name or one in earlier
            ]
            secret, token = _made(name, earlier[-1].scope, now, expires_at)
            tokens[:] = [one for one in kept if one.is_valid(now)] + [token]
        return secret

    def revoke(self, name: str, *, now: datetime) -> int:
        """Remove every token of a name; return how many.

        Raises
        ------
        TokenError
            If no valid token has that name.
        """
        with self._changing() as tokens:
            gone = self._named(tokens, name, now)
            tokens[:] = [one for one in tokens if one.name != name]
        return len(gone)

    def _named(self, tokens: list[Token], name: str, now: datetime) -> list[Token]:
        valid = [one for one in tokens if one.is_valid(now)]
        found = [one for one in valid if one.name == name]
        if not found:
            near = did_you_mean(name, {one.name for one in valid})
            raise TokenError(f"no valid token is named {name!r}{near}", "see `tagtide tokens ls`")
        return found

    @contextmanager
    def _changing(self) -> Iterator[list[Token]]:
        with exclusive(self._path.with_name(f"{self._path.name}.lock")):
            tokens = self.read()
            yield tokens
            content = json.dumps({"tokens": [_row(one) for one in tokens]}, indent=2) + "\n"
            made = self._path.with_name(f".{self._path.name}.tmp")
            try:
                made.unlink(missing_ok=True)
                descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(descriptor)
                made.replace(self._path)
            except OSError as error:
                raise self._refused(error) from None

    def _refused(self, error: OSError) -> TokenError:
        return TokenError(
            f"{self._path} cannot be used: {error.strerror}", "check the disk and the permissions"
        )


def _made(name: str, scope: Scope, now: datetime, expires_at: datetime | None) -> tuple[str, Token]:
    secret = PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    return secret, Token(name, scope, digest_of(secret.encode()), now, expires_at)


def _row(token: Token) -> dict[str, Any]:
    ends = None if token.expires_at is None else token.expires_at.isoformat()
    return asdict(token) | {"created_at": token.created_at.isoformat(), "expires_at": ends}


def _token(row: Mapping[str, Any]) -> Token:
    if row["scope"] not in RANK or len(bytes.fromhex(row["digest"])) != hashlib.sha256().digest_size:
        raise ValueError("no token")
    instant: Callable[[str], datetime] = datetime.fromisoformat
    return Token(
        str(row["name"]),
        row["scope"],
        row["digest"],
        instant(row["created_at"]),
        None if row["expires_at"] is None else instant(row["expires_at"]),
    )
