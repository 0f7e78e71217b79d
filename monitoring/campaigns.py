"""Campaigns, as contacts and coupons tell of them: who was contacted when, and what they redeemed.

A ``contact`` event names its campaign in ``item_id``; contacts without one belong to the campaign of their
source and day. A customer's window begins with their first contact of the campaign. A redeemed coupon belongs
to the latest contact before it, if that contact's window still runs; with it the order it was redeemed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import polars as pl

from features.windows import DAY_US
from monitoring.errors import CampaignError

IntArray = npt.NDArray[np.int64]

CONTACT_HINT = "import or post events of type contact; item_id names the campaign"


class SpendAxis:
    """Everybody's net spend along time, to be summed exactly over any window.

    Parameters
    ----------
    events
        Rows of the event schema. Purchases count, refunds are taken off; an unknown amount is 0.

    Attributes
    ----------
    customers
        Every customer of the events, sorted.
    """

    def __init__(self, events: pl.DataFrame) -> None:
        self.customers: npt.NDArray[np.str_] = (
            events["customer_id"].unique().sort().to_numpy().astype(np.str_)
        )
        spend = events.filter(pl.col("event_type").is_in(["purchase", "refund"])).select(
            "customer_id",
            time=pl.col("event_time").dt.epoch("us"),
            net=pl.col("amount_minor").fill_null(0)
            * pl.when(pl.col("event_type") == "purchase").then(1).otherwise(-1),
        )
        customer = self.numbers(spend["customer_id"].to_list())
        time = spend["time"].to_numpy()
        # Times are replaced by their rank: a customer's number and a time side by side do not fit 64 bits.
        self._times, rank = np.unique(time, return_inverse=True)
        place = customer * (len(self._times) + 1) + rank
        order = np.argsort(place, kind="stable")
        self._place = place[order]
        self._sums = np.concatenate([[0], np.cumsum(spend["net"].to_numpy()[order])]).astype(np.int64)

    def numbers(self, customer_ids: list[str]) -> IntArray:
        """Return customers' numbers; all of them must occur in the events."""
        return np.searchsorted(self.customers, np.array(customer_ids, np.str_)).astype(np.int64)

    def between(self, customer: IntArray, after_us: IntArray, until_us: IntArray) -> IntArray:
        """Return net spend in ``(after, until]`` per row, minor units, shape (n,)."""
        return self._sums[self._ends(customer, until_us)] - self._sums[self._ends(customer, after_us)]

    def has_bought_by(self, customer: IntArray, until_us: IntArray) -> npt.NDArray[np.bool_]:
        """Return whose first purchase or refund lies at or before an instant, shape (n,)."""
        begin = np.searchsorted(self._place, customer * (len(self._times) + 1))
        return np.asarray(self._ends(customer, until_us) > begin)

    def _ends(self, customer: IntArray, until_us: IntArray) -> npt.NDArray[np.intp]:
        rank = np.searchsorted(self._times, until_us, side="right")
        return np.searchsorted(self._place, customer * (len(self._times) + 1) + rank)


@dataclass(frozen=True)
class Campaign:
    """One campaign and what became of those it contacted.

    Attributes
    ----------
    name
        As the contacts name it; their source before it where there are several.
    customer
        Shape (n,): numbers of the contacted customers, each once.
    contacted_us
        Shape (n,): each one's first contact, µs since the epoch.
    contacts
        Shape (n,): how many messages each got.
    redemptions, coupon_minor
        Shape (n,): coupons redeemed in the window, and what they took off.
    redeemed_order_minor
        Shape (n,): net paid for the orders they were redeemed in.
    """

    name: str
    customer: IntArray
    contacted_us: IntArray
    contacts: IntArray
    redemptions: IntArray
    coupon_minor: IntArray
    redeemed_order_minor: IntArray

    @property
    def began_us(self) -> int:
        """Its first contact."""
        return int(self.contacted_us.min())

    @property
    def middle_us(self) -> int:
        """The middle one of the first contacts: the instant controls are looked at."""
        return int(np.sort(self.contacted_us)[len(self.contacted_us) // 2])

    @property
    def last_us(self) -> int:
        """The last of the first contacts."""
        return int(self.contacted_us.max())


def campaigns_of(events: pl.DataFrame, axis: SpendAxis, zone: ZoneInfo, window_days: int) -> list[Campaign]:
    """Find the campaigns, earliest first.

    Parameters
    ----------
    events
        Rows of the event schema, all that is known.
    zone
        Business time zone: days of contacts that name no campaign.
    window_days
        How long after a contact a redemption still belongs to it.

    Raises
    ------
    CampaignError
        If nobody was ever contacted; the message names the missing event.
    """
    contacts = contacts_of(events, zone)
    redeemed = _redeemed(events, contacts, window_days)
    per_customer = (
        contacts.group_by("campaign", "customer_id")
        .agg(contacted=pl.col("time").min(), contacts=pl.len())
        .join(redeemed, on=["campaign", "customer_id"], how="left")
        .with_columns(pl.col("redemptions", "coupon_minor", "order_minor").fill_null(0))
        .sort("contacted", "campaign", "customer_id")
    )
    found = []
    for _, rows in per_customer.group_by("campaign", maintain_order=True):
        columns = {
            name: rows[name].cast(pl.Int64).to_numpy()
            for name in ("contacted", "contacts", "redemptions", "coupon_minor", "order_minor")
        }
        number = axis.numbers(rows["customer_id"].to_list())
        found.append(Campaign(str(rows["campaign"][0]), number, *columns.values()))
    return found


def contacts_of(events: pl.DataFrame, zone: ZoneInfo) -> pl.DataFrame:
    """Return every contact: ``campaign customer_id time`` (µs), in the order of time.

    Raises
    ------
    CampaignError
        If there is none.
    """
    contacts = events.filter(pl.col("event_type") == "contact")
    if contacts.is_empty():
        raise CampaignError("no campaign: the data has no event of type contact", CONTACT_HINT)
    day = pl.col("event_time").dt.convert_time_zone(str(zone)).dt.date().cast(pl.String)
    name = pl.coalesce("item_id", day)
    if contacts["source"].n_unique() > 1:
        name = pl.concat_str("source", name, separator=":")
    return contacts.select("customer_id", campaign=name, time=pl.col("event_time").dt.epoch("us")).sort(
        "time", "campaign", "customer_id"
    )


def _redeemed(events: pl.DataFrame, contacts: pl.DataFrame, window_days: int) -> pl.DataFrame:
    """Return ``campaign customer_id redemptions coupon_minor order_minor`` of those who redeemed."""
    order = pl.coalesce("order_id", pl.col("event_time").dt.epoch("us").cast(pl.String)).alias("order")
    coupons = (
        events.filter(pl.col("event_type") == "coupon")
        .select("customer_id", order, "coupon_minor", time=pl.col("event_time").dt.epoch("us"))
        .sort("time")
    )
    # The latest contact before the coupon; one at the same instant did not bring it.
    last_touch = coupons.join_asof(
        contacts.with_columns(contact_time=pl.col("time")),
        on="time",
        by="customer_id",
        strategy="backward",
        allow_exact_matches=False,
        check_sortedness=False,
    ).filter(pl.col("time") <= pl.col("contact_time") + window_days * DAY_US)
    orders = (
        events.filter(pl.col("event_type").is_in(["purchase", "refund"]))
        .group_by("customer_id", order)
        .agg(
            order_minor=(
                pl.col("amount_minor").fill_null(0)
                * pl.when(pl.col("event_type") == "purchase").then(1).otherwise(-1)
            ).sum()
        )
    )
    paid = (
        last_touch.unique(["customer_id", "order"], keep="first", maintain_order=True)
        .join(orders, on=["customer_id", "order"], how="left")
        .group_by("campaign", "customer_id")
        .agg(pl.col("order_minor").fill_null(0).sum())
    )
    return (
        last_touch.group_by("campaign", "customer_id")
        .agg(redemptions=pl.len(), coupon_minor=pl.col("coupon_minor").fill_null(0).sum())
        .join(paid, on=["campaign", "customer_id"], how="left")
    )
