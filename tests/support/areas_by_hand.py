"""Areas under the ROC, counted and drawn by hand."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np


def pairs_won(normal: Sequence[float], anomalous: Sequence[float]) -> float:
    """AUC as the share of (normal, anomaly) pairs in the right order, ties half."""
    wins = sum((a > n) + 0.5 * (a == n) for a in anomalous for n in normal)
    return wins / (len(normal) * len(anomalous))


def mcclish(normal: Sequence[float], anomalous: Sequence[float], limit: float = 0.1) -> float:
    """Partial area under the ROC up to the false-positive rate ``limit``, standardised after McClish (1989)."""
    points = [(0.0, 0.0)]
    for threshold in sorted({*normal, *anomalous}, reverse=True):
        hits = ([value >= threshold for value in values] for values in (normal, anomalous))
        false_positives, true_positives = (float(np.mean(hit)) for hit in hits)
        points.append((false_positives, true_positives))
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        end = min(x1, limit)
        if end > x0:
            y_end = y0 + (y1 - y0) * (end - x0) / (x1 - x0)
            area += (end - x0) * (y0 + y_end) / 2
    least, most = limit**2 / 2, limit
    return 0.5 * (1 + (area - least) / (most - least))
