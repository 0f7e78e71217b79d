"""How many different items, categories and brands a customer has viewed, carted, bought, sent back."""

from __future__ import annotations

from features.customer_rows import CATALOGUE, PROPENSITY_SERVICES, WINDOWS, CustomerRows
from features.phrases import Phrase
from features.profile import DISTINCT_COLUMNS, DISTINCT_TYPES
from features.topics import Topic
from features.windows import DAY_30, DAY_90, IntArray, Window

UNITS = {"item": "items", "category": "categories", "brand": "brands"}

DEEDS = {
    "view": ("viewed", Topic.VIEWS),
    "add_to_cart": ("put into the cart", Topic.CART),
    "remove_from_cart": ("took out of the cart", Topic.CART),
    "purchase": ("bought", Topic.SPENDING),
    "refund": ("sent back", Topic.REFUNDS),
    "interaction": ("got in touch about", Topic.INTERACTIONS),
    "coupon": ("redeemed coupons for", Topic.COUPONS),
}
"""What is said of each type of event, and what it is told together with."""


def _declare(event_type: str, column: str) -> None:
    def distinct(rows: CustomerRows, window: Window) -> IntArray:
        return rows.distinct(event_type, column, window)

    distinct.__doc__ = (
        f"Different {UNITS[column]} among events of type {event_type} in the window; "
        "one of days or more ends at the profile's boundary."
    )
    did, topic = DEEDS[event_type]
    phrase = Phrase(f"{did} {{value}} {{window}}", f"{did} no known {column} {{window}}", topic)
    name = f"{event_type}_distinct_{column}_count_{{window}}"
    read_by = dict.fromkeys((DAY_30, DAY_90), PROPENSITY_SERVICES) if event_type == "purchase" else {}
    CATALOGUE.windowed(name, WINDOWS, unit=UNITS[column], services=read_by, phrase=phrase)(distinct)


for _event_type in DISTINCT_TYPES:
    for _column in DISTINCT_COLUMNS:
        _declare(_event_type, _column)
