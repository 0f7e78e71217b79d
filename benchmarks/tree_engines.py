"""CPU of one call by what can walk LightGBM's trees: LightGBM, its C API's fast call, and lignum.

    python benchmarks/tree_engines.py BUNDLES

BUNDLES is the directory of a home's published bundles. Every model in it is asked about few and about many
rows, with one thread; the microseconds printed are of one call, the best of some. Answers are compared first.
"""

from __future__ import annotations

import ctypes
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt
from lightgbm.basic import _LIB

from training.artifact import load_bundle
from training.fast_trees import load_engine
from training.probe_rows import probe_rows

SIZES = (1, 10, 50, 250)
TRIES, QUICK_TRIES = 7, 2
ROWS_A_TRY = 2_000
FLOAT64, NORMAL = 1, 0

Matrix = npt.NDArray[np.float64]


def row_by_row(booster: lightgbm.Booster) -> Callable[[Matrix], Matrix]:
    """Return LightGBM's ``LGBM_BoosterPredictForMatSingleRowFast``, called for one row after another."""
    prepared, count = ctypes.c_void_p(), ctypes.c_int64()
    failed = _LIB.LGBM_BoosterPredictForMatSingleRowFastInit(
        booster._handle,  # noqa: SLF001 - there is no other way to it from Python
        ctypes.c_int(NORMAL),
        ctypes.c_int(0),
        ctypes.c_int(-1),
        ctypes.c_int(FLOAT64),
        ctypes.c_int32(booster.num_feature()),
        ctypes.c_char_p(b"num_threads=1"),
        ctypes.byref(prepared),
    )
    if failed:
        raise RuntimeError("LightGBM refused to prepare its single-row prediction")
    call, length = _LIB.LGBM_BoosterPredictForMatSingleRowFast, ctypes.byref(count)

    def predict(rows: Matrix) -> Matrix:
        said = np.empty(len(rows))
        first, step, out = rows.ctypes.data, rows.strides[0], said.ctypes.data
        for number in range(len(rows)):
            call(prepared, ctypes.c_void_p(first + number * step), length, ctypes.c_void_p(out + 8 * number))
        return said

    return predict


def measured(bundles: Path, *, quick: bool = False) -> dict[str, dict[str, Any]]:
    """Measure every model of some published bundles.

    Returns
    -------
    By model, engine and number of rows the microseconds of a call.
    """
    found: dict[str, dict[str, Any]] = {}
    named = json.loads((bundles / "champion.json").read_text(encoding="utf-8"))
    for task, one in sorted(named.items()):
        for role, text in load_bundle(bundles / one["path"]).models.items():
            booster, engine = lightgbm.Booster(model_str=text), load_engine(text)
            engines: dict[str, Callable[[Matrix], Any]] = {
                "lightgbm": lambda rows, booster=booster: booster.predict(rows, num_threads=1),
                "single_row_fast": row_by_row(booster),
                "lignum": lambda rows, engine=engine: engine.predict(rows, False, 1),
            }
            rows = probe_rows(text, max(SIZES))
            said = [np.asarray(predict(rows)) for predict in engines.values()]
            found[f"{task} {role}"] = {
                "trees": booster.num_trees(),
                "bit_equal": all((one == said[0]).all() for one in said),
                **{
                    name: {str(size): _microseconds(predict, rows[:size], quick=quick) for size in SIZES}
                    for name, predict in engines.items()
                },
            }
    return found


def _microseconds(predict: Callable[[Matrix], Any], rows: Matrix, *, quick: bool) -> float:
    calls = max(ROWS_A_TRY // len(rows), 5)
    best = float("inf")
    for _ in range(QUICK_TRIES if quick else TRIES):
        began = time.thread_time()
        for _ in range(calls):
            predict(rows)
        best = min(best, (time.thread_time() - began) / calls)
    return round(best * 1e6, 1)


if __name__ == "__main__":
    print(json.dumps(measured(Path(sys.argv[1])), indent=2))
