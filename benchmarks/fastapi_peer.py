"""A FastAPI application around a LightGBM booster: the caller passes the features in.

`benchmarks/serving.py` serves it; PEER_MODEL names a file with the model's text.
"""

from __future__ import annotations

import os
from pathlib import Path

import lightgbm
import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
booster = lightgbm.Booster(model_str=Path(os.environ["PEER_MODEL"]).read_text(encoding="utf-8"))


class Asked(BaseModel):
    """One customer's features in the model's order; null for missing."""

    features: list[float | None]


@app.post("/predict")
def predict(asked: Asked) -> dict[str, float]:
    """Return a probability."""
    row = np.array([asked.features], np.float64)
    return {"probability": float(np.asarray(booster.predict(row))[0])}
