"""A small shop's home, made once by the commands themselves and shared by every test that needs one.

The shop's last days are not imported: they are what is posted to a service, or what a later day brings.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from configs.home import Home, open_home
from configs.settings import Settings, load_settings
from features.lake import Lake
from pipelines import cli
from tests.training.rhythmic_shop import OPENED, shop_events

CUSTOMERS, DAYS, LATER_DAYS = 160, 152, 6
KNOWN_UNTIL = OPENED + timedelta(days=DAYS)
COLUMNS = ["event_id", "customer_id", "event_type", "event_time", "category", "quantity", "amount_minor"]

MAPPING = """
source: shop
read: {parquet: events.parquet}
time_zone: UTC
currency: GBP
columns:
  event_id: event_id
  customer_id: customer_id
  event_type: event_type
  event_time: event_time
  category: category
  quantity: quantity
  amount_minor: amount_minor
evaluation:
  tags:
    census: {first: 2024-05-20, last: 2024-05-28, every_days: 4}
    fit_until: 2024-04-12
    calibrate: {first: 2024-04-20, last: 2024-04-30}
    certify: {first: 2024-05-04, last: 2024-05-16}
  clv: [{as_of: 2024-03-02, horizon_days: 90}]
"""


@dataclass(frozen=True)
class Run:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def clean_environ() -> dict[str, str]:
    """Return the environment without anybody's settings.

    One thread: several that wait for each other on a busy machine make training of so little data far slower.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TAGTIDE_")}
    # Feast sets it for the process that imported it; it is nothing to hand on.
    kept.pop("PROMETHEUS_MULTIPROC_DIR", None)
    return kept | {"TAGTIDE_THREADS": "1"}


def tagtide(home: Path, *arguments: str, environ: Mapping[str, str] | None = None) -> Run:
    """Run one command in this process, as the shell would."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(["--home", str(home), *arguments], dict(clean_environ() | dict(environ or {})))
    return Run(code, out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class SmallShop:
    """A home with everything in it; tests that change it work on a `copy`.

    Attributes
    ----------
    mapping
        The source's mapping file.
    events
        Rows of the event schema: what is known, and the days after that.
    runs
        The commands that made the home, in order.
    """

    home: Home
    mapping: Path
    events: pl.DataFrame
    runs: dict[str, Run] = field(default_factory=dict)

    def run(self, *arguments: str) -> Run:
        return tagtide(self.home.root, *arguments)

    @property
    def settings(self) -> Settings:
        return load_settings(self.home.root, clean_environ()).settings

    @property
    def known(self) -> pl.DataFrame:
        return Lake(self.home.lake).read()

    @property
    def later(self) -> pl.DataFrame:
        return self.events.filter(pl.col("event_time") > KNOWN_UNTIL)

    @property
    def as_of(self) -> datetime:
        """When the last imported event became known."""
        return self.known["ingested_at"].max()

    def copy(self, folder: Path) -> SmallShop:
        shutil.copytree(self.home.root, folder / "home")
        return SmallShop(open_home(folder / "home", create=False), self.mapping, self.events)


def write_source(folder: Path) -> tuple[Path, pl.DataFrame]:
    events = shop_events(CUSTOMERS, DAYS + LATER_DAYS)
    events.select(COLUMNS).write_parquet(folder / "events.parquet")
    (folder / "shop.yaml").write_text(MAPPING, encoding="utf-8")
    return folder / "shop.yaml", events


@cache
def made_shop(temporary: Path) -> SmallShop:
    folder = temporary / "small_shop"
    folder.mkdir()
    mapping, events = write_source(folder)
    shop = SmallShop(open_home(folder / "home", create=True), mapping, events)
    until = KNOWN_UNTIL.astimezone(UTC).isoformat()
    steps = {
        "import": ["import", str(mapping), "--until", until],
        "features": ["features"],
        "train": ["train", "--families", "interest,brand_preference,high_intent"],
        "promote": ["promote"],
        "promote by force": ["promote", "--force"],
        "score": ["score"],
    }
    for name, arguments in steps.items():
        shop.runs[name] = shop.run(*arguments, "--json")
        assert shop.runs[name].code == 0, shop.runs[name].err
    return shop
