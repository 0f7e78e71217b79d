"""`tagtide roi`: what campaigns brought for what they cost, and whom to contact first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import polars as pl
import typer

from configs.errors import TagtideError
from configs.home import Home
from configs.settings import Settings
from monitoring.held_out import (
    PAST_SPEND,
    PROPENSITY,
    before_it_began,
    customer_rows,
    held_out_campaigns,
    known_among,
    past_spend,
    propensity_scores,
    require_rankings,
    tag_scores,
)
from monitoring.roi import Assumptions
from pipelines.build_features import Say, asked_or_latest, write_snapshots
from pipelines.instants import AsOf
from pipelines.invocation import Invocation, JsonFlag, plain
from pipelines.tag_families import names_in

if TYPE_CHECKING:
    import numpy.typing as npt
    from rich.console import RenderableType

    from features.tags import TagFamily
    from monitoring.campaigns import SpendAxis
    from monitoring.roi import Judged
    from monitoring.roi_page import RoiFigures
    from monitoring.targeting import HeldOut, TargetingCurve

REPORT = "roi"
DEFAULTS = Assumptions()
HELD_OUT = 3
SHOWN_SHARES = (0.1, 0.2, 0.5)


@dataclass(frozen=True)
class RoiReport:
    """What was reckoned, and where it was written."""

    figures: RoiFigures
    page: Path
    plots: tuple[Path, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the result for machines."""
        return {**asdict(self.figures), "page": str(self.page), "plots": [str(path) for path in self.plots]}


def roi(
    home: Home,
    settings: Settings,
    as_of: datetime,
    assumptions: Assumptions,
    directory: Path,
    say: Say,
    *,
    rankings: Sequence[str] = (PROPENSITY,),
    held_out: int = HELD_OUT,
) -> RoiReport:
    """Reckon campaigns and rankings, and write page, figures and pictures; doing it again writes the same.

    Parameters
    ----------
    rankings
        ``propensity`` or tag families about customers as a whole.
    held_out
        How many campaigns rankings are judged by, the latest; 0 trains no model.

    Raises
    ------
    MissingStepError
        If there is no event.
    CampaignError
        If nobody was contacted, or a ranking is none.
    """
    from features.money import home_currency
    from features.tags import load_catalogue
    from features.windows import to_us
    from monitoring.campaigns import SpendAxis, campaigns_of
    from monitoring.errors import CampaignError
    from monitoring.roi import judge, returns_of, unjudged, why_not_judged
    from monitoring.roi_page import RoiFigures
    from pipelines.current_lake import lake_up_to_date
    from pipelines.errors import MissingStepError

    families = load_catalogue()
    require_rankings(rankings, families)
    say("reading the lake")
    events = lake_up_to_date(home, settings).read(known_by=as_of)
    if events.is_empty():
        raise MissingStepError(f"home {home.root} has no events", "run `tagtide import SOURCE` first")
    axis, days = SpendAxis(events), assumptions.window_days
    campaigns = campaigns_of(events, axis, settings.zone, days)
    first = events.filter(pl.col("event_type") != "contact")["event_time"].min()
    if not isinstance(first, datetime):
        raise CampaignError(
            "campaigns cannot be reckoned: the data has no event of type purchase", "import purchases"
        )
    say(f"reckoning {len(campaigns)} campaigns")
    first_us, until_us = to_us(first), to_us(as_of)
    reasons = [why_not_judged(one, first_us, until_us, days) for one in campaigns]
    judged = [
        judge(one, campaigns, axis, first_us, days)
        for one, reason in zip(campaigns, reasons, strict=True)
        if not reason
    ]
    returns = returns_of(judged, len(axis.customers), assumptions, seed=settings.seed)
    returns += [
        unjudged(one, assumptions, reason) for one, reason in zip(campaigns, reasons, strict=True) if reason
    ]
    chosen = held_out_campaigns(judged, first_us, held_out)
    notes = (
        []
        if (events["event_type"] == "coupon").any()
        else ["The data has no event of type coupon: nothing was redeemed."]
    )
    ranked = []
    for one in chosen:
        scored, refused = rank(home, settings, events, axis, one, rankings, families, say)
        ranked.append(scored)
        notes += refused
    say("drawing curves")
    figures = RoiFigures(
        as_of=as_of,
        time_zone=settings.time_zone,
        source=" + ".join(sorted(events["source"].unique())),
        currency=home_currency(home),
        assumptions=assumptions,
        returns=tuple(returns),
        held_out=tuple((one.campaign.name, before_it_began(one, settings.zone)) for one in chosen),
        curves=tuple(_common_curves(ranked, assumptions, len(axis.customers), settings.seed)),
        notes=tuple(notes),
    )
    return _written(figures, directory)


def _common_curves(
    ranked: Sequence[HeldOut], assumptions: Assumptions, customers: int, seed: int
) -> list[TargetingCurve]:
    """Return curves of the rankings that every held-out campaign has."""
    from monitoring.targeting import HeldOut, targeting_curves

    if not ranked:
        return []
    common = [name for name in ranked[0].scores if all(name in one.scores for one in ranked)]
    same = [HeldOut(one.judged, {name: one.scores[name] for name in common}) for one in ranked]
    return targeting_curves(same, assumptions, customers, seed=seed)


def rank(
    home: Home,
    settings: Settings,
    events: pl.DataFrame,
    axis: SpendAxis,
    judged: Judged,
    rankings: Sequence[str],
    families: dict[str, TagFamily],
    say: Say,
) -> tuple[HeldOut, list[str]]:
    """Score a campaign's customers by models trained on what was known before it began.

    Returns
    -------
    The scores, and why a ranking could not be made, a sentence each.
    """
    import numpy as np

    from features.store import training_frame
    from monitoring.held_out import HORIZON
    from monitoring.targeting import HeldOut
    from training.workbench import Budget, Workbench

    at, campaign = before_it_began(judged, settings.zone), judged.campaign
    scores: dict[str, npt.NDArray[np.float64]] = {}
    refused: list[str] = []
    if rankings:
        say(f"training as of {at.date()}, before campaign {campaign.name}")
        before = events.filter(pl.max_horizontal("event_time", "ingested_at") <= at)
        bench = Workbench(before, at, settings, families, Budget(propensity_rows=30_000))
        names = axis.customers[campaign.customer].tolist()
        known = known_among(bench, names)
        rows = customer_rows(bench, [name for name, is_known in zip(names, known, strict=True) if is_known])
        join = partial(training_frame, home, settings, progress=say)
        for ranking in rankings:
            found = np.full(len(names), np.nan)
            try:
                if ranking == PROPENSITY:
                    write_snapshots(home, settings, bench, [bench.propensity_rows(HORIZON), rows], say)
                    found[known] = propensity_scores(bench, rows, join)
                else:
                    family = families[ranking]
                    write_snapshots(home, settings, bench, [bench.rows_of(family), rows], say, [family])
                    found[known] = tag_scores(bench, family, rows, join)
            except TagtideError as refusal:
                refused.append(f"No ranking by {ranking} for campaign {campaign.name}: {refusal.message}.")
                continue
            scores[ranking] = found
    scores[PAST_SPEND] = past_spend(judged, axis, at)
    return HeldOut(judged, scores), refused


def _written(figures: RoiFigures, directory: Path) -> RoiReport:
    from importlib.metadata import version

    from monitoring.roi_page import render_roi
    from monitoring.roi_plot import plot_roi

    directory.mkdir(parents=True, exist_ok=True)
    title = f"{figures.source}, {figures.assumptions.window_days} days after contact"
    plots = plot_roi(figures.returns, figures.curves, directory, title)
    report = RoiReport(figures, directory / "index.html", tuple(plots))
    report.page.write_text(render_roi(figures, version=version("tagtide")), encoding="utf-8")
    text = json.dumps(plain(report.as_json()), indent=1, ensure_ascii=False) + "\n"
    (directory / "roi.json").write_text(text, encoding="utf-8")
    return report


def command(
    ctx: typer.Context,
    cost_per_contact: Annotated[
        float,
        typer.Option("--cost-per-contact", min=0.0, help="Of one message, in minor units (cents, fen)."),
    ] = DEFAULTS.cost_per_contact_minor,
    margin: Annotated[
        float, typer.Option("--margin", min=0.0, max=1.0, help="Share of spend left after cost of goods.")
    ] = DEFAULTS.margin,
    window_days: Annotated[
        int, typer.Option("--window-days", min=1, max=365, help="Days after a contact that count.")
    ] = DEFAULTS.window_days,
    coupon_share: Annotated[
        float,
        typer.Option(
            "--coupon-share", min=0.0, help="Share of redeemed coupons' value the shop bears besides."
        ),
    ] = DEFAULTS.coupon_share,
    by: Annotated[
        str,
        typer.Option("--by", metavar="NAMES", help="Rankings: propensity, or tag families without a key."),
    ] = PROPENSITY,
    held_out: Annotated[
        int, typer.Option("--held-out", min=0, help="Campaigns to judge rankings by; 0 trains nothing.")
    ] = HELD_OUT,
    as_of: AsOf = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where to; [dim]default: HOME/reports/roi[/dim]"),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Reckon what campaigns brought for what they cost, and what better targeting would have brought.

    A campaign is the contact events that share an item_id (without one: a source and day); coupon events are
    what was redeemed. Three returns are told, none of them from a randomised experiment: redeemed orders in
    full, spend after the contact less spend before, and the same less that of similar customers whom nobody
    contacted. The latest campaigns are held out: models trained as of before each began rank its customers,
    beside a random choice. Writes a page, the figures as JSON, and a picture as PNG and SVG.

    \b
    [bold]Examples[/bold]
      tagtide roi                                              with the default assumptions
      tagtide roi --cost-per-contact 15 --margin 0.3           a text message at 15 cents
      tagtide roi --by propensity,high_intent --held-out 5     two rankings, five campaigns
      tagtide roi --held-out 0 --json                          only what was run, for machines
    """
    invocation = ctx.ensure_object(Invocation)
    home, settings = invocation.home(), invocation.settings
    instant = asked_or_latest(home, settings, as_of)
    assumptions = Assumptions(cost_per_contact, margin, window_days, coupon_share)
    with invocation.steps() as say:
        report = roi(
            home,
            settings,
            instant,
            assumptions,
            out or home.reports / REPORT,
            say,
            rankings=names_in(by),
            held_out=held_out,
        )
    invocation.emit(report.as_json(), as_screen(report), as_json)


def as_screen(report: RoiReport) -> RenderableType:
    """Show returns and rankings as tables, and where the page lies."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from monitoring.roi_page import money, span

    figures = report.figures
    table = Table(title="What campaigns brought: return on investment and its 90 % interval")
    table.add_column("campaign", overflow="fold")
    for name in ("customers", "cost", "redeemed", "before", "matched"):
        table.add_column(name, justify="right")
    for one in figures.returns:
        if not one.not_judged:
            returns = (span(one.returns[way].roi) for way in ("redeemed", "before", "matched"))
            table.add_row(one.name, f"{one.customers:,}", money(one.cost_minor, figures.currency), *returns)
    parts: list[RenderableType] = [table]
    parts += [
        Text(f"not judged: campaign {one.name} ({one.customers:,} customers): {one.not_judged}")
        for one in figures.returns
        if one.not_judged
    ]
    if figures.curves:
        names = ", ".join(name for name, _ in figures.held_out)
        curves = Table(title=f"Contacting only the best ranked, held-out campaigns {names}")
        curves.add_column("told by")
        curves.add_column("ranking")
        for share in SHOWN_SHARES:
            curves.add_column(f"ROI, best {share:.0%}", justify="right")
        for curve in figures.curves:
            at = {point.share: point.roi for point in curve.points}
            curves.add_row(curve.outcome, curve.ranking, *(span(at[share]) for share in SHOWN_SHARES))
        parts.append(curves)
    parts += [Text(note) for note in figures.notes]
    caveat = "No randomised control is in the data: these are bounds under assumptions; the page says which."
    return Group(*parts, Text(caveat), Text(f"page: {report.page}"))
