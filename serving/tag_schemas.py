"""What the routes about tags answer, as types."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

TagStatus = Literal["certified", "suspended", "retired"]


class TagContract(Struct, frozen=True):
    """What a model in force proved of one tag."""

    tag_id: str
    family: str
    key: str | None
    is_certified: bool
    reason: Annotated[str, Meta(description="why it is suspended; empty where it is not")]
    threshold: float | None
    precision: Annotated[float | None, Meta(description="what the contract promises")]
    lift: float | None
    model_version: str


class TagSummary(Struct, frozen=True):
    """A tag as a whole."""

    tag_id: str
    name: Annotated[str, Meta(description="at most 30 characters, for WeCom; always the same")]
    family: str
    key: Annotated[str | None, Meta(description="the category or brand; null of a whole customer's tag")]
    status: Annotated[
        TagStatus,
        Meta(
            description="certified: it is given out; suspended: its contract does not hold, see reason; "
            "retired: no model in force knows it, its carriers keep it until it expires"
        ),
    ]
    reason: str
    threshold: Annotated[float | None, Meta(description="least probability it is given out from")]
    precision: Annotated[float | None, Meta(description="what the contract promises")]
    lift: Annotated[float | None, Meta(description="precision over the tag's base rate, when certified")]
    model_version: str | None
    carriers: Annotated[int, Meta(description="customers who carry it now")]


class TagsReply(Struct, frozen=True):
    """Every tag that a model in force knows or somebody carries, in the order of the ids."""

    as_of: datetime
    model_version: dict[str, str]
    request_id: str
    tags: list[TagSummary]


class Carrier(Struct, frozen=True):
    """One customer's live tag."""

    customer_id: str
    probability: Annotated[float, Meta(description="that it comes true, observed or not")]
    probability_if_observed: Annotated[float, Meta(description="that it comes true, given it can be seen")]
    assigned_at: datetime
    renewed_at: datetime | None
    expires_at: datetime


class CarriersReply(Struct, frozen=True):
    """A page of those who carry a tag now, in the order of their ids."""

    as_of: datetime
    model_version: dict[str, str]
    request_id: str
    tag_id: str
    name: str
    customers: list[Carrier]
    next_cursor: Annotated[str | None, Meta(description="asks for the next page; null after the last")]
