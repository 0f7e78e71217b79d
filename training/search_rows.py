"""The rows a search for parameters may look at: those of the fitting slice, and nothing later."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from features.outcomes import CONFIRMED, UNOBSERVED
from features.tags import TagFamily
from features.windows import HOUR_US
from training.datasets import FIT
from training.propensity import HORIZONS_HOURS, PropensityData
from training.tag_data import TagData
from training.tuning import SearchRows


def propensity_rows(data: Mapping[str, PropensityData]) -> list[SearchRows]:
    """Return the fitting rows of each horizon."""
    found = []
    for horizon, rows in data.items():
        fit = np.flatnonzero(rows.part(FIT))
        features = {name: values[fit] for name, values in rows.features.items()}
        window_us = HORIZONS_HOURS[horizon] * HOUR_US
        found.append(SearchRows(features, rows.bought[fit], rows.rows.instant[fit], window_us))
    return found


def tag_rows(family: TagFamily, data: TagData) -> list[SearchRows]:
    """Return the observed claims of the fitting slice; the category or brand itself is no input here."""
    fit = np.flatnonzero(data.in_part(FIT) & (data.outcome != UNOBSERVED))
    row = data.pairs.row[fit]
    features = {name: values[row] for name, values in data.customers.items()}
    features |= {name: values[fit] for name, values in data.affinities.items()}
    window_us = family.life_hours * HOUR_US
    return [SearchRows(features, data.outcome[fit] == CONFIRMED, data.rows.instant[row], window_us)]
