"""Where the clips lie in the network's embedding, brought down to two dimensions."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from masd.data.clips import Clip
from masd.detection.features import CLIPS_AT_ONCE
from masd.detection.scorer import Scorer
from masd.evaluation.drawn_clips import draw
from masd.progress import Progress

MOST = {"train": 1000, "test": 500}
"""Clips drawn of each split: more dots hide each other, and each costs a pass of the network."""

FEWEST_FOR_TSNE = 10
MAX_PERPLEXITY = 30.0


@dataclass(frozen=True)
class EmbeddingMap:
    """``clips`` has one row a dot: x, y, split, domain, condition and, of training clips alone, attributes (empty for
    a test clip). ``method`` is how the plane was found, ``available`` how many clips of a split there were to draw
    from.
    """

    clips: pd.DataFrame
    method: str
    available: dict[str, int]

    @property
    def shown(self) -> str:
        """Which clips the dots are, in words."""
        counts = {split: int((self.clips["split"] == split).sum()) for split in MOST}
        drawn = {split: self.available[split] > MOST[split] for split in MOST}
        parts = [
            f"{counts[split]}{f' of {self.available[split]}' if drawn[split] else ''} {words} clips"
            for split, words in (("train", "training"), ("test", "test"))
        ]
        return " and ".join(parts) + (", drawn at random with a fixed seed" if any(drawn.values()) else "")


def map_embeddings(
    scorer: Scorer, training: Sequence[Clip], test: Sequence[Clip], progress: Progress | None = None
) -> EmbeddingMap:
    """Place the clip-level embeddings of training and test clips, of which one must be readable, on a plane.

    They are computed once more, for a drawn few: carrying those of all clips through scoring would cost every caller
    memory for the sake of one picture.
    """
    clips: list[Clip] = []
    embeddings: list[npt.NDArray[np.float32]] = []
    drawn = chain(draw(scorer, training, MOST["train"]), draw(scorer, test, MOST["test"]))
    total = min(len(training), MOST["train"]) + min(len(test), MOST["test"])
    while batch := list(islice(drawn, CLIPS_AT_ONCE)):
        clips += [clip for clip, _ in batch]
        embeddings += [features.mean()[0] for features in scorer.extract([log_mel for _, log_mel in batch])]
        if progress:
            progress(len(clips), total, "clips")
    places, method = place(np.stack(embeddings))
    table = pd.DataFrame(
        {
            "x": places[:, 0],
            "y": places[:, 1],
            "split": [clip.split for clip in clips],
            "domain": [clip.domain for clip in clips],
            "condition": [clip.condition for clip in clips],
            "attributes": [clip.attributes if clip.split == "train" else "" for clip in clips],
        }
    )
    return EmbeddingMap(table, method, {"train": len(training), "test": len(test)})


def place(embeddings: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float64], str]:
    """Embeddings ``[n, d]`` -> their places ``[n, 2]``, and how these were found."""
    points = embeddings.astype(np.float64)
    if len(points) < FEWEST_FOR_TSNE or not np.ptp(points, axis=0).any():
        return _principal_plane(points), "principal components"
    perplexity = min(MAX_PERPLEXITY, (len(points) - 1) / 3)
    with threadpool_limits(1):  # sums of several threads have no fixed order, and t-SNE makes much of the last digit
        places = TSNE(init="pca", random_state=0, perplexity=perplexity).fit_transform(points)
    return places.astype(np.float64), "t-SNE"


def _principal_plane(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The two directions of largest variance; one clip, which has none, lies in the middle."""
    left, sizes, _ = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    plane = np.zeros((len(points), 2))
    plane[:, : len(sizes)] = (left * sizes)[:, :2]
    return plane
