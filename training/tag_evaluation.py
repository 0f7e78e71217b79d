"""How well a family's tags do on a slice: the figures that training, backtests and promotion share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from features.outcomes import CONFIRMED, UNOBSERVED
from features.tags import TagFamily
from features.windows import IntArray
from training.datasets import CENSUS, KIND_NAMES
from training.metrics import auc, ece, wilson_interval
from training.tag_data import TagData
from training.tag_model import TagModel, TagScores

FloatArray = npt.NDArray[np.float64]

USEFUL_LIFT_OF_KEY, USEFUL_LIFT_OF_CUSTOMER = 2.0, 1.2


@dataclass(frozen=True)
class ScoredPart:
    """The claims of one slice with their scores.

    Attributes
    ----------
    part
        Which slice.
    chosen
        Shape (n,): positions among all claims.
    """

    part: int
    chosen: IntArray
    scores: TagScores


def score_part(data: TagData, part: int, model: TagModel) -> ScoredPart:
    """Score the claims of a slice."""
    chosen = np.flatnonzero(data.in_part(part))
    scores = model.score(
        {name: values[chosen] for name, values in data.affinities.items()},
        data.customers,
        data.pairs.row[chosen],
        data.keys_of(chosen),
    )
    return ScoredPart(part, chosen, scores)


def observed_scores(data: TagData, scored: ScoredPart) -> tuple[npt.NDArray[np.bool_], FloatArray]:
    """Return what became of a slice's observed claims, and the probability that was said of each."""
    outcome = data.outcome[scored.chosen]
    observed = outcome != UNOBSERVED
    return outcome[observed] == CONFIRMED, scored.scores.probability_if_observed[observed]


def useful_claims(model: TagModel, scores: TagScores) -> npt.NDArray[np.bool_]:
    """Return which candidates are given out as a tag that proved enough lift to be of use."""
    useful_lift = USEFUL_LIFT_OF_CUSTOMER if model.family.key is None else USEFUL_LIFT_OF_KEY
    lifts = np.array([one["lift"] or 0.0 for one in model.contract] or [0.0])
    return np.asarray(model.given(scores) & (lifts[scores.certificate] >= useful_lift))


def rescored(data: TagData, scored: ScoredPart, model: TagModel) -> ScoredPart:
    """Return the same scores under the contract of another model of the same family and fit."""
    return replace(scored, scores=model.under_contract(scored.scores, data.keys_of(scored.chosen)))


def evaluate_tags(
    data: TagData,
    scored: ScoredPart,
    model: TagModel,
    base_rate_of: Mapping[str, float],
    customer_days: int,
) -> dict[str, float]:
    """Measure a family's tags on a slice's censuses, with the keys that backtests report.

    Parameters
    ----------
    scored
        The slice's claims with the scores of ``model``.
    base_rate_of
        Per key the share of observed customers for whom the tag would have come true in that slice.
    customer_days
        Customers at all censuses of the slice, candidates or not.
    """
    census = data.rows.kind[data.pairs.row[scored.chosen]] == CENSUS
    chosen, scores = scored.chosen[census], scored.scores.take(census)
    keys = data.keys_of(chosen)
    outcome = data.outcome[chosen]
    given, useful = model.given(scores), useful_claims(model, scores)
    observed = outcome != UNOBSERVED
    confirmed = outcome == CONFIRMED
    hits, tried = int((given & confirmed).sum()), int((given & observed).sum())
    rule = _rule(model.family, data, chosen)
    tags = np.array(keys, dtype=object)[given]
    by_tag = {
        tag: (confirmed[given][tags == tag].sum(), observed[given][tags == tag].sum()) for tag in set(tags)
    }
    tag_lifts = [
        hit / count / base_rate_of[tag]
        for tag, (hit, count) in by_tag.items()
        if count and base_rate_of.get(tag, 0) > 0
    ]
    tagged = data.rows.customer[data.pairs.row[chosen][given]]
    looked_at = data.rows.customer[(data.rows.part == scored.part) & (data.rows.kind == CENSUS)]
    nothing = float("nan")
    return {
        "precision_observed": hits / tried if tried else nothing,
        "precision_strict": hits / int(given.sum()) if given.any() else nothing,
        "precision_wilson_low": wilson_interval(hits, tried)[0] if tried else nothing,
        "useful_tags_per_customer_day": int(useful.sum()) / max(customer_days, 1),
        "customers_tagged_share": len(np.unique(tagged)) / max(len(np.unique(looked_at)), 1),
        "distinct_tags": len(by_tag),
        "lift_median": float(np.median(tag_lifts)) if tag_lifts else nothing,
        "rule_precision_observed": (
            float(confirmed[rule & observed].mean()) if (rule & observed).any() else nothing
        ),
        "auc": auc(confirmed[observed], scores.probability_if_observed[observed]),
        "ece": ece(confirmed[observed], scores.probability_if_observed[observed]),
        "n_assigned": int(given.sum()),
        "n_customer_days": customer_days,
    }


def precision_by_kind(data: TagData, scored: ScoredPart, model: TagModel) -> dict[str, float]:
    """Measure the tags given out in a slice at each kind of decision instants that it has."""
    given = model.given(scored.scores)
    kind, outcome = data.rows.kind[data.pairs.row[scored.chosen[given]]], data.outcome[scored.chosen[given]]
    observed = outcome != UNOBSERVED
    return {
        f"precision_{name}": float((outcome[observed & (kind == number)] == CONFIRMED).mean())
        for number, name in enumerate(KIND_NAMES)
        if (observed & (kind == number)).any()
    }


def _rule(family: TagFamily, data: TagData, chosen: IntArray) -> npt.NDArray[np.bool_]:
    """The plain rule: whoever looked at or bought the key in the last 72 h will do so again.

    Where a family does not claim that, the rule is that every candidate deserves the tag.
    """
    if not (family.candidate.is_attention and family.confirmed_by.any_of):
        return np.ones(len(chosen), bool)
    if family.key is None:
        return np.asarray(data.customers["order_count_72h"][data.pairs.row[chosen]] > 0)
    return np.asarray(data.affinities["key_attention_count_72h"][chosen] > 0)
