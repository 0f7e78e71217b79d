"""Tags are asked about by HTTP: which there are, and who carries one."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from features.event_limits import TEXT_BYTES_MAX
from features.events import shown
from features.life_cycle import TagRecord
from features.tag_names import TagNames
from features.windows import from_us
from serving.answers import Answers
from serving.clock import Clock
from serving.errors import NotFound
from serving.http_messages import about, json_reply
from serving.live_tags import LiveTags
from serving.openapi import Operation
from serving.paging import CURSOR, as_cursor, bad_cursor, limit_in_query, read_cursor
from serving.readers import Readers
from serving.schemas import Detail
from serving.scores import ScorerHolder
from serving.tag_schemas import Carrier, CarriersReply, TagContract, TagsReply, TagSummary

LIMIT_DEFAULT, LIMIT_MAX = 100, 1000
TAG_ID = f"id or name of a tag, 1 to {TEXT_BYTES_MAX} bytes behind its family; see GET /v1/tags"


class Position(msgspec.Struct, frozen=True, array_like=True):
    """Where a walk through a tag's carriers is."""

    tag_id: str
    after: str


class TagRoutes:
    """Tags, and their carriers."""

    operations = (
        Operation(
            "GET",
            "/v1/tags",
            "get_tags",
            "List the tags",
            "Every tag that a model in force knows or that somebody carries: its short name, whether its "
            "contract holds and if not why, and how many customers carry it.",
            None,
            TagsReply,
            200,
            (503,),
        ),
        Operation(
            "GET",
            "/v1/tags/{tag_id}/customers",
            "get_tag_customers",
            "Ask who carries a tag",
            "The customers who carry a tag at the moment of asking, in the order of their ids. Whoever "
            "carries it throughout is on exactly one page, whatever is written between two pages.",
            None,
            CarriersReply,
            200,
            (404, 422, 503),
            (
                {
                    "name": "tag_id",
                    "in": "path",
                    "required": True,
                    "description": "id or `name` of a tag; may contain `/`, spaces and any other character, "
                    "percent-encoded",
                    "schema": {"type": "string"},
                    "example": "interest:FLUID MILK PRODUCTS",
                },
                {
                    "name": "limit",
                    "in": "query",
                    "required": False,
                    "description": "most customers of a page",
                    "schema": {
                        "type": "integer",
                        "minimum": 1,
                        "maximum": LIMIT_MAX,
                        "default": LIMIT_DEFAULT,
                    },
                },
                {
                    "name": "cursor",
                    "in": "query",
                    "required": False,
                    "description": CURSOR,
                    "schema": {"type": "string"},
                },
            ),
        ),
    )

    def __init__(
        self,
        live_tags: LiveTags,
        scorers: ScorerHolder,
        clock: Clock,
        names: TagNames,
        answers: Answers,
        readers: Readers,
    ) -> None:
        self._live_tags = live_tags
        self._scorers = scorers
        self._clock = clock
        self._names = names
        self._answers = answers
        self._readers = readers

    async def get_tags(self, request: Request) -> Response:
        """List the tags."""
        tags = await self._readers.run(self._tags)
        as_of, versions = self._answers.now(), self._answers.versions
        return json_reply(TagsReply(as_of, versions, request.state.request_id, tags))

    async def get_tag_customers(self, request: Request) -> Response:
        """Tell who carries a tag."""
        asked = str(request.path_params["tag_id"])
        limit = limit_in_query(request, default=LIMIT_DEFAULT, most=LIMIT_MAX)
        cursor = request.query_params.get("cursor") or None
        now_us = self._clock.now_us()

        def read() -> CarriersReply:
            tag_id = self._known(asked)
            position = Position(tag_id, "") if cursor is None else read_cursor(cursor, Position)
            if position.tag_id != tag_id:
                raise bad_cursor(cursor or "")
            found, after = self._live_tags.who(tag_id, after=position.after, limit=limit, now_us=now_us)
            return CarriersReply(
                as_of=from_us(now_us),
                model_version=self._answers.versions,
                request_id=request.state.request_id,
                tag_id=tag_id,
                name=self._names.of(tag_id),
                customers=[_carrier(customer, record) for customer, record in found],
                next_cursor=None if after is None else as_cursor(Position(tag_id, after)),
            )

        reply = await self._readers.run(read)
        about(request, [one.customer_id for one in reply.customers])
        return json_reply(reply)

    def _tags(self) -> list[TagSummary]:
        now_us = self._clock.now_us()
        contracts = self._contracts()
        tag_ids = sorted({*contracts, *self._live_tags.tag_ids()})
        return [
            self._summary(tag_id, contracts.get(tag_id), self._live_tags.count_carriers(tag_id, now_us))
            for tag_id in tag_ids
        ]

    def _summary(self, tag_id: str, contract: TagContract | None, carriers: int) -> TagSummary:
        name = self._names.of(tag_id)
        if contract is None:
            family, mark, key = tag_id.partition(":")
            reason = "no model in force knows it"
            return TagSummary(
                *(tag_id, name, family, key if mark else None, "retired", reason),
                *(None, None, None, None, carriers),
            )
        return TagSummary(
            tag_id=tag_id,
            name=name,
            family=contract.family,
            key=contract.key,
            status="certified" if contract.is_certified else "suspended",
            reason=contract.reason,
            threshold=contract.threshold,
            precision=contract.precision,
            lift=contract.lift,
            model_version=contract.model_version,
            carriers=carriers,
        )

    def _contracts(self) -> Mapping[str, TagContract]:
        scorer = self._scorers.scorer
        return {} if scorer is None else {one.tag_id: one for one in scorer.contracts}

    def _known(self, asked: str) -> str:
        tag_ids = {*self._contracts(), *self._live_tags.tag_ids()}
        if asked in tag_ids:
            return asked
        named = {self._names.of(tag_id): tag_id for tag_id in sorted(tag_ids)}
        if asked not in named:
            raise NotFound(
                "no such tag; GET /v1/tags lists them", [Detail(None, "tag_id", shown(asked), TAG_ID)]
            )
        return named[asked]


def _carrier(customer: str, record: TagRecord) -> Carrier:
    was_renewed = record.claimed_at_us > record.assigned_at_us
    return Carrier(
        customer_id=customer,
        probability=record.evidence.probability,
        probability_if_observed=record.evidence.probability_if_observed,
        assigned_at=from_us(record.assigned_at_us),
        renewed_at=from_us(record.claimed_at_us) if was_renewed else None,
        expires_at=from_us(record.expires_at_us),
    )
