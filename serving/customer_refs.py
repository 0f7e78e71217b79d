"""The customer a row speaks of: one id, plain or by the field that names its space."""

from __future__ import annotations

from typing import Protocol

from features.event_limits import ID_BYTES_MAX
from features.identities import MARK, POSTED_SPACES
from serving.schemas import ID

ONE_OF = f"exactly one of customer_id, {', '.join(POSTED_SPACES)}"


class BadField(Exception):
    """A field of a row that cannot be taken."""

    def __init__(self, field: str, value: object, expected: str) -> None:
        super().__init__(field)
        self.field, self.value, self.expected = field, value, expected


class Referring(Protocol):
    """A row that names a customer."""

    @property
    def customer_id(self) -> str | None:
        """An id as Tagtide writes it."""

    @property
    def external_userid(self) -> str | None:
        """The customer's id in a WeCom corporation."""

    @property
    def unionid(self) -> str | None:
        """The customer's id among the apps of a WeChat developer."""


def id_given(row: Referring) -> str:
    """Return the id of the customer a row speaks of, as Tagtide writes it.

    Raises
    ------
    BadField
        If it names none or several, or one that cannot be an id.
    """
    if row.external_userid is None and row.unionid is None and row.customer_id is not None:
        return row.customer_id
    given = [name for name in ("customer_id", *POSTED_SPACES) if getattr(row, name) is not None]
    if not given:
        raise BadField("customer_id", None, ONE_OF)
    field, value = given[-1], getattr(row, given[-1])
    if len(given) > 1:
        raise BadField(field, value, ONE_OF)
    text = f"{field}{MARK}{value}"
    if not value or len(text.encode()) > ID_BYTES_MAX:
        raise BadField(field, value, f"{ID}, {field}{MARK} before it included")
    return text
