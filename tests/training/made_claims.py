"""Claims of tags, as tests of the contract make them up."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from features.outcomes import CONFIRMED, REFUTED, UNOBSERVED
from features.tags import Contract
from training.datasets import CENSUS
from training.tag_claims import Claims

CONTRACT = Contract(precision=0.80, lift=2.0, confidence=0.90, slack=0.05, min_support=50)


def claims_of(
    probability: Any, outcome: Any, *, tag: Any = 0, customer: Any = None, kind: Any = CENSUS
) -> Claims:
    """Claims of one tag by as many customers, unless said otherwise."""
    size = len(outcome)
    return Claims(
        np.broadcast_to(np.asarray(tag, np.int64), size),
        np.broadcast_to(np.asarray(probability, np.float64), size),
        np.asarray(outcome, np.int8),
        np.arange(size) if customer is None else np.asarray(customer, np.int64),
        np.broadcast_to(np.asarray(kind, np.int64), size),
    )


def outcomes(confirmed: int, refuted: int, unobserved: int = 0) -> npt.NDArray[np.int8]:
    return np.repeat([CONFIRMED, REFUTED, UNOBSERVED], [confirmed, refuted, unobserved]).astype(np.int8)


def joined(*parts: Claims) -> Claims:
    return Claims(*(np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])))
