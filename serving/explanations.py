"""Explains what the models in force say of customers; computed only where reasons are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from training.clv import ClvModel
from training.clv_inputs import ClvInputs
from training.clv_reasons import DERIVED_INPUTS, SCALES, clv_terms
from training.contributions import contributions
from training.propensity import PropensityModel
from training.reasons import Explainer, Explanation
from training.tag_model import KEY, TagModel

Columns = Mapping[str, npt.NDArray[Any]]
IntArray = npt.NDArray[np.int64]


def explainer(currency: str | None) -> Explainer:
    """Return what puts the contributions of every served model in words."""
    return Explainer(currency, DERIVED_INPUTS)


def explain_tags(
    words: Explainer,
    model: TagModel,
    pairs: Columns,
    columns: Columns,
    customer_row: IntArray,
    keys: Sequence[str],
    chosen: IntArray,
) -> dict[int, Explanation]:
    """Explain some candidates of a family, by their place among all: the score is that of being confirmed.

    Parameters
    ----------
    pairs, columns, customer_row, keys
        As `TagModel.score` takes them.
    chosen
        Places of the candidates to explain.
    """
    if len(chosen) == 0:
        return {}
    here = {name: values[chosen] for name, values in pairs.items()}
    rows, named = customer_row[chosen], [keys[place] for place in chosen.tolist()]
    names, found = model.contributions(here, columns, rows, named)
    values = {name: here[name] if name in here else columns[name][rows] for name in names if name != KEY}
    if KEY in names:
        values[KEY] = model.key_numbers(named)
    told = words.explain(names, found, values, None if model.family.key is None else named)
    return dict(zip(chosen.tolist(), told, strict=True))


def explain_propensity(
    words: Explainer, model: PropensityModel, columns: Columns, rows: IntArray
) -> dict[int, dict[str, Explanation]]:
    """Explain the propensities of some customers: by row and horizon, before calibration."""
    here = {name: values[rows] for name, values in columns.items()}
    told: dict[int, dict[str, Explanation]] = {row: {} for row in rows.tolist()}
    for horizon in model.horizons:
        names, found = model.contributions(horizon, here)
        for row, one in zip(rows.tolist(), words.explain(names, found, here), strict=True):
            told[row][horizon] = one
    return told


def explain_value(
    words: Explainer, model: ClvModel, features: ClvInputs, rows: IntArray
) -> dict[int, dict[str, Explanation]]:
    """Explain the value of some customers: by row and part, whether anything is spent and how much then.

    Parameters
    ----------
    features
        One row for each of ``rows``.
    """
    told: dict[int, dict[str, Explanation]] = {row: {} for row in rows.tolist()}
    for part, terms in clv_terms(model, features).items():
        names, found = contributions(terms)
        values = {name: terms[0].matrix[:, number] for number, name in enumerate(terms[0].names)}
        for row, one in zip(
            rows.tolist(), words.explain(names, found, values, scale=SCALES[part]), strict=True
        ):
            told[row][part] = one
    return told
