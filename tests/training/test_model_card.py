from __future__ import annotations

from dataclasses import replace

import pytest

from training.artifact import Bundle
from training.contract import Certificate
from training.model_card import SUSPENDED_SHOWN, metric_tables, model_card

SHA = "ab" * 32

PROPENSITY = Bundle(
    task="propensity",
    as_of="2024-05-30T00:00:00+00:00",
    models={},
    features={"72h": ["weekday", "order_count_30d"]},
    content={"parameters": {"num_leaves": 15, "learning_rate": 0.04}},
    fingerprint={"rows": 12345, "customers": 160, "sha256": "cd" * 32},
    metrics={
        "72h": {
            "auc": 0.7592,
            "rows": 14170,
            "auc_gain_lower": float("nan"),
            "baseline_logistic": {"auc": 0.7464},
        }
    },
    versions={"lightgbm": "4.7.0"},
)


def section(card: str, title: str) -> str:
    return card.split(f"## {title}\n")[1].split("\n## ", maxsplit=1)[0]


def cells(text: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"
    ]


def tags_bundle(certified: int, suspended: int) -> Bundle:
    rows = [
        Certificate(f"tea {number}", 0.7, True, "", 90, 80, 0.9, 0.88, 0.83, 0.2, 4.5).to_json()
        for number in range(certified)
    ]
    rows += [
        Certificate(f"soap {number}", 0.6, False, "support 10; expected 50", 20, 10 + number).to_json()
        for number in range(suspended)
    ]
    family = {"key": "category", "meaning": "will buy this", "contract": {"precision": 0.8, "lift": 2.0}}
    return replace(PROPENSITY, task="tags-interest", content={"family": family, "contract": rows}, metrics={})


def test_the_card_has_every_part_a_reader_asks_for():
    card = model_card(PROPENSITY, SHA)
    titles = [line.removeprefix("## ") for line in card.splitlines() if line.startswith("## ")]
    assert titles == ["Purpose", "Data", "How it was trained", "Figures", "Limits", "Versions"]
    assert SHA in card
    assert PROPENSITY.as_of in card
    assert ["rows", "12,345"] in cells(section(card, "Data"))
    assert ["`num_leaves`", "15"] in cells(section(card, "How it was trained"))
    assert "lightgbm 4.7.0" in section(card, "Versions")


def test_figures_stand_beside_the_baselines_of_the_same_rows():
    header, _, *rows = cells(section(model_card(PROPENSITY, SHA), "Figures"))
    assert header == ["figure", "model", "logistic"]
    assert ["`auc`", "0.7592", "0.7464"] in rows
    assert ["`rows`", "14,170", "–"] in rows
    assert ["`auc_gain_lower`", "–", "–"] in rows


def test_figures_without_parts_are_one_table():
    tables = metric_tables({"bias": 0.1, "level": "season", "baseline_past_rate": {"bias": 0.3}})
    assert tables == {"": {"model": {"bias": 0.1}, "past_rate": {"bias": 0.3}}}


def test_a_model_that_could_not_be_measured_says_so():
    assert "None could be measured" in section(model_card(replace(PROPENSITY, metrics={}), SHA), "Figures")


def test_the_contract_lists_what_was_promised_and_what_each_tag_proved():
    card = model_card(tags_bundle(2, 1), SHA)
    assert "one tag per category: the customer will buy this." in section(card, "Purpose")
    contract = section(card, "Contract")
    assert "Promised: precision 0.8, lift 2." in contract
    assert "2 certified, 1 suspended." in contract
    assert ["tea 1", "0.7", "80", "0.88", "0.83", "0.2", "4.5"] in cells(contract)
    assert ["soap 0", "10", "support 10; expected 50"] in cells(contract)


def test_of_many_suspended_tags_the_best_known_are_listed_and_the_rest_counted():
    contract = section(model_card(tags_bundle(0, SUSPENDED_SHOWN + 7), SHA), "Contract")
    listed = [row[0] for row in cells(contract) if row[0].startswith("soap")]
    assert listed == [f"soap {number}" for number in range(SUSPENDED_SHOWN + 6, 6, -1)]
    assert "And 7 more: 7 for support." in contract


def test_a_bar_in_the_name_of_a_category_does_not_break_the_table():
    bundle = tags_bundle(1, 0)
    bundle.content["contract"][0]["tag"] = "tea|coffee"
    assert "| tea\\|coffee |" in model_card(bundle, SHA)


def test_a_search_is_told_with_what_it_gained():
    tuned = replace(
        PROPENSITY,
        content=PROPENSITY.content | {"tuning": {"trials": 20, "loss": 0.5, "default_loss": 0.51}},
    )
    told = section(model_card(tuned, SHA), "How it was trained")
    assert "20 trials" in told
    assert "0.50000, 0.51000 by default" in told


@pytest.mark.parametrize("task", ["clv", "segments"])
def test_every_task_has_a_purpose_and_limits(task: str):
    card = model_card(replace(PROPENSITY, task=task), SHA)
    assert section(card, "Purpose").strip()
    assert section(card, "Limits").strip().startswith("- ")
