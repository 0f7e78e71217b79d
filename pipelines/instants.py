"""Instants given on the command line."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from pipelines.errors import CommandError

AsOf = Annotated[
    str | None,
    typer.Option(
        "--as-of", metavar="ISO", help="Instant; [dim]default: when the last event became known[/dim]"
    ),
]
"""The instant that commands on a home's whole history take."""


def instant_option(text: str, option: str, zone: ZoneInfo) -> datetime:
    """Read an ISO 8601 date or time; without an offset it is meant in the business zone.

    Parameters
    ----------
    option
        Its name, for the message.

    Returns
    -------
    Aware, in UTC.

    Raises
    ------
    CommandError
        If it is no ISO 8601 instant.

    >>> instant_option("2017-10-31", "--as-of", ZoneInfo("Asia/Shanghai")).isoformat()
    '2017-10-30T16:00:00+00:00'
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise CommandError(
            f"{option} is {text!r}; expected an ISO 8601 date or time",
            f"for example {option} 2017-10-31 or {option} 2017-10-31T18:00+02:00",
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
