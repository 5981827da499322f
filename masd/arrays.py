"""Array types by element, used everywhere; docstrings give the shapes."""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
"""Frames, embeddings, samples: what the network takes and gives."""

Floats = npt.NDArray[np.float64]
"""Scores, distances, metrics."""

Integers = npt.NDArray[np.int64]
"""Row numbers, spans, groups."""

Mask = npt.NDArray[np.bool_]
