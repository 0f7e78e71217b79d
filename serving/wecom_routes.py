"""What WeCom is to be told is asked for by HTTP."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from configs.settings import Settings
from features.windows import from_us
from serving.answers import Answers
from serving.clock import Clock
from serving.http_messages import json_body, json_reply
from serving.intake import decoded
from serving.openapi import Operation
from serving.readers import Readers
from serving.wecom_diff import WecomDiff
from serving.wecom_schemas import WecomDiffReply, WecomDiffRequest


class WecomRoutes:
    """`POST /v1/wecom:diff`."""

    operations = (
        Operation(
            "POST",
            "/v1/wecom:diff",
            "post_wecom_diff",
            "Ask what to send to WeCom",
            "Bodies of `externalcontact/mark_tag` calls that bring WeCom from what a cursor says to what "
            "customers carry now: one per member of staff and customer whose tags are not the same, "
            "expiries included whether a sweep has been or not. Send them all, then ask with `next_cursor`; "
            "sending one twice does no harm. For one follower: it takes the tags off people who were "
            "erased, once.",
            WecomDiffRequest,
            WecomDiffReply,
            200,
            (400, 413, 415, 422, 503),
        ),
    )

    def __init__(
        self, settings: Settings, diff: WecomDiff, clock: Clock, answers: Answers, readers: Readers
    ) -> None:
        self._settings = settings
        self._diff = diff
        self._clock = clock
        self._answers = answers
        self._readers = readers

    async def post_wecom_diff(self, request: Request) -> Response:
        """Tell what to send to WeCom."""
        body = await json_body(request, self._settings.max_body_bytes)
        asked = decoded(body, WecomDiffRequest, '{"cursor": null, "limit": 500}')
        now_us = self._clock.now_us()
        found = await self._readers.run(
            lambda: self._diff.since(asked.cursor, limit=asked.limit, now_us=now_us, dry_run=asked.dry_run)
        )
        request.state.customers = len(found.bodies)
        return json_reply(
            WecomDiffReply(
                as_of=from_us(now_us),
                model_version=self._answers.versions,
                request_id=request.state.request_id,
                bodies=found.bodies,
                tags=found.tags,
                skipped=found.skipped,
                next_cursor=found.next_cursor,
                has_more=found.has_more,
            )
        )
