"""Why a customer is worth what the model says: its two boosters, each explained on its own scale.

Expected spend is a product of both, of the classic model's blend and of a level, so that no sum of features
makes it; what the boosters learnt, whether something is spent and how much then, is such a sum for each.
"""

from __future__ import annotations

from features.definitions import FeatureDefinition
from features.phrases import Phrase
from features.topics import Topic
from training.clv import ROLES, ClvModel
from training.clv_inputs import DERIVED, ClvInputs, ranker_inputs
from training.contributions import Term
from training.reasons import LOG_ODDS

SCALES = dict(zip(ROLES, (LOG_ODDS, "log of the amount"), strict=True))
"""Per part: that anything is spent, and how much where something is."""


def _derived(name: str, unit: str, meaning: str, said: str, topic: Topic) -> FeatureDefinition:
    null = "no customer has bought twice" if name.startswith("bgnbd") else "no purchase yet"
    return FeatureDefinition(name, "float", unit, "", meaning, null, phrase=Phrase(said, topic=topic))


DERIVED_INPUTS = {
    one.name: one
    for one in (
        _derived(
            "bgnbd_gg_spend_minor",
            "minor units",
            "Spend that BG/NBD and Gamma-Gamma expect.",
            "the rhythm and worth of the orders alone promise {value}",
            Topic.SPENDING,
        ),
        _derived(
            "bgnbd_orders",
            "orders",
            "Orders that BG/NBD expects.",
            "the rhythm of the orders alone promises {value}",
            Topic.ORDERS,
        ),
        _derived(
            "bgnbd_probability_alive",
            "ratio",
            "Probability by BG/NBD of not having left for good.",
            "by the rhythm of the orders, is still a customer with {percent}",
            Topic.ORDERS,
        ),
        _derived(
            "past_rate_minor",
            "minor units",
            "Net spend over the horizon at the pace so far.",
            "the pace so far comes to {value}",
            Topic.SPENDING,
        ),
        _derived(
            "net_per_day_minor",
            "minor units",
            "Net spend a day so far.",
            "spends {value} a day, net of refunds",
            Topic.SPENDING,
        ),
        _derived(
            "orders_per_day", "ratio", "Orders a day so far.", "orders {value} times a day", Topic.ORDERS
        ),
    )
}
"""What the ranker reads beside features, in words."""


def clv_terms(model: ClvModel, features: ClvInputs) -> dict[str, list[Term]]:
    """Return the terms of each part that has a booster, by its role."""
    matrix = ranker_inputs(features, model.classic, model.trained_horizon_days)
    names = (*features.names, *DERIVED)
    boosters = dict(zip(ROLES, (model.ranker.any_spend, model.ranker.amount), strict=True))
    return {role: [Term(booster, names, matrix)] for role, booster in boosters.items() if booster is not None}
