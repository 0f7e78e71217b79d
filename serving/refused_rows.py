"""Rows that the door refused are kept in the quarantine."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import polars as pl

from configs.errors import TagtideError
from features.windows import from_us
from serving.clock import Clock
from serving.intake import Refusal
from serving.measures import Measures
from serving.stream_parts import RefusalKeeper

logger = logging.getLogger(__name__)


class RefusedRows:
    """Keeps refused rows, where there is a quarantine.

    Parameters
    ----------
    quarantine
        Where they are kept, if anywhere.
    clock
        Tells when they came.
    measures
        Counts failures to keep them.
    """

    def __init__(self, quarantine: RefusalKeeper | None, clock: Clock, measures: Measures) -> None:
        self._quarantine = quarantine
        self._clock = clock
        self._measures = measures

    def keep(self, refused: Sequence[Sequence[Refusal]]) -> None:
        """Keep the refusals of some posts."""
        refusals = [refusal for of_post in refused for refusal in of_post]
        if not refusals or self._quarantine is None:
            return
        try:
            self._quarantine.keep("api", refused_frame(refusals), from_us(self._clock.now_us()))
        # The sender hears of every refused row; that they are also kept must not cost the good ones.
        except TagtideError:
            self._measures.failures.labels("quarantine").inc()
            logger.exception("refused rows could not be kept")


def refused_frame(refusals: Sequence[Refusal]) -> pl.DataFrame:
    """Lay out refused rows as the quarantine keeps them, the first row of a request being 1."""
    names = ("row", "field", "value", "expected", "raw")
    rows = [
        ((one.detail.index or 0) + 1, one.detail.field, one.detail.value, one.detail.expected, one.raw)
        for one in refusals
    ]
    schema = {name: pl.Int64 if name == "row" else pl.String for name in names}
    return pl.DataFrame(rows, schema=schema, orient="row")
