"""Claims of tags that might be made, laid out as columns, with what became of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from features.windows import IntArray

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Claims:
    """Claims that might be made, with what became of them.

    Attributes
    ----------
    tag
        Shape (n,): number of the tag.
    probability
        Shape (n,): calibrated probability of being confirmed if observed.
    outcome
        Shape (n,): as `features.outcomes` judges.
    customer, kind
        Shape (n,): customer number, and kind of decision instant.
    """

    tag: IntArray
    probability: FloatArray
    outcome: npt.NDArray[np.int8]
    customer: IntArray
    kind: IntArray

    def take(self, chosen: npt.NDArray[Any]) -> Claims:
        """Return some of the claims."""
        return Claims(
            self.tag[chosen],
            self.probability[chosen],
            self.outcome[chosen],
            self.customer[chosen],
            self.kind[chosen],
        )

    def by_tag(self, tag_count: int) -> list[IntArray]:
        """Return the positions of each tag's claims."""
        order = np.argsort(self.tag, kind="stable")
        return np.split(order, np.searchsorted(self.tag[order], np.arange(1, tag_count)))
