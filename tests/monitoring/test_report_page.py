from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from monitoring.figures import Figures
from monitoring.report_page import render_page
from tests.monitoring.report_parts import empty_figures, full_figures

VOID = {"meta", "link", "input"}


class Page(HTMLParser):
    """Checks that every element is closed, and collects text and attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in {"style", "script"}:
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def page_of(figures: Figures, evidently: str | None = "evidently.html") -> str:
    return render_page(figures, version="9.9", evidently_file=evidently, evidently_rows=20_000)


@pytest.mark.parametrize("figures", [full_figures(), empty_figures()], ids=["full", "empty"])
def test_the_page_is_well_formed_and_loads_nothing(figures: Figures) -> None:
    html = page_of(figures)
    page = Page(html)
    assert page.open == []
    loaded = [value for _, name, value in page.attributes if name in {"src", "srcset"}]
    linked = [value for _, name, value in page.attributes if name == "href"]
    assert loaded == []
    assert all(value.startswith("data:") or value == "evidently.html" for value in linked)
    assert not re.search(r"@import|url\(", html)
    assert "default-src 'none'" in html


def test_the_four_numbers_come_first_in_their_order() -> None:
    words = Page(page_of(full_figures())).words
    places = [
        words.index(part)
        for part in (
            "Tag precision 80.0%",
            "Trigger latency 38 ms",
            "Propensity lift 2.10×",
            "CLV error not measured",
        )
    ]
    assert places == sorted(places)
    assert places[-1] < words.index("Tag precision over time")
    assert "What to do" in words
    assert "12,000 replayed events" in words


def test_every_tag_stands_in_the_table_escaped_and_sortable() -> None:
    html = page_of(full_figures())
    assert "interest:CHIPS &amp; DIPS &lt;salty&gt;" in html
    assert "<salty>" not in html
    words = Page(html).words
    for part in ("interest:茶", "✕ below", "○ too few", "87.5%", "58.3%", "3.50×"):
        assert part in words
    values = [value for tag, name, value in Page(html).attributes if (tag, name) == ("td", "data-value")]
    assert "0.875" in values
    assert "" in values


def test_drift_suspensions_notes_and_provisional_are_told() -> None:
    words = Page(page_of(full_figures())).words
    for part in (
        "✕ 1 drifted ▲ 1 look closer ✓ 14 stable ○ 1 too few rows",
        "contact_count_7d",
        "The other 5 inputs",
        "1 suspended tag, not given out",
        "precision 0.71 is below 0.75",
        "A note <for> the reader.",
        "blind to concept drift",
        "321 open 80.5%",
        "0.139",
        "4,321 customer-days",
        "30 sampled 10.0%",
        "6,000 customers seen in March, against 20,000",
        "09 Mar 2026 08:00 (Asia/Shanghai)",
    ):
        assert part in words


def test_the_chart_has_words_for_those_who_cannot_see_it() -> None:
    attributes = Page(page_of(full_figures())).attributes
    labels = [value for _, name, value in attributes if name == "aria-label"]
    assert any(label.startswith("interest: observed precision by day") for label in labels)
    titles = [value for tag, name, value in attributes if (tag, name) == ("span", "title")]
    assert any("80.0% of 50 observed claims" in title for title in titles)


def test_an_empty_report_says_what_is_missing() -> None:
    words = Page(page_of(empty_figures(), None)).words
    assert words.count("not measured") == 4
    for part in (
        "No claim's window has closed yet",
        "No claim has been judged",
        "No served propensity's window has closed yet",
        "Not measured: there are no training rows",
    ):
        assert part in words
    assert "Evidently" not in words
