"""Trees walked by an engine made for it, `lignum`, once it has proved to say what LightGBM says, bit for bit.

One customer asks a dozen models about one row each, or one model about some dozen pairs. LightGBM sets up
every such call anew, which takes longer than its trees do.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from training.probe_rows import probe_rows
from training.trees import Matrix, Trees, read_booster

if TYPE_CHECKING:
    from lightgbm import Booster

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]

PROBED_ROWS = 10_000
FEWER_ROWS = 1_000
"""Of these how many are asked about one at a time as well, and how many for their raw scores."""


class Engine(Protocol):
    """Walks the trees of one model; what `lignum.load` returns."""

    def predict(self, X: FloatArray, raw_score: bool, n_jobs: int) -> Any:  # noqa: N803 - lignum's name
        """Return a prediction a row."""


class FastTrees:
    """A model whose predictions an engine makes; contributions remain LightGBM's.

    Rows with an infinite number are LightGBM's too: lignum 0.3 takes infinity for larger than a threshold of
    infinity, by which a split tells null from all numbers.

    Parameters
    ----------
    booster, engine
        Of the same model.
    """

    def __init__(self, booster: Booster, engine: Engine) -> None:
        self._booster = booster
        self._engine = engine

    def predict(
        self, data: Matrix, *, raw_score: bool = False, pred_contrib: bool = False, num_threads: int = 1
    ) -> Any:
        """See `Trees.predict`."""
        if pred_contrib:
            return self._booster.predict(data, pred_contrib=True, num_threads=num_threads)
        rows = np.ascontiguousarray(data, np.float64)
        if np.isinf(rows).any():
            return self._booster.predict(rows, raw_score=raw_score, num_threads=num_threads)
        return self._engine.predict(rows, raw_score, num_threads)

    def model_to_string(self, num_iteration: int | None = None) -> str:
        """See `Trees.model_to_string`."""
        return str(self._booster.model_to_string(num_iteration=num_iteration))


def load_engine(text: str) -> Engine:
    """Load a model's text into the engine.

    Raises
    ------
    ImportError
        If the engine is not installed: it exists for common platforms only.
    """
    import lignum

    with tempfile.TemporaryDirectory(prefix="tagtide-") as folder:
        path = Path(folder) / "model.txt"
        path.write_text(text, encoding="utf-8")
        engine: Engine = lignum.load(str(path), format="lightgbm")
    return engine


def read_trees(name: str, text: str, load: Callable[[str], Engine] = load_engine) -> Trees:
    """Read a model for answers: with the fast engine if it proves exact, with LightGBM's otherwise.

    The proof compares every answer to `PROBED_ROWS` rows of `probe_rows`, together, in lots of every size up
    to some hundred, and some one by one and as raw scores; it takes some tenths of a second.
    LightGBM answering instead is correct and slower, so that is logged and no error.

    Parameters
    ----------
    name
        Of the model, for the log.
    text
        As LightGBM writes it.
    load
        Makes the engine.
    """
    booster = read_booster(name, text)
    try:
        engine = load(text)
        differing = differing_rows(booster, engine, probe_rows(text, PROBED_ROWS))
    except ImportError:
        logger.info("model %s is answered by LightGBM: lignum is not installed", name)
        return booster
    # An engine may refuse a kind of model by whatever exception; LightGBM's answer is always there.
    except Exception as error:  # noqa: BLE001
        logger.warning("model %s is answered by LightGBM: lignum: %s: %s", name, type(error).__name__, error)
        return booster
    if differing:
        logger.warning(
            "model %s is answered by LightGBM: lignum differs in %d of %d rows", name, differing, PROBED_ROWS
        )
        return booster
    return FastTrees(booster, engine)


def differing_rows(booster: Booster, engine: Engine, rows: FloatArray) -> int:
    """Count the rows about which an engine does not say what LightGBM says, to the last bit."""
    scores = _bits(booster.predict(rows, num_threads=1))
    differs = _bits(engine.predict(rows, False, 1)) != scores
    for lot in _lots(len(rows)):
        differs[lot] |= _bits(engine.predict(rows[lot], False, 1)) != scores[lot]
    # The trees are the same ones: what is left to differ is the last step.
    some = rows[:FEWER_ROWS]
    raw = _bits(booster.predict(some, raw_score=True, num_threads=1))
    differs[:FEWER_ROWS] |= _bits(engine.predict(some, True, 1)) != raw
    return int(differs.sum())


def _lots(rows: int) -> Iterator[slice]:
    """Divide rows into single ones first, then into one, two, three rows and so on."""
    start, size = 0, 1
    while start < rows:
        yield slice(start, start + size)
        start += size
        size += start > FEWER_ROWS


def _bits(numbers: Any) -> npt.NDArray[np.int64]:
    """Return numbers as their bits: there 0 differs from -0, and NaN equals itself."""
    return np.ascontiguousarray(numbers, np.float64).view(np.int64)
