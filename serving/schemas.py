"""What the routes read and answer, as types: validation, JSON and the OpenAPI document come from them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from features.event_limits import ID_BYTES_MAX, TEXT_BYTES_MAX

Instant = Annotated[datetime, Meta(tz=True)] | int | float
Int32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
RowStatus = Literal["ok", "cold_start", "stale_profile", "consent_required"]

ID = f"1 to {ID_BYTES_MAX} bytes"
TEXT = f"1 to {TEXT_BYTES_MAX} bytes"
TIME = "RFC 3339 with an offset, or Unix seconds"


class Detail(Struct, frozen=True):
    """One thing that is wrong; ``index`` is the row's position, null where the request itself is."""

    index: int | None
    field: str
    value: str
    expected: str


class ErrorReply(Struct, frozen=True):
    """The form of every error."""

    code: str
    message: str
    details: list[Detail]
    request_id: str


class PostedEvent(Struct, frozen=True, forbid_unknown_fields=True):
    """One event. The same (source, event_id) with the same content is stored once."""

    event_id: Annotated[str, Meta(description=f"idempotency key within its source, {ID}")]
    event_type: str
    event_time: Annotated[Instant, Meta(description=f"when it happened: {TIME}")]
    customer_id: Annotated[
        str | None, Meta(description=f"{ID}; this, or external_userid, or unionid: exactly one")
    ] = None
    external_userid: Annotated[
        str | None, Meta(description="the customer's id in WeCom, instead of customer_id")
    ] = None
    unionid: Annotated[
        str | None, Meta(description="the customer's id in WeChat, instead of customer_id")
    ] = None
    ingested_at: Annotated[
        Instant | None,
        Meta(description="when it became known; only in a replay, where it is required"),
    ] = None
    item_id: Annotated[str | None, Meta(description=ID)] = None
    category: Annotated[str | None, Meta(description=TEXT)] = None
    brand: Annotated[str | None, Meta(description=TEXT)] = None
    quantity: Int32 | None = 1
    amount_minor: Annotated[Int64 | None, Meta(description="the line's total paid, minor units")] = None
    discount_minor: Int64 | None = None
    coupon_minor: Int64 | None = None
    order_id: Annotated[str | None, Meta(description=ID)] = None
    source: Annotated[str, Meta(description=f"who says so, {ID}")] = "api"


class EventsRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Events to store."""

    events: list[PostedEvent]


class RawEventsRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The same with its rows unread, so that one bad row does not refuse the others."""

    events: list[Raw]


class CustomerRef(Struct, frozen=True, forbid_unknown_fields=True):
    """A customer by exactly one of these ids."""

    customer_id: str | None = None
    external_userid: str | None = None
    unionid: str | None = None


class PredictionsRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Customers to answer about."""

    customer_ids: Annotated[
        list[str | CustomerRef], Meta(description="ids, or objects with one of the kinds of ids")
    ]


class Tag(Struct, frozen=True, omit_defaults=True):
    """A live tag. ``reasons`` and ``explanation`` only where one customer is asked for."""

    tag_id: str
    name: Annotated[str, Meta(description="at most 30 characters, for WeCom; always the same")]
    family: str
    key: str | None
    probability: Annotated[float, Meta(description="that it comes true, observed or not")]
    probability_if_observed: Annotated[float, Meta(description="that it comes true, given it can be seen")]
    precision: Annotated[float | None, Meta(description="what the contract promises")]
    lift: Annotated[float | None, Meta(description="precision over the tag's base rate, when certified")]
    model_version: str
    assigned_at: datetime
    renewed_at: datetime | None
    expires_at: datetime
    reasons: Annotated[
        list[dict[str, Any]] | UnsetType,
        Meta(
            description="what speaks for or against the tag now, strongest first: feature, value, "
            "contribution, words, direction"
        ),
    ] = UNSET
    explanation: Annotated[
        dict[str, Any] | UnsetType | None,
        Meta(
            description="scale, base, rest, score and words: base + contributions + rest = score; null where "
            "the models would not give the tag now"
        ),
    ] = UNSET


class StaticTag(Struct, frozen=True):
    """A tag without a contract: it says what a customer is, claims nothing of the future, never expires."""

    tag_id: Annotated[str, Meta(description="`stage:<stage>`, `segment:<n>` or `high_value`")]
    description: str


class CustomerTags(Struct, frozen=True):
    """A customer's live tags."""

    customer_id: str
    tags: list[Tag]


class Contact(Struct, frozen=True):
    """Whether the customer may be contacted now."""

    allowed: bool
    reason: Annotated[
        str | None,
        Meta(description="why not: no consent, do not disturb, takeover, frequency cap or quiet hours"),
    ]


class ConsentRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """What a customer said; what is left out stays as it is, null takes back what was said."""

    profiling: bool | UnsetType | None = UNSET
    marketing: bool | UnsetType | None = UNSET
    do_not_disturb: bool | UnsetType | None = UNSET
    time_zone: Annotated[
        str | UnsetType | None, Meta(description="IANA name of the zone that quiet hours are reckoned in")
    ] = UNSET


class TakeoverRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Whether a person looks after a customer."""

    on: bool
    until: Annotated[
        Instant | None, Meta(description=f"when that ends by itself: {TIME}; null: when switched off")
    ] = None


class Takeover(Struct, frozen=True):
    """Whether a person looks after the customer now."""

    on: bool
    until: datetime | None


class ConsentReply(Struct, frozen=True, omit_defaults=True):
    """What holds for a customer now, the defaults included."""

    customer_id: str
    profiling: bool
    marketing: bool
    do_not_disturb: bool
    time_zone: Annotated[str | None, Meta(description="null: the business's")]
    takeover: Takeover
    contact: Contact
    as_of: datetime
    request_id: str
    merged_into: str | UnsetType = UNSET


class CustomerPrediction(Struct, frozen=True):
    """All that is known of one customer now."""

    customer_id: str
    status: Annotated[
        RowStatus,
        Meta(
            description="consent_required: the customer may not be profiled, so there are no tags, no "
            "propensity, no value, stage or segment"
        ),
    ]
    life_cycle_stage: str | None
    propensity: Annotated[
        dict[str, float],
        Meta(description="probability of a purchase by horizon (72h, 7d, 30d), never falling"),
    ]
    clv: Annotated[
        dict[str, Any] | None,
        Meta(
            description="value over the default horizon, with other_horizons where the model was trained for "
            "more; null where no such model is published or nothing was ever bought"
        ),
    ]
    segment: Annotated[
        int | None,
        Meta(description="the customer's segment; null of a stranger, or without a model"),
    ]
    static_tags: Annotated[
        list[StaticTag], Meta(description="what the customer is: life-cycle stage, segment, high value")
    ]
    tags: list[Tag]
    contact: Contact
    merged_into: Annotated[
        str | UnsetType, Meta(description="the customer this id belongs to, where that is another id")
    ] = UNSET
    explanations: Annotated[
        dict[str, dict[str, dict[str, Any]]] | UnsetType,
        Meta(
            description="of propensity by horizon, of clv by part (any_spend, amount): scale, base, rest, "
            "score, words and reasons; only where one customer is asked for"
        ),
    ] = UNSET


class EventsReply(Struct, frozen=True, omit_defaults=True):
    """What became of posted events; ``customers`` only with ``?return=tags``."""

    accepted: Annotated[int, Meta(description="stored now")]
    duplicates: Annotated[int, Meta(description="stored already, with the same content")]
    erased: Annotated[int, Meta(description="left out: their customers asked to be forgotten")]
    errors: list[Detail]
    as_of: datetime
    model_version: dict[str, str]
    request_id: str
    customers: list[CustomerTags] | UnsetType = UNSET


class PredictionsReply(Struct, frozen=True):
    """One row per valid id, in the order asked."""

    as_of: datetime
    model_version: dict[str, str]
    request_id: str
    customers: list[CustomerPrediction]
    errors: list[Detail]


class CustomerReply(Struct, frozen=True):
    """One customer, with reasons unless they were not wanted."""

    as_of: datetime
    model_version: dict[str, str]
    request_id: str
    customer: CustomerPrediction


class ErasureReply(Struct, frozen=True):
    """What an erasure did; it names nobody."""

    erasure_id: str
    erased_at: Annotated[datetime, Meta(description="what happened until then is not taken in again")]
    tombstones: Annotated[
        int | None, Meta(description="how many ids are kept out since; null where it was not written down")
    ]
    rows: Annotated[dict[str, int], Meta(description="how many rows were erased, by place")]
    request_id: str


class PartStatus(Struct, frozen=True):
    """One part of the service."""

    is_ready: bool
    detail: str


class StatusReply(Struct, frozen=True):
    """Which part is ready, and what is being served."""

    is_ready: bool
    parts: dict[str, PartStatus]
    clock: Literal["wall", "replay"]
    as_of: datetime
    profile_boundary: Annotated[datetime | None, Meta(description="what the profiles in use are as of")]
    model_version: dict[str, str]
    counts: dict[str, int]
    request_id: str
