"""What stands beside a bundle in its MLflow run: model card, data fingerprint, requirements and pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.artifact import Bundle
from training.model_card import model_card
from training.training_plots import Scored, baselines_figure, importance_figure, reliability_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CARD_FILE = "model_card.md"
DATA_FILE = "data.json"
REQUIREMENTS_FILE = "requirements.txt"
PLOTS_FOLDER = "plots"

HEADLINE_OF_BASELINES = {"propensity": "auc", "clv": "normalized_gini"}


def write_documents(folder: Path, bundle: Bundle, sha256: str, scored: Scored) -> None:
    """Write a training run's documents into a new folder; no customer is named in any.

    Parameters
    ----------
    scored
        Outcomes and probabilities on the slice nothing was chosen on; empty where the model says none.
    """
    (folder / PLOTS_FOLDER).mkdir(parents=True)
    (folder / CARD_FILE).write_text(model_card(bundle, sha256), encoding="utf-8")
    fingerprint = json.dumps(dict(bundle.fingerprint), indent=2, sort_keys=True)
    (folder / DATA_FILE).write_text(fingerprint + "\n", encoding="utf-8")
    pinned = "".join(f"{name}=={version}\n" for name, version in sorted(bundle.versions.items()))
    (folder / REQUIREMENTS_FILE).write_text(pinned, encoding="utf-8")
    for name, figure in _figures(bundle, scored).items():
        figure.savefig(folder / PLOTS_FOLDER / f"{name}.png", dpi=110, metadata={"Software": None})


def run_params(bundle: Bundle, seed: int) -> dict[str, Any]:
    """Return the parameters of a run as MLflow keeps them: seed, instant, data, and what was fitted with."""
    parameters: Mapping[str, Any] = bundle.content.get("parameters", {})
    tuning: Mapping[str, Any] = bundle.content.get("tuning", {})
    return {
        "seed": seed,
        "as_of": bundle.as_of,
        "rows": bundle.fingerprint.get("rows"),
        **{f"data.{name}": value for name, value in bundle.fingerprint.items()},
        **{f"parameters.{name}": value for name, value in parameters.items()},
        **{f"tuning.{name}": value for name, value in tuning.items()},
    }


def _figures(bundle: Bundle, scored: Scored) -> dict[str, Figure]:
    drawn: dict[str, Figure | None] = {"importance": importance_figure(bundle)} if bundle.models else {}
    if scored:
        drawn["reliability"] = reliability_figure(scored)
    if bundle.task in HEADLINE_OF_BASELINES:
        drawn["baselines"] = baselines_figure(bundle, HEADLINE_OF_BASELINES[bundle.task])
    return {name: figure for name, figure in drawn.items() if figure is not None}
