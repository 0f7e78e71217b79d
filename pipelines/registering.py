"""A trained model into the registry, with its documents; the same bundle is never registered twice."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from configs.home import Home

if TYPE_CHECKING:
    from training.artifact import Bundle
    from training.registry import ModelVersion
    from training.training_plots import Scored

Say = Callable[[str], None]


@dataclass(frozen=True)
class Fitted:
    """A trained bundle, and what its probabilities were worth.

    Attributes
    ----------
    scored
        Outcomes and probabilities on the slice nothing was chosen on, per name; empty where there are none.
    """

    bundle: Bundle
    scored: Scored = field(default_factory=dict)


@dataclass(frozen=True)
class Registered:
    """Where a bundle stands in the registry.

    Attributes
    ----------
    known_before
        Whether the very same bundle had been registered already: then that version is returned.
    """

    model: ModelVersion
    sha256: str
    known_before: bool


def register(home: Home, fitted: Fitted, seed: int, say: Say, *, as_challenger: bool) -> Registered:
    """Register a bundle with card, fingerprint and pictures, and let it wait for promotion if asked.

    A bundle that is registered already is not registered again; its version becomes the challenger, unless it
    is champion.
    """
    from training.artifact import load_bundle, save_bundle
    from training.registry import SHA256_TAG, challenge, log_bundle, registered_as
    from training.run_documents import run_params, write_documents

    bundle = fitted.bundle
    say(f"registering {bundle.task}")
    with tempfile.TemporaryDirectory() as folder:
        digest = save_bundle(Path(folder) / "bundle", bundle)
        known = registered_as(home, bundle.task, digest)
        if known is not None:
            if as_challenger:
                challenge(home, known)
            return Registered(known, digest, known_before=True)
        documents = Path(folder) / "documents"
        # From what was saved, so that a card made later from the same files is the same card.
        write_documents(documents, load_bundle(Path(folder) / "bundle"), digest, fitted.scored)
        tags = {
            SHA256_TAG: digest,
            "as_of": bundle.as_of,
            "data_sha256": str(bundle.fingerprint.get("sha256")),
        }
        model = log_bundle(
            home,
            bundle.task,
            Path(folder) / "bundle",
            params=run_params(bundle, seed),
            metrics=bundle.metrics,
            tags=tags,
            documents=documents,
            as_challenger=as_challenger,
        )
    return Registered(model, digest, known_before=False)
