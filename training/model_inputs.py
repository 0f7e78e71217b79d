"""Which features each model reads: those its feature service names now, and those a bundle was fitted on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from configs.errors import did_you_mean
from features import affinity, customer
from features.definitions import FeatureDefinition
from training.artifact import Bundle
from training.errors import BundleError
from training.tag_model import KEY, TAGS_TASK


def service_of(task: str) -> str:
    """Return the feature service of a task.

    >>> service_of("tags-interest"), service_of("clv")
    ('interest_v1', 'clv_v1')
    """
    return f"{task.removeprefix(TAGS_TASK)}_v1"


def customer_inputs(task: str) -> list[str]:
    """Return the customer features that a task's model is fitted on."""
    return customer.CATALOGUE.names(service_of(task))


def pair_inputs(task: str) -> list[str]:
    """Return the affinity features that a task's model is fitted on; none where it judges customers alone."""
    return affinity.CATALOGUE.names(service_of(task))


def every_feature() -> dict[str, FeatureDefinition]:
    """Return the features of both catalogues by name."""
    return {one.name: one for one in (*customer.catalogue(), *affinity.catalogue())}


def dtypes_of(names: Iterable[str]) -> dict[str, str]:
    """Return the types of features, for a bundle to keep; a name that is no feature is left out."""
    known = every_feature()
    return {name: known[name].dtype for name in names if name in known}


def features_read(bundle: Bundle) -> list[str]:
    """Return the features a bundle's models read, each once."""
    return list(dict.fromkeys(name for names in bundle.features.values() for name in names if name != KEY))


def require_features(bundle: Bundle, known: Mapping[str, FeatureDefinition] | None = None) -> None:
    """Refuse a bundle whose inputs cannot be computed any more.

    Parameters
    ----------
    known
        The features that there are, by name; those of both catalogues where it is not given.

    Raises
    ------
    BundleError
        If a feature it reads does not exist or has another type than it was fitted on; every one is named.
    """
    known = every_feature() if known is None else known
    faults = []
    for name in features_read(bundle):
        if name not in known:
            faults.append(f"{name!r} does not exist{did_you_mean(name, known)}")
        elif (fitted := bundle.dtypes.get(name, known[name].dtype)) != known[name].dtype:
            faults.append(f"{name!r} is {known[name].dtype}, was {fitted}")
    if faults:
        raise BundleError(
            f"bundle {bundle.task} of {bundle.as_of} reads features that are not as it learnt them: "
            f"{'; '.join(faults)}",
            "run `tagtide train` and `tagtide promote`, or the version of Tagtide that trained it",
        )
