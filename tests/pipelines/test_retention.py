from __future__ import annotations

import json

import pytest

from configs.home import open_home
from features.lake import Lake
from tests.small_shop import tagtide
from tests.training.rhythmic_shop import shop_events


@pytest.fixture(scope="module")
def shop_home(tmp_path_factory):
    home = open_home(tmp_path_factory.mktemp("retention") / "home", create=True)
    Lake(home.lake).append(shop_events())
    return home


def test_the_tables_are_those_of_the_files_and_again_the_same(shop_home, tmp_path):
    runs = [tagtide(shop_home.root, "retention", "--out", str(tmp_path), "--json") for _ in range(2)]
    assert [run.code for run in runs] == [0, 0], runs[0].err
    assert runs[0].json == runs[1].json
    found = runs[0].json
    assert json.loads((tmp_path / "retention.json").read_text(encoding="utf-8")) == found
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "retention.json",
        "retention.png",
        "retention.svg",
    ]
    first = found["by_first_purchase"][0]
    assert (first["cohort"], first["months_later"]) == ("2024-01-01", 1)
    assert first["share"] == pytest.approx(first["buying"] / first["customers"])
    assert first["share"] > 0.9
    assert {row["stage"] for row in found["by_stage"]} >= {"repeat", "loyal"}


def test_the_screen_shows_both_kinds_of_cohorts(shop_home, tmp_path):
    run = tagtide(shop_home.root, "retention", "--out", str(tmp_path))
    assert run.code == 0
    assert "Newcomers by month" in run.out
    assert "Jan 2024" in run.out
    assert "loyal" in run.out


def test_too_short_a_history_is_refused(shop_home, tmp_path):
    run = tagtide(shop_home.root, "retention", "--as-of", "2024-02-10", "--out", str(tmp_path / "none"))
    assert run.code == 2
    assert "retention needs 2 whole months" in run.err
    assert not (tmp_path / "none").exists()
