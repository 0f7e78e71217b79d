"""Maximum likelihood for the small models of purchases: a gradient search, polished without gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Bounds = Sequence[tuple[float, float]]


def minimised(
    loss: Callable[[FloatArray], float], starts: Sequence[Sequence[float]], bounds: Bounds
) -> FloatArray:
    """Return the parameters of the least loss found from several starts.

    L-BFGS-B (Byrd, Lu, Nocedal & Zhu 1995) from each start, then Nelder-Mead (1965) from the best. One BLAS
    thread: with vectors this short, more of them only wait for each other.

    >>> minimised(lambda x: float((x[0] - 2) ** 2), [[0.0]], [(-9.0, 9.0)]).round(3)
    array([2.])
    """
    from scipy.optimize import minimize
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        fits = [minimize(loss, np.array(start), method="L-BFGS-B", bounds=bounds) for start in starts]
        best = min(fits, key=lambda fit: float(fit.fun))
        polished = minimize(
            loss,
            best.x,
            method="Nelder-Mead",
            bounds=bounds,
            options={"xatol": 1e-5, "fatol": 1e-10, "maxiter": 2000},
        )
    return np.asarray(polished.x, np.float64)
