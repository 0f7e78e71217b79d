from __future__ import annotations

import pytest

from tests.made_backtests import made_propensity, made_tags, made_value
from training.backtest_figures import FIGURES, contract_rows, parts_of, shown, skipped_of, tables_of


def test_the_parts_are_families_horizons_or_runs():
    assert list(parts_of(made_tags())) == ["interest", "high_intent", "cart_abandoner"]
    assert list(parts_of(made_propensity())) == ["72h", "7d"]
    assert list(parts_of(made_value())) == ["2011-09-09/90d"]
    assert skipped_of(made_tags()) == {"cart_abandoner": "the data has no add_to_cart"}


def test_families_stand_side_by_side_and_what_one_lacks_is_left_open():
    (table,) = tables_of(made_tags())
    assert (table.part, table.columns) == ("", ("interest", "high_intent"))
    rows = dict(table.rows)
    assert rows["precision_observed"] == (0.812, 0.74)
    assert rows["distinct_tags"] == (77, None)
    assert not {"rows", "seconds", "contract"} & rows.keys()


def test_a_model_stands_beside_its_baselines():
    first, second = tables_of(made_propensity())
    assert (first.part, second.part, first.columns) == ("72h", "7d", ("model", "logistic"))
    assert dict(first.rows)["auc"] == (0.763, pytest.approx(0.753))
    assert dict(first.rows)["base_rate"] == (0.3, None)
    (value,) = tables_of(made_value())
    assert dict(value.rows)["bias"] == (-0.034, 0.3)


def test_a_contract_is_read_in_both_of_its_forms():
    interest, intent = (made_tags()[name] for name in ("interest", "high_intent"))
    rows = contract_rows(interest)
    assert [(row.tag_id, row.certified, row.reason) for row in rows] == [
        ("interest:茶 <loose>", True, ""),
        ("interest:BEERS/ALES", False, "support 12; expected 50"),
    ]
    assert rows[1].figures == {"lift": 8.0, "support": 12}
    assert [(row.tag_id, row.certified) for row in contract_rows(intent)] == [("high_intent", True)]
    assert contract_rows({}) == []


def test_every_figure_can_be_written_and_none_is_a_dash():
    for name in FIGURES:
        assert any(letter.isdigit() for letter in shown(name, 0.5))
        assert shown(name, None) == shown(name, float("nan")) == "–"


def test_figures_of_an_object_within_a_part_stand_in_its_table_under_a_dotted_name():
    found = made_propensity()
    found["72h"]["cold_start"] = {"prior": 0.21, "observed": 0.2, "why": "newcomers"}
    found["72h"]["test_days"] = {"count": 29}
    rows = dict(tables_of(found)[0].rows)
    assert rows["cold_start.prior"] == (0.21, None)
    assert not {"cold_start.why", "test_days.count"} & rows.keys()
    assert shown("cold_start.prior", 0.21) == "21.0%"
