"""Carries the service's changes to WeCom, page by page, and notes how far it came."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import msgspec

from serving.wecom import ContactRefused, Wecom, WecomError
from serving.wecom_schemas import MarkTag, WecomDiffReply, WecomTag
from serving.wecom_state import WecomState

Ask = Callable[[str | None], Awaitable[WecomDiffReply]]
"""Returns the changes behind a cursor."""


@dataclass
class PushReport:
    """What was pushed so far.

    Attributes
    ----------
    marked
        Contacts whose tags were changed.
    added, removed
        Tags put on and taken off.
    tags_made
        Tags that WeCom did not have.
    skipped
        Customers who could not be marked, by reason.
    refused
        Contacts WeCom did not let be marked, by its error code.
    """

    pages: int = 0
    marked: int = 0
    added: int = 0
    removed: int = 0
    tags_made: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)


class Push:
    """Sends pages of changes. A page counts as sent once all of it is: what is cut short is sent again.

    Parameters
    ----------
    ask
        The service.
    wecom
        Where changes go; None: nowhere, they are only counted, and nothing is noted.
    state
        Where it is noted how far that came.
    on_page
        Called after each page.
    """

    def __init__(
        self,
        ask: Ask,
        wecom: Wecom | None,
        state: WecomState,
        on_page: Callable[[PushReport], None] = lambda _: None,
    ) -> None:
        self._ask = ask
        self._wecom = wecom
        self._state = state
        self._on_page = on_page
        self._known = state.tag_ids()
        self.report = PushReport()

    async def all_there_is(self, cursor: str | None) -> str:
        """Send everything that has changed until now.

        Returns
        -------
        The cursor to go on from.

        Raises
        ------
        WecomError
            If WeCom refuses for a reason that concerns all; what was noted holds.
        """
        while True:
            page = await self._ask(cursor)
            bodies = await self._with_ids(page)
            await self._send(bodies)
            self.report.pages += 1
            self.report.skipped.update(one.reason for one in page.skipped)
            cursor = page.next_cursor
            if self._wecom is not None:
                self._state.keep_cursor(cursor)
            self._on_page(self.report)
            if not page.has_more:
                return cursor

    async def _send(self, bodies: Sequence[MarkTag]) -> None:
        ordered = sorted(bodies, key=_contact)  # sorting keeps the order of one contact's bodies
        try:
            async with asyncio.TaskGroup() as tasks:
                for _, of_contact in groupby(ordered, key=_contact):
                    tasks.create_task(self._send_in_turn(list(of_contact)))
        except ExceptionGroup as failed:
            # The first ends the others.
            raise failed.exceptions[0] from None

    async def _send_in_turn(self, bodies: Sequence[MarkTag]) -> None:
        for body in bodies:
            try:
                if self._wecom is not None:
                    await self._wecom.mark(body)
            except ContactRefused as refused:
                self.report.refused[str(refused.code)] += 1
                continue
            self.report.marked += 1
            self.report.added += len(body.add_tag)
            self.report.removed += len(body.remove_tag)

    async def _with_ids(self, page: WecomDiffReply) -> list[MarkTag]:
        """Return a page's bodies with WeCom's tag ids; tags to be added are made where they are missing."""
        told = {one.entry: one for one in page.tags}
        added = {entry for body in page.bodies for entry in body.add_tag}
        missing = [
            told[entry]
            for entry in sorted(added)
            if told[entry].wecom_id is None and told[entry].tag_id not in self._known
        ]
        if missing:
            await self._make(missing)

        def ids(entries: Sequence[str]) -> list[str]:
            found = (told[entry].wecom_id or self._known.get(told[entry].tag_id) for entry in entries)
            return [one for one in found if one is not None]

        bodies = [
            msgspec.structs.replace(body, add_tag=ids(body.add_tag), remove_tag=ids(body.remove_tag))
            for body in page.bodies
        ]
        # What WeCom never had need not be taken off there.
        return [body for body in bodies if body.add_tag or body.remove_tag]

    async def _make(self, missing: Sequence[WecomTag]) -> None:
        if self._wecom is None:
            self.report.tags_made += len(missing)
            self._known |= {one.tag_id: one.entry for one in missing}
            return
        there = await self._wecom.tag_ids()
        to_make: dict[str, list[str]] = defaultdict(list)
        for one in missing:
            if (one.group, one.name) not in there:
                to_make[one.group].append(one.name)
        for group, names in to_make.items():
            there = await self._wecom.add_tags(group, names)
            self.report.tags_made += len(names)
        lost = [one.name for one in missing if (one.group, one.name) not in there]
        if lost:
            raise WecomError(
                f"WeCom did not make {len(lost)} tags, {lost[0]!r} among them",
                "push again, or make them by hand",
            )
        self._known |= {one.tag_id: there[one.group, one.name] for one in missing}
        self._state.keep_tag_ids(self._known)


def _contact(body: MarkTag) -> tuple[str, str]:
    return body.userid, body.external_userid
