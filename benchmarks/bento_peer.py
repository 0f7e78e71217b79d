"""A BentoML service as its tutorials write one: a scikit-learn model, asked with a DataFrame.

`benchmarks/serving.py` serves it; PEER_MODEL names a file with a LightGBM model's text.
"""

from __future__ import annotations

import os
from pathlib import Path

import bentoml
import lightgbm
import numpy as np
import pandas as pd
from sklearn.preprocessing import LabelEncoder


def classifier(path: str) -> lightgbm.LGBMClassifier:
    """Put a model's text into the scikit-learn wrapper, as if it had been fitted there."""
    booster = lightgbm.Booster(model_str=Path(path).read_text(encoding="utf-8"))
    model = lightgbm.LGBMClassifier()
    features, encoder = booster.num_feature(), LabelEncoder().fit([0, 1])
    # What fit() leaves behind; the wrapper has no public way to take a model that was fitted elsewhere.
    vars(model).update(
        _Booster=booster,
        _n_features=features,
        _n_features_in=features,
        _objective="binary",
        _le=encoder,
        _classes=encoder.classes_,
        _n_classes=2,
        fitted_=True,
    )
    return model


@bentoml.service(name="peer")
class Peer:
    """Predicts a purchase."""

    def __init__(self) -> None:
        self.model = classifier(os.environ["PEER_MODEL"])

    @bentoml.api
    def predict(self, customers: pd.DataFrame) -> np.ndarray:
        """Return a probability a row."""
        # A column with nothing but nulls is none of numbers.
        return np.asarray(self.model.predict_proba(customers.astype("float64"))[:, 1])
