"""What the route about WeCom reads and answers, as types."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

LIMIT_DEFAULT, LIMIT_MAX = 500, 1000

SkipReason = Literal["no_external_userid", "no_staff", "too_many_tags"]


class WecomDiffRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Where to go on, and how far."""

    cursor: Annotated[
        str | None,
        Meta(description="`next_cursor` of the reply before; null: all tags carried now, as added"),
    ] = None
    limit: Annotated[int, Meta(ge=1, le=LIMIT_MAX, description="most customers looked at for one reply")] = (
        LIMIT_DEFAULT
    )
    dry_run: Annotated[
        bool, Meta(description="only look: what the cursor says was sent may be asked for again")
    ] = False


class MarkTag(Struct, frozen=True):
    """The body of one `externalcontact/mark_tag` call; never are both lists empty."""

    userid: str
    external_userid: str
    add_tag: Annotated[list[str], Meta(description="WeCom's tag ids; names of tags whose id is not known")]
    remove_tag: Annotated[list[str], Meta(description="the same")]


class WecomTag(Struct, frozen=True):
    """What an entry of `add_tag` or `remove_tag` stands for."""

    entry: Annotated[str, Meta(description="as it stands in the bodies")]
    tag_id: str
    name: Annotated[str, Meta(description="at most 30 characters")]
    group: Annotated[str, Meta(description="the tag group it belongs in")]
    wecom_id: Annotated[str | None, Meta(description="as wecom.yaml says; null: create it by its name")]


class Skipped(Struct, frozen=True):
    """A customer whose tags changed and who cannot be marked, or not with all of them."""

    customer_id: str
    reason: SkipReason


class WecomDiffReply(Struct, frozen=True):
    """What to send to WeCom so that it shows the tags carried now."""

    as_of: datetime
    model_version: dict[str, str]
    request_id: str
    bodies: list[MarkTag]
    tags: list[WecomTag]
    skipped: list[Skipped]
    next_cursor: Annotated[str, Meta(description="asks for what comes next; send the bodies first")]
    has_more: Annotated[bool, Meta(description="whether more has changed already")]
