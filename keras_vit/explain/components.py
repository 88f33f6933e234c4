"""Principal components."""

import numpy as np
from numpy.typing import NDArray

from keras_vit.errors import UsageError


def principal_components(
    samples: NDArray[np.floating], count: int, what: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The directions in which samples vary most.

    Args:
        samples: `(samples, variables)`. count: how many. what: the samples are, for the error.

    Returns:
        `(count, variables)`, orthonormal, the largest variance first, each with its largest entry positive
        (a sign has no meaning); and the share of the variance that each explains, `(count,)`.

    Raises:
        UsageError: for a count that is not in 1..the smaller side of `samples`.
    """
    most = min(samples.shape)
    if not 1 <= count <= most:
        raise UsageError(f"{samples.shape[0]} {what} have 1 to {most} components, not {count}")
    centred = samples.astype(np.float64) - samples.mean(0, dtype=np.float64)
    _, scale, directions = np.linalg.svd(centred, full_matrices=False)
    largest = np.abs(directions).argmax(-1)
    directions *= np.sign(directions[np.arange(len(directions)), largest])[:, None]
    variance = scale**2
    return directions[:count], variance[:count] / variance.sum()
