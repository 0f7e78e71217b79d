from __future__ import annotations

import re

import pytest

from monitoring.backtest_page import render_backtest
from tests.made_backtests import made_propensity, made_tags, made_value
from tests.monitoring.test_report_page import Page

BACKTESTS = {"tags": made_tags, "propensity": made_propensity, "clv": made_value}


@pytest.mark.parametrize("task", BACKTESTS)
def test_the_page_is_well_formed_and_loads_nothing(task: str) -> None:
    html = render_backtest(task, BACKTESTS[task]())
    page = Page(html)
    assert page.open == []
    assert [value for _, name, value in page.attributes if name in {"src", "srcset"}] == []
    linked = [value for _, name, value in page.attributes if name == "href"]
    assert all(value.startswith("data:") for value in linked)
    assert not re.search(r"@import|url\(", html)
    assert "default-src 'none'" in html


def test_tags_show_their_contract_met_or_missed_and_why_tags_are_suspended() -> None:
    html = render_backtest("tags", made_tags())
    words = Page(html).words
    for part in (
        "31 Oct 2017 00:00 UTC",
        "29 test days from 2017-10-31 to 2017-12-26",
        "interest: precision 81.2% ✓ contract 80% met",
        "high_intent: precision 74.0% ✕ contract 80% missed",
        "precision, strict 61.2%",
        "cart_abandoner was not measured: the data has no add_to_cart",
        "no precision–coverage curve of high_intent",
        "interest: 1 certified, 1 suspended",
        "support 12; expected 50",
        "plain rule's precision",
    ):
        assert part in words
    assert "interest:茶 &lt;loose&gt;" in html
    assert "<loose>" not in html


def test_every_model_stands_beside_its_baselines() -> None:
    words = Page(render_backtest("propensity", made_propensity())).words
    assert "72h: AUC 0.763" in words
    assert "Figure model logistic AUC 0.763 0.753" in words
    value = Page(render_backtest("clv", made_value())).words
    assert "2011-09-09/90d: total off by −3.4%" in value
    assert "total off by −3.4% +30.0%" in value
    assert "Dates given on the command line" in value
    assert "Level: two years of history" in value


def test_the_charts_have_words_for_those_who_cannot_see_them() -> None:
    attributes = Page(render_backtest("propensity", made_propensity())).attributes
    labels = [value for _, name, value in attributes if name == "aria-label"]
    assert any(label.startswith("72h: 10 bins; the largest gap") for label in labels)
    titles = [value for tag, name, value in attributes if (tag, name) == ("span", "title")]
    assert "best 5%: 2.50 times as often as everyone, 5.0% of all who did" in titles


def test_a_backtest_of_nothing_says_so() -> None:
    found = {name: value for name, value in made_tags().items() if name not in {"interest", "high_intent"}}
    words = Page(render_backtest("tags", found)).words
    assert "Nothing could be measured" in words
    assert "cart_abandoner was not measured" in words


def test_a_family_that_gives_nothing_out_neither_keeps_nor_breaks_its_contract() -> None:
    found = made_tags()
    found["high_intent"] |= {"precision_observed": None, "precision_strict": None}
    words = Page(render_backtest("tags", found)).words
    assert "high_intent: useful tags per customer-day 0.000 ○ no tag given out" in words
