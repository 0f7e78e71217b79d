"""What a training run made of each model, and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

HEADLINES = {
    "tags": ("precision_observed", "useful_tags_per_customer_day", "certified_tags"),
    "propensity": ("72h.auc", "72h.ece", "7d.auc", "30d.auc"),
    "clv": ("bias", "normalized_gini", "interval_coverage_80"),
    "segments": ("segments", "stability", "explained_share"),
}


@dataclass(frozen=True)
class TrainedModel:
    """One model that was trained, or why it was not.

    Attributes
    ----------
    task
        ``tags-<family>``, ``propensity``, ``clv`` or ``segments``.
    model_version
        Its version in the registry; empty where it was skipped.
    seconds
        Training time, its training set included.
    metrics
        Figures on the slice nothing was chosen on.
    skipped
        Why it was not trained; empty where it was.
    unlearnt
        Inputs that taught it nothing: they never change, or are missing throughout.
    sha256
        The bundle's hash; empty where it was skipped.
    known_before
        Whether the very same bundle had been registered already.
    """

    task: str
    model_version: str
    seconds: float
    metrics: dict[str, Any]
    skipped: str = ""
    unlearnt: Sequence[str] = ()
    sha256: str = ""
    known_before: bool = False


def as_table(trained: Sequence[TrainedModel]) -> Any:
    """Show what was trained as a table."""
    from rich.table import Table

    from training.gate import flatten

    table = Table(title="Trained models")
    for title in ("model", "version", "seconds", "figures on the slice nothing was chosen on"):
        table.add_column(title, overflow="fold")
    for model in trained:
        flat = flatten(model.metrics)
        names = HEADLINES[model.task.split("-", 1)[0]]
        figures = ", ".join(f"{name} {flat[name]:.3f}" for name in names if name in flat)
        said = model.skipped or (f"the bundle it was before; {figures}" if model.known_before else figures)
        table.add_row(model.task, model.model_version, f"{model.seconds:.1f}", said)
    return table
