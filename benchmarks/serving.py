"""Requests a second, latency and CPU of the service, beside three usual ways to serve one model.

    python benchmarks/serving.py [--bundles DIR] [--seconds N] [--rounds N] [--quick] [--out FILE]

Ours answers about one customer by `POST /v1/predictions:batchGet`: online read, features, every propensity
and lifetime model, segment, life-cycle stage and live tags. The peers answer with one of its models, to
features that the client passes in: (a) BentoML with the scikit-learn wrapper on a DataFrame, (b) `mlflow
models serve`, (c) FastAPI around the booster. All hold that model in one worker with one thread, run at the
same time on the same two cores and are asked in turn; answers are compared with the model's own first.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = str(Path(__file__).parent)


def run() -> None:
    """Look for this folder's modules last: this one has the name of the package that it measures."""
    sys.path = [*(place for place in sys.path if place != HERE), HERE]
    from service_load import main

    main(__doc__)


if __name__ == "__main__":
    run()
