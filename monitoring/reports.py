"""Writing a monitoring report: one page to read first, and Evidently's to dig in."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from monitoring.drift import DriftInputs
from monitoring.errors import ReportError
from monitoring.evidently_report import ROWS_MAX, write_evidently
from monitoring.figures import Figures
from monitoring.page import installed_version
from monitoring.report_page import render_page

PAGE = "index.html"
EVIDENTLY_PAGE = "evidently.html"
FIGURES = "figures.json"


@dataclass(frozen=True)
class WrittenReport:
    """Where a report lies. ``evidently`` is null where there was nothing to show in it."""

    page: Path
    figures: Path
    evidently: Path | None


def write_report(
    directory: Path,
    figures: Figures,
    claims: pl.DataFrame | None = None,
    inputs: DriftInputs | None = None,
) -> WrittenReport:
    """Write ``index.html``, ``figures.json`` and, given claims or inputs, ``evidently.html``.

    An earlier report of the directory is replaced file by file, each at once; other files stay.

    Parameters
    ----------
    directory
        Made if missing.
    claims
        As `precision.assigned` gives them, for Evidently.
    inputs
        For Evidently; what the page says of drift is in ``figures``.

    Raises
    ------
    ReportError
        If the directory cannot be written.
    """
    observed = claims is not None and claims["outcome"].is_in(["confirmed", "refuted"]).any()
    has_inputs = inputs is not None and not inputs.is_empty
    evidently = directory / EVIDENTLY_PAGE
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if observed or has_inputs:
            with tempfile.TemporaryDirectory(dir=directory) as scratch:
                made = Path(scratch) / EVIDENTLY_PAGE
                write_evidently(made, figures, pl.DataFrame() if claims is None else claims, inputs)
                made.replace(evidently)
        else:
            evidently.unlink(missing_ok=True)
        page = render_page(
            figures,
            version=installed_version(),
            evidently_file=EVIDENTLY_PAGE if evidently.exists() else None,
            evidently_rows=ROWS_MAX,
        )
        _replace(directory / PAGE, page)
        _replace(directory / FIGURES, json.dumps(figures.as_json(), ensure_ascii=False, indent=1) + "\n")
    except OSError as error:
        raise ReportError(
            f"cannot write report {directory}: {error.strerror}", "choose another --out, or free the disk"
        ) from None
    return WrittenReport(
        page=directory / PAGE,
        figures=directory / FIGURES,
        evidently=evidently if evidently.exists() else None,
    )


def _replace(path: Path, text: str) -> None:
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)
