from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from monitoring.closing import close_windows
from monitoring.drift import DriftInputs
from monitoring.errors import ReportError
from monitoring.evidently_report import write_evidently
from monitoring.gathering import Gathered, gather_figures
from tests.monitoring.report_parts import empty_figures
from tests.monitoring.shop import FAMILIES, at_us, filled_ledger, random_claims
from tests.monitoring.test_gathering import EVENTS, OCCASION


@pytest.fixture(scope="module")
def gathered(tmp_path_factory: pytest.TempPathFactory) -> Gathered:
    ledger = filled_ledger(tmp_path_factory.mktemp("ledger"), random_claims(11))
    close_windows(ledger, EVENTS, FAMILIES, at_us(7 * 24), OCCASION.lateness_allowance)
    return gather_figures(ledger, EVENTS, FAMILIES, OCCASION)


@pytest.fixture(scope="module")
def inputs() -> DriftInputs:
    rng = np.random.default_rng(1)
    return DriftInputs(
        pl.DataFrame({"spend": rng.gamma(2, 3, 3_000), "constant": 1, "empty": None}),
        pl.DataFrame({"spend": rng.gamma(4, 3, 2_000), "constant": 1, "empty": 2.0}),
        ("spend", "constant", "empty"),
        "then",
        "now",
    )


def test_each_tag_and_day_has_its_own_precision(
    tmp_path: Path, gathered: Gathered, inputs: DriftInputs
) -> None:
    page = tmp_path / "evidently.html"
    values = write_evidently(page, gathered.figures, gathered.claims, inputs)
    seen: dict[str, list[bool]] = defaultdict(list)
    for row in gathered.claims.iter_rows(named=True):
        if row["outcome"] in {"confirmed", "refuted"}:
            seen[f"TagPrecision(tag={row['tag_id']})"].append(row["outcome"] == "confirmed")
            day = f"DayTagPrecision(family={row['family']},day={row['day']})"
            seen[day].append(row["outcome"] == "confirmed")
    assert set(values) == set(seen)
    assert len(set(values.values())) > 3
    for name, outcomes in seen.items():
        assert values[name] == pytest.approx(np.mean(outcomes)), name
    html = page.read_text(encoding="utf-8")
    for words in ("Four numbers first", "Tag precision over time: interest", "Tag precision by tag", "spend"):
        assert words in html
    assert os.environ["DO_NOT_TRACK"] == "1"


def test_precision_alone_and_drift_alone_are_reports_too(
    tmp_path: Path, gathered: Gathered, inputs: DriftInputs
) -> None:
    page = tmp_path / "evidently.html"
    assert write_evidently(page, gathered.figures, gathered.claims, None)
    assert write_evidently(page, empty_figures(), gathered.claims.clear(), inputs) == {}
    assert "Tag precision over time" not in page.read_text(encoding="utf-8")


def test_nothing_to_show_is_an_error_with_a_next_step(tmp_path: Path, gathered: Gathered) -> None:
    with pytest.raises(ReportError, match="observed claims or inputs") as caught:
        write_evidently(tmp_path / "evidently.html", empty_figures(), gathered.claims.clear(), None)
    assert "tagtide monitor" in caught.value.next_step
