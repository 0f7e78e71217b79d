"""Pages of docs/ whose figures stand between two marks."""

from __future__ import annotations

from pathlib import Path

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def with_figures(page: Path, figures: str) -> str:
    """Return a page with these figures in the place of those that it has."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{figures}\n{END}{after}"
