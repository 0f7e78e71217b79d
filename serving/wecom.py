"""WeCom's customer-contact interface: tags are made and put on customers within the platform's limits."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import httpx
import msgspec

from serving.errors import ServingError
from serving.wecom_budget import Allowance, Budget
from serving.wecom_schemas import MarkTag

logger = logging.getLogger(__name__)

PUBLIC_URL = "https://qyapi.weixin.qq.com/cgi-bin"

CONCURRENT_MOST = 5
ALLOWANCES = (Allowance(10_000, 60.0), Allowance(150_000, 3600.0))
"""Of one interface and corporation."""

TOKEN_CODES = frozenset({40014, 42001})
"""The access token is wrong, or its time is over."""

BUSY_CODES = frozenset({-1, 45009, 45033})
"""The platform is busy; too many calls in a minute or hour; too many at once."""

CONTACT_CODES = frozenset({40003, 40068, 40096, 60011, 60111, 84061})
"""About this one contact: no such member of staff, tag or customer, out of sight, or not their contact."""

NAME_TAKEN = 40071

RENEWALS_MOST = 5
"""How often one call gets a new access token: a good one may be over again before its turn comes."""


class WecomError(ServingError):
    """WeCom refuses, and asking again as it is will not help."""


class ContactRefused(Exception):
    """WeCom refuses to mark one contact."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Pauses:
    """How long to wait after a refusal for being busy, doubled each time."""

    first_seconds: float = 1.0
    most_seconds: float = 60.0
    tries: int = 20

    def seconds(self, tried: int) -> float:
        """Return the pause after so many tries.

        >>> Pauses().seconds(1), Pauses().seconds(4), Pauses().seconds(11)
        (1.0, 8.0, 60.0)
        """
        return min(self.first_seconds * float(2 ** (tried - 1)), self.most_seconds)


@dataclass
class Traffic:
    """What went over the wire.

    Attributes
    ----------
    calls
        By interface.
    busy
        Refusals that were waited out, by code.
    """

    calls: Counter[str] = field(default_factory=Counter)
    busy: Counter[str] = field(default_factory=Counter)


class Wecom:
    """Calls WeCom for one corporation. For one event loop; closed at the end of an ``async with`` block.

    Parameters
    ----------
    corp_id, secret
        Of the corporation and its customer-contact application. Neither is ever shown.
    base_url
        Of the interface.
    budget
        For ``mark_tag``; by default the platform's.
    pauses
        After refusals for being busy.
    sleep
        Waits so many seconds.
    """

    def __init__(
        self,
        corp_id: str,
        secret: str,
        base_url: str = PUBLIC_URL,
        *,
        budget: Budget | None = None,
        pauses: Pauses | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._credentials = {"corpid": corp_id, "corpsecret": secret}
        self._budget = Budget(ALLOWANCES) if budget is None else budget
        self._pauses = Pauses() if pauses is None else pauses
        self._sleep = sleep
        self._at_once = asyncio.Semaphore(CONCURRENT_MOST)
        self._renewing = asyncio.Lock()
        self._token = ""
        self._open = asyncio.Event()
        self._open.set()
        self.traffic = Traffic()
        # httpx would write down addresses, which hold secret and token.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        self._http = httpx.AsyncClient(
            base_url=base_url, timeout=30.0, transport=transport, trust_env=transport is None
        )

    async def __aenter__(self) -> Self:
        """Use it until the end of the block."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the connections back."""
        await self._http.aclose()

    async def mark(self, body: MarkTag) -> None:
        """Put tags on a contact and take tags off.

        Raises
        ------
        ContactRefused
            If WeCom does not let this contact be marked.
        WecomError
            If it refuses for a reason that concerns all.
        """
        await self._called("mark_tag", msgspec.structs.asdict(body), self._budget)

    async def tag_ids(self) -> dict[tuple[str, str], str]:
        """Return the ids of all tags there are, by group and name."""
        listed = await self._called("get_corp_tag_list", {})
        return {
            (group["group_name"], one["name"]): one["id"]
            for group in listed.get("tag_group", [])
            for one in group.get("tag", [])
            if not one.get("deleted")
        }

    async def add_tags(self, group: str, names: Sequence[str]) -> dict[tuple[str, str], str]:
        """Make tags in a group, which is made too where missing, and return all ids by group and name.

        Names that somebody made meanwhile are no error.
        """
        body = {"group_name": group, "tag": [{"name": name} for name in names]}
        await self._called("add_corp_tag", body, harmless=frozenset({NAME_TAKEN}))
        return await self.tag_ids()

    async def _called(
        self,
        interface: str,
        body: Mapping[str, Any],
        budget: Budget | None = None,
        harmless: frozenset[int] = frozenset(),
    ) -> dict[str, Any]:
        """Call an interface: again where it is busy, with a new token where that is needed."""
        renewed = 0
        for tried in range(1, self._pauses.tries + 1):
            reply, token = await self._sent(interface, body, budget)
            code = int(reply.get("errcode", 0))
            if code == 0 or code in harmless:
                return reply
            if code in TOKEN_CODES:
                renewed += 1
                if renewed > RENEWALS_MOST:
                    raise WecomError(f"WeCom does not take the access token it gave ({code})")
                await self._renewed(token)
            elif code in BUSY_CODES:
                await self._wait_out(code, tried)
            elif code in CONTACT_CODES and interface == "mark_tag":
                raise ContactRefused(code)
            else:
                raise WecomError(
                    f"WeCom refuses {interface} with error {code}",
                    f"see https://developer.work.weixin.qq.com/devtool/query?e={code}",
                )
        raise WecomError(f"WeCom was busy at {self._pauses.tries} tries of {interface}", "push again later")

    async def _sent(
        self, interface: str, body: Mapping[str, Any], budget: Budget | None
    ) -> tuple[dict[str, Any], str]:
        """Send a call when it is its turn; return the reply and the access token it went with."""
        async with self._at_once:
            await self._open.wait()
            while budget is not None and (wait := budget.wait_seconds()) > 0.0:
                await self._sleep(wait)
            token = self._token or await self._renewed("")
            self.traffic.calls[interface] += 1
            path = f"externalcontact/{interface}"
            return await self._reply("POST", path, params={"access_token": token}, json=dict(body)), token

    async def _wait_out(self, code: int, tried: int) -> None:
        """Let nobody call for a while: what one call is refused for, the others would be too."""
        self.traffic.busy[str(code)] += 1
        if not self._open.is_set():
            await self._open.wait()
            return
        self._open.clear()
        try:
            await self._sleep(self._pauses.seconds(tried))
        finally:
            self._open.set()

    async def _renewed(self, old: str) -> str:
        """Fetch an access token unless somebody did so since the old one was used."""
        async with self._renewing:
            if self._token not in ("", old):
                return self._token
            code = 0
            for tried in range(1, self._pauses.tries + 1):
                self.traffic.calls["gettoken"] += 1
                reply = await self._reply("GET", "gettoken", params=self._credentials)
                code = int(reply.get("errcode", 0))
                if code == 0:
                    self._token = str(reply["access_token"])
                    return self._token
                if code not in BUSY_CODES:
                    break
                self.traffic.busy[str(code)] += 1
                await self._sleep(self._pauses.seconds(tried))
            raise WecomError(
                f"WeCom gives no access token: error {code}",
                "check TAGTIDE_WECOM_CORP_ID, TAGTIDE_WECOM_SECRET and the application's trusted addresses",
            )

    async def _reply(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """Send a request; a connection that breaks, or a page of a proxy's, is the platform being busy."""
        try:
            reply = await self._http.request(method, path, **options)
            found = msgspec.json.decode(reply.content)
        except (httpx.TransportError, msgspec.DecodeError) as error:
            logger.warning("WeCom could not be asked: %s", type(error).__name__)
            return {"errcode": -1}
        return found if isinstance(found, dict) else {"errcode": -1}
