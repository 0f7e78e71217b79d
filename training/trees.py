"""What models ask of boosted trees, whoever walks them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from lightgbm import Booster

Matrix = npt.NDArray[np.float32] | npt.NDArray[np.float64]


class Trees(Protocol):
    """A fitted model of boosted trees; LightGBM's ``Booster`` is one. Safe to share between threads."""

    def predict(
        self, data: Matrix, *, raw_score: bool = False, pred_contrib: bool = False, num_threads: int = 1
    ) -> Any:
        """Return a prediction a row, or what each feature adds to it.

        Parameters
        ----------
        data
            Shape (n_rows, n_features); NaN for missing.
        raw_score
            Whether to leave out the last step, such as from log-odds to a probability.
        pred_contrib
            Whether to return contributions instead, shape (n_rows, n_features + 1).
        num_threads
            How many threads may share the rows.
        """

    def model_to_string(self, num_iteration: int | None = None) -> str:
        """Return the model as LightGBM's text."""


ReadTrees = Callable[[str, str], Trees]
"""Given a model's name, for messages, and its text: the model."""


def read_booster(name: str, text: str) -> Booster:  # noqa: ARG001 - one of several `ReadTrees`
    """Read a model as LightGBM itself does: nothing is checked, and many rows are as fast as few."""
    from lightgbm import Booster

    return Booster(model_str=text)
