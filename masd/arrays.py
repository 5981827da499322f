"""Array types by element, used everywhere, and arrays by name, as files of a bundle have them.

Docstrings give the shapes.
"""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
"""Frames, embeddings, samples: what the network takes and gives."""

Floats = npt.NDArray[np.float64]
"""Scores, distances, metrics."""

Integers = npt.NDArray[np.int64]
"""Row numbers, spans, groups."""

Mask = npt.NDArray[np.bool_]

Tensors = dict[str, npt.NDArray[np.generic]]
"""Arrays by name, as a file of a bundle has them; a dot separates whose they are."""


def named(owner: str, tensors: Tensors) -> Tensors:
    """The same arrays as ``owner.name``."""
    return {f"{owner}.{name}": array for name, array in tensors.items()}


def owned(owner: str, tensors: Tensors) -> Tensors:
    """Those that are named ``owner.name``, by ``name``: the reverse of :func:`named`."""
    return {name.removeprefix(f"{owner}."): array for name, array in tensors.items() if name.startswith(f"{owner}.")}
