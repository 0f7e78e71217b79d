"""What training leaves in the model registry and in bundles: figures and models, never a customer."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from tests.pipelines.id_search import places_naming
from tests.small_shop import COLUMNS, tagtide, write_source

MARKED = "customer-Zq7x-"


def test_neither_the_registry_nor_a_bundle_names_a_customer(tmp_path: Path) -> None:
    mapping, events = write_source(tmp_path)
    marked = events.select(COLUMNS).with_columns(customer_id=MARKED + pl.col("customer_id"))
    marked.write_parquet(tmp_path / "events.parquet")
    home = tmp_path / "home"
    for arguments in (["import", str(mapping)], ["features"], ["train", "propensity"]):
        run = tagtide(home, *arguments, "--json")
        assert run.code == 0, run.err
    assert tagtide(home, "promote", "--force", "--json").code == 0
    assert any((home / "mlflow").rglob("*"))
    assert any((home / "bundles").rglob("*"))
    named = places_naming(home, [MARKED])
    assert any("lake" in place for place in named)
    assert [place for place in named if "mlflow/" in place or "bundles/" in place] == []
