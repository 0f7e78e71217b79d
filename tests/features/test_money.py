from __future__ import annotations

import json

import pytest

from features.money import home_currency, in_words


@pytest.mark.parametrize(
    ("minor", "currency", "expected"),
    [
        (5, "EUR", "0.05 EUR"),
        (-250, "CNY", "-2.50 CNY"),
        (1500, "JPY", "1,500 JPY"),
        (1500, "KWD", "1.500 KWD"),
        (99.6, None, "100 minor units"),
    ],
)
def test_an_amount_has_the_digits_of_its_currency(minor: float, currency: str | None, expected: str) -> None:
    assert in_words(minor, currency) == expected


def imported(home, source: str, currency: str | None) -> None:
    columns = {name: name for name in ("event_id", "customer_id", "event_type", "event_time")}
    mapping = {"source": source, "read": {"csv": "x.csv"}, "columns": columns}
    folder = home.sources / source
    folder.mkdir(parents=True)
    written = {"mapping": mapping | {"currency": currency}, "folder": "."}
    (folder / "mapping.json").write_text(json.dumps(written), encoding="utf-8")


def test_a_home_has_the_currency_its_sources_agree_on(home) -> None:
    assert home_currency(home) is None
    imported(home, "clicks", None)
    assert home_currency(home) is None
    imported(home, "pos", "CNY")
    assert home_currency(home) == "CNY"
    imported(home, "abroad", "USD")
    assert home_currency(home) is None


def test_a_damaged_mapping_costs_the_currency_and_nothing_else(home) -> None:
    imported(home, "pos", "CNY")
    imported(home, "clicks", "CNY")
    (home.sources / "clicks" / "mapping.json").write_text("{", encoding="utf-8")
    assert home_currency(home) is None
