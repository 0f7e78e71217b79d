from __future__ import annotations

import json

from tests.monitoring.report_parts import empty_figures, full_figures


def test_figures_are_json_with_null_for_what_is_not_a_number() -> None:
    figures = full_figures()
    told = json.loads(json.dumps(figures.as_json(), allow_nan=False))
    assert told["as_of"] == "2026-03-09T00:00:00+00:00"
    assert told["numbers"][0]["value"] == 0.8
    assert told["days"][0]["day"] == "2026-03-02"
    assert told["drift"][-1]["psi"] is None
    assert told["tags"][1]["tag_id"] == "interest:茶"
    assert told["useful_tags_per_customer_day"] == {"interest": 0.139}


def test_an_empty_report_is_json_too() -> None:
    assert json.loads(json.dumps(empty_figures().as_json(), allow_nan=False))["since"] is None
