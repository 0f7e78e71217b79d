"""The model card: what a bundle is for, what it was made of, how good it is and where it ends, in Markdown.

[1] Mitchell, M., et al. (2019). Model Cards for Model Reporting. FAT* '19.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from training.artifact import Bundle
from training.model_inputs import features_read
from training.tag_model import TAGS_TASK

BASELINE = "baseline_"
SUSPENDED_SHOWN = 20
"""Suspended tags listed one by one; of the others only the reasons are counted."""

PURPOSES = {
    "propensity": (
        "The calibrated probability that a customer buys anything within each horizon. It is meant for "
        "choosing whom to address and when, and as an input of triggers."
    ),
    "clv": (
        "The net spend to be expected of a customer over the horizon, in minor units, with an 80 % interval "
        "and its parts: purchases, interactions, referrals. It is meant for ranking customers and for "
        "planning totals."
    ),
}

HOW_TRAINED = {
    "tags": (
        "Fitted, calibrated and certified on slices of time that follow each other with an embargo of one "
        "outcome window in between. Thresholds are chosen on the calibrating slice; certificates and the "
        "figures below come from the certifying slice, on which nothing was chosen."
    ),
    "propensity": (
        "Each horizon is fitted, calibrated and measured on slices of time that follow each other with an "
        "embargo of one horizon in between. The figures below come from the last slice, on which nothing "
        "was chosen."
    ),
    "clv": (
        "Fitted on past instants whose outcome window was closed. A level model sets the total, a ranking "
        "model shares it out. The figures below are of a model made in the same way at an earlier instant, "
        "compared with what was spent since."
    ),
}

LIMITS = {
    "tags": (
        "Observed precision counts only claims that could be observed; strict precision counts all.",
        "A tag holds for 72 hours at most. A suspended tag is not given out.",
    ),
    "propensity": (
        "Customers of whom nothing is known are answered with the population's share.",
        "Purchases are predicted, not the effect of a message on them.",
    ),
    "clv": (
        "Whoever never bought has no value here.",
        "Amounts are net of refunds, not of costs. A few very large buyers make any total uncertain.",
    ),
}

COMMON_LIMITS = (
    "Learnt from this data alone: another shop, season or assortment asks for another training run.",
    "A change of habits shows only once outcomes are in; `tagtide monitor` looks for it.",
)

LIBRARIES_NOTE = "The same data, settings and versions give the same bundle, byte for byte."


def model_card(bundle: Bundle, sha256: str) -> str:
    """Write a bundle's card; the same bundle has the same card.

    Parameters
    ----------
    sha256
        The bundle's hash, as `training.artifact.save_bundle` returned it.

    Returns
    -------
    Markdown. Categories and brands are named, customers never.
    """
    kind = bundle.task.split("-", 1)[0]
    parts = [
        f"# {bundle.task}",
        f"As of {bundle.as_of}. Bundle `{sha256}`.",
        _section("Purpose", _purpose(bundle)),
        _section("Data", _data(bundle.fingerprint)),
        _section("How it was trained", _training(bundle, kind)),
        _section("Figures", _figures(bundle.metrics)),
    ]
    if "contract" in bundle.content:
        parts.append(_section("Contract", _contract(bundle)))
    parts += [
        _section("Limits", _bullets([*LIMITS.get(kind, ()), *COMMON_LIMITS])),
        _section("Versions", _versions(bundle.versions)),
    ]
    return "\n\n".join(parts) + "\n"


def metric_tables(metrics: Mapping[str, Any]) -> dict[str, dict[str, Mapping[str, float]]]:
    """Return figures as tables of columns: the model, and each baseline measured on the same rows.

    Returns
    -------
    Per table (a horizon, or the empty text where there is one only) its columns, ``model`` first.

    >>> metric_tables({"72h": {"auc": 0.7, "baseline_rfm": {"auc": 0.6}}})
    {'72h': {'model': {'auc': 0.7}, 'rfm': {'auc': 0.6}}}
    """
    numbers = _numbers(metrics)
    inner = {name: value for name, value in metrics.items() if isinstance(value, Mapping)}
    if numbers:
        baselines = {name: value for name, value in inner.items() if name.startswith(BASELINE)}
        return {"": {"model": numbers, **_named(baselines)}}
    return {name: metric_tables(part)[""] for name, part in inner.items() if _numbers(part)}


def _named(baselines: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, float]]:
    return {name.removeprefix(BASELINE): _numbers(value) for name, value in baselines.items()}


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _purpose(bundle: Bundle) -> str:
    if bundle.task.startswith(TAGS_TASK):
        family = bundle.content.get("family", {})
        each = f", one tag per {family['key']}" if family.get("key") else ""
        meaning = family.get("meaning") or "will do what the family declares"
        return f"Tags of the family `{bundle.task.removeprefix(TAGS_TASK)}`{each}: the customer {meaning}."
    return PURPOSES.get(bundle.task, f"Answers of the task `{bundle.task}`.")


def _data(fingerprint: Mapping[str, Any]) -> str:
    return _table(("", ""), [(f"{name}", _shown(value)) for name, value in fingerprint.items()])


def _training(bundle: Bundle, kind: str) -> str:
    parts = [HOW_TRAINED[kind]] if kind in HOW_TRAINED else []
    inputs = ", ".join(f"{len(names)} for `{role}`" for role, names in bundle.features.items())
    parts.append(f"Inputs: {len(features_read(bundle))} features ({inputs}).")
    tuning = bundle.content.get("tuning")
    if isinstance(tuning, Mapping):
        parts.append(
            f"Parameters were searched in {tuning['trials']} trials on rolling slices before the "
            f"calibrating one: mean log loss {tuning['loss']:.5f}, {tuning['default_loss']:.5f} by default."
        )
    parameters = bundle.content.get("parameters")
    if isinstance(parameters, Mapping):
        rows = [(f"`{name}`", _shown(value)) for name, value in sorted(parameters.items())]
        parts.append(_table(("parameter", "value"), rows))
    return "\n\n".join(parts)


def _figures(metrics: Mapping[str, Any]) -> str:
    tables = metric_tables(metrics)
    if not tables:
        return "None could be measured: no outcome window was closed early enough."
    parts = []
    for title, columns in tables.items():
        names = dict.fromkeys(name for column in columns.values() for name in column)
        rows = [(f"`{name}`", *(_shown(column.get(name)) for column in columns.values())) for name in names]
        table = _table(("figure", *columns), rows)
        parts.append(f"### {title}\n\n{table}" if title else table)
    return "\n\n".join(parts)


def _contract(bundle: Bundle) -> str:
    rows = bundle.content["contract"]
    certified = sorted((row for row in rows if row["certified"]), key=lambda row: row["tag"])
    suspended = sorted((row for row in rows if not row["certified"]), key=lambda row: -row["support"])
    promise = bundle.content.get("family", {}).get("contract", {})
    parts = []
    if promise:
        parts.append("Promised: " + ", ".join(f"{name} {value:g}" for name, value in promise.items()) + ".")
    parts.append(f"{len(certified)} certified, {len(suspended)} suspended.")
    if certified:
        header = ("tag", "threshold", "observed claims", "precision", "lower bound", "base rate", "lift")
        names = ("threshold", "support", "precision_shrunk", "lower_bound", "base_rate", "lift")
        parts.append(
            _table(header, [(_tag(row), *(_shown(row[name]) for name in names)) for row in certified])
        )
    if suspended:
        shown = [(_tag(row), _shown(row["support"]), row["reason"]) for row in suspended[:SUSPENDED_SHOWN]]
        parts.append(_table(("suspended", "observed claims", "because"), shown))
    rest = Counter(row["reason"].split(" ", 1)[0] for row in suspended[SUSPENDED_SHOWN:])
    if rest:
        reasons = ", ".join(f"{count} for {reason}" for reason, count in rest.most_common())
        parts.append(f"And {sum(rest.values())} more: {reasons}.")
    return "\n\n".join(parts)


def _tag(row: Mapping[str, Any]) -> str:
    return row["tag"] or "(the family)"


def _versions(versions: Mapping[str, str]) -> str:
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"{listed}. {LIBRARIES_NOTE}"


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}"


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _shown(value: Any) -> str:
    """Write a value as a cell.

    >>> _shown(0.123456), _shown(12345), _shown(None), _shown("x"), _shown(float("nan"))
    ('0.1235', '12,345', '–', 'x', '–')
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value)
