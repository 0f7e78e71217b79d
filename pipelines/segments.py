"""`tagtide segments`: the groups customers fall into, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from configs.home import Home
from pipelines.errors import MissingStepError
from pipelines.invocation import Invocation, JsonFlag
from training.artifact import Bundle, load_bundle

TASK = "segments"


@dataclass(frozen=True)
class ShownSegments:
    """A clustering to show.

    Attributes
    ----------
    model_version
        Its version in the registry.
    serves
        Whether it is the one that serves.
    """

    model_version: str
    serves: bool
    bundle: Bundle


def shown_segments(home: Home, *, challenger: bool) -> ShownSegments:
    """Return the clustering that serves, or the one that waits.

    Parameters
    ----------
    challenger
        Ask for the one that waits; without this the champion, and the challenger only where there is none.

    Raises
    ------
    MissingStepError
        If there is none.
    """
    from training.publication import published

    serving = None if challenger else published(home).get(TASK)
    if serving is not None:
        return ShownSegments(serving.model_version, True, load_bundle(serving.directory))
    from training.registry import challenger as waiting

    found = waiting(home, TASK)
    if found is None:
        what = "challenger of segments" if challenger else "segments"
        raise MissingStepError(f"home {home.root} has no {what}", "run `tagtide train segments` first")
    return ShownSegments(found.model_version, False, load_bundle(found.directory))


def command(
    ctx: typer.Context,
    challenger: Annotated[
        bool, typer.Option("--challenger", help="Show the segments that wait for promotion.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show the customer segments: how many customers each has, and what they are like, in a sentence.

    Segments are made by `tagtide train segments`, go to work by `tagtide promote segments`, and keep their
    numbers when they are trained again. Sizes are those of the training instant; `tagtide score` tells every
    customer's segment as of now.

    \b
    [bold]Examples[/bold]
      tagtide segments                                     those that serve
      tagtide segments --challenger                        those trained last
      tagtide segments --json | jq '.segments[].name'      for machines
    """
    invocation = ctx.ensure_object(Invocation)
    found = shown_segments(invocation.home(), challenger=challenger)
    invocation.emit(as_payload(found), as_screen(found), as_json)


def as_payload(found: ShownSegments) -> dict[str, Any]:
    """Return the result for machines."""
    content = found.bundle.content
    return {
        "model_version": found.model_version,
        "serves": found.serves,
        "as_of": found.bundle.as_of,
        "features": next(iter(found.bundle.features.values())),
        "segments": [
            {name: value for name, value in one.items() if name != "centroid"} for one in content["segments"]
        ],
        "stability_by_count": content["stability_by_count"],
        "silhouette_by_count": content["silhouette_by_count"],
        "metrics": found.bundle.metrics,
    }


def as_screen(found: ShownSegments) -> Any:
    """Show the segments as a table, and how stable they are."""
    from rich.table import Table

    content, metrics = found.bundle.content, found.bundle.metrics
    state = "serving" if found.serves else "waiting for promotion"
    table = Table(title=f"Segments {found.model_version} as of {found.bundle.as_of} ({state})")
    table.add_column("segment", justify="right")
    table.add_column("customers", justify="right")
    table.add_column("share of spend", justify="right")
    table.add_column("in short", overflow="fold")
    table.add_column("description", overflow="fold")
    spend = sum(one["spend_365d_minor"] for one in content["segments"])
    for one in content["segments"]:
        share = f"{one['spend_365d_minor'] / spend:.0%}" if spend else "–"
        table.add_row(str(one["number"]), f"{one['customers']:,}", share, one["name"], one["description"])
    tried = ", ".join(f"{count}: {index:.2f}" for count, index in content["stability_by_count"].items())
    table.caption = (
        f"{metrics['segments']} segments because they come out again best: mean adjusted Rand index between "
        f"bootstrap samples {tried}"
    )
    return table
