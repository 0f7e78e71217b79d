"""Rankings of a campaign's customers by models trained as of before it began."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import polars as pl

from configs.errors import did_you_mean
from features.tags import TagFamily
from features.windows import from_us, to_us
from monitoring.campaigns import SpendAxis
from monitoring.errors import CampaignError
from monitoring.roi import Judged
from training.datasets import CENSUS, TEST, DecisionRows, key_frame
from training.model_inputs import customer_inputs
from training.propensity import (
    HORIZONS_HOURS,
    TASK,
    PropensityData,
    PropensityModel,
    purchased_within,
    train_propensity,
)
from training.tag_data import tag_data
from training.tag_model import TAGS_TASK, TagModel
from training.tags import train_tags
from training.workbench import Workbench

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Join = Callable[[str, pl.DataFrame], pl.DataFrame]
"""Asks the feature service of a name for the inputs of rows of keys and instants."""

PROPENSITY = "propensity"
PAST_SPEND = "spend in 90 days"
"""The plain rule that every model is shown beside."""

HORIZON = "7d"
PAST_DAYS = 90
DAY_US = 86_400_000_000

LEAST_HISTORY_DAYS = 120
"""Days of data before a campaign that a model can be trained on."""
LEAST_CUSTOMERS = 100
LEAST_REDEEMERS = 20


def before_it_began(judged: Judged, zone: ZoneInfo) -> datetime:
    """Return the midnight of the business zone that a campaign's first contact follows."""
    first = from_us(judged.campaign.began_us - 1).astimezone(zone)
    return datetime.combine(first.date(), time(0), zone)


def held_out_campaigns(judged: Sequence[Judged], first_us: int, count: int) -> list[Judged]:
    """Return the latest campaigns that a ranking can be judged by, in their order.

    A campaign needs history to train on before it, and enough customers and redeemers to tell rankings apart.
    """
    fit = [
        one
        for one in judged
        if one.campaign.began_us >= first_us + LEAST_HISTORY_DAYS * DAY_US
        and len(one.campaign.customer) >= LEAST_CUSTOMERS
        and int((one.campaign.redemptions > 0).sum()) >= LEAST_REDEEMERS
    ]
    return fit[-count:] if count else []


def require_rankings(names: Sequence[str], families: Mapping[str, TagFamily]) -> None:
    """Refuse what no model ranks customers by.

    Raises
    ------
    CampaignError
        If a name is neither ``propensity`` nor a tag family about the customer as a whole.
    """
    known = [PROPENSITY, *(name for name, family in families.items() if family.key is None)]
    for name in names:
        if name in families and families[name].key is not None:
            raise CampaignError(
                f"tag family {name!r} is about a customer and a {families[name].key}: it ranks nobody alone",
                f"choose among {', '.join(known)}",
            )
        if name not in known:
            raise CampaignError(
                f"no ranking {name!r}{did_you_mean(name, known)}; expected some of {', '.join(known)}"
            )


def customer_rows(bench: Workbench, customers: Sequence[str]) -> DecisionRows:
    """Return customers known to a workbench at its instant, as decision rows of slice `TEST`."""
    numbers = bench.history.numbers(customers)
    size = len(numbers)
    at = np.full(size, to_us(bench.as_of))
    return DecisionRows(numbers, at, np.full(size, CENSUS), np.full(size, TEST))


def known_among(bench: Workbench, customers: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Return which customers had an event by the workbench's instant; nothing ranks the others."""
    known = set(bench.history.columns.customers)
    return np.array([name in known for name in customers], bool)


def propensity_scores(bench: Workbench, rows: DecisionRows, join: Join) -> FloatArray:
    """Train purchase propensity as of the workbench's instant and score customers, shape (n,).

    Raises
    ------
    TrainingDataError
        If the history is too short or too poor.
    """
    together = DecisionRows.joined([bench.propensity_rows(HORIZON), rows])
    joined = join("propensity_v1", key_frame(bench.history, together))
    features = {name: joined[name].to_numpy() for name in customer_inputs(TASK)}
    bought = purchased_within(bench.judge, together, HORIZONS_HOURS[HORIZON])
    bundle = train_propensity(
        {HORIZON: PropensityData(together, features, bought)},
        as_of=bench.as_of.isoformat(),
        seed=bench.settings.seed,
        threads=bench.settings.threads,
        fingerprint=bench.fingerprint,
    )
    probability = PropensityModel(bundle, bench.settings.threads).score(features)[HORIZON]
    return _of_rows(together, rows, probability)


def tag_scores(bench: Workbench, family: TagFamily, rows: DecisionRows, join: Join) -> FloatArray:
    """Train a family about customers as a whole as of the workbench's instant and score, shape (n,).

    Raises
    ------
    TrainingDataError
        If the history is too short or too poor.
    """
    service, everyone = family.service, bench.rows_of(family)
    data = tag_data(bench.judge, family, everyone, bench.claims(family), lambda frame: join(service, frame))
    bundle = train_tags(
        bench.history,
        bench.judge,
        family,
        data,
        everyone,
        as_of=bench.as_of.isoformat(),
        seed=bench.settings.seed,
        threads=bench.settings.threads,
        fingerprint=bench.fingerprint,
    )
    joined = join(service, key_frame(bench.history, rows))
    columns = {name: joined[name].to_numpy() for name in customer_inputs(f"{TAGS_TASK}{family.family}")}
    model = TagModel(bundle, family, bench.settings.threads)
    return model.score({}, columns, np.arange(len(rows)), [""] * len(rows)).probability


def past_spend(judged: Judged, axis: SpendAxis, at: datetime) -> FloatArray:
    """Return what each contacted customer spent in the 90 days before an instant, minor units, shape (n,)."""
    until = np.full(len(judged.campaign.customer), to_us(at))
    since = until - to_us(from_us(0) + timedelta(days=PAST_DAYS))
    return axis.between(judged.campaign.customer, since, until).astype(np.float64)


def _of_rows(together: DecisionRows, rows: DecisionRows, values: FloatArray) -> FloatArray:
    """Look values of joined rows up for some of them; a repeated row stands where it stood first."""
    place = {
        key: number
        for number, key in enumerate(zip(together.customer.tolist(), together.instant.tolist(), strict=True))
    }
    wanted = zip(rows.customer.tolist(), rows.instant.tolist(), strict=True)
    return values[np.array([place[key] for key in wanted], np.int64)]
