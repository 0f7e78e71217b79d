"""Errors of the training layer.

TagtideError
├── TrainingDataError        too little history, a missing column, or an outcome window that is not closed
├── BundleError              a saved bundle that is incomplete, altered or of another format
├── TuningUnavailableError   a search for parameters without the library that makes it
└── RegistryError            a model that is not registered, or a promotion that is not possible
    └── PromotionRefusedError     the gate found the challenger no better
"""

from __future__ import annotations

from configs.errors import TagtideError


class TrainingDataError(TagtideError):
    """The data does not carry what the model needs: history, columns or closed outcome windows."""


class BundleError(TagtideError):
    """A bundle is incomplete, was altered after it was saved, or has another format."""


class TuningUnavailableError(TagtideError):
    """A search for parameters was asked for, but Optuna is not installed."""


class RegistryError(TagtideError):
    """A model or version is not registered, or cannot be promoted or rolled back."""


class PromotionRefusedError(RegistryError):
    """The promotion gate refused the challenger."""
