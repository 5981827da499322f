"""Map of the clips: the network's embedding, or without a network the mean spectrum, in two dimensions."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from masd.arrays import Array, Floats
from masd.data.store import FeatureStore
from masd.detection.features.extractor import CLIPS_AT_ONCE
from masd.detection.scorer import Scorer
from masd.evaluation.residuals import drawn
from masd.progress import Progress

MOST = {"train": 1000, "test": 500}
"""Number of clips per split on the map: more dots would hide each other, and each needs a pass of the network."""

FEWEST_FOR_TSNE = 10
MAX_PERPLEXITY = 30.0


@dataclass(frozen=True)
class EmbeddingMap:
    """``clips`` has one row a dot: x, y, split, domain, condition and, of training clips alone, attributes (empty for
    a test clip). ``of_network`` says whether embeddings were placed, or mean spectra; ``method`` how the plane was
    found, ``available`` how many clips of a split there were to draw from.
    """

    clips: pd.DataFrame
    of_network: bool
    method: str
    available: dict[str, int]

    @property
    def shown(self) -> str:
        """A text that says which clips the dots are."""
        counts = {split: int((self.clips["split"] == split).sum()) for split in MOST}
        drawn = {split: self.available[split] > MOST[split] for split in MOST}
        parts = [
            f"{counts[split]}{f' of {self.available[split]}' if drawn[split] else ''} {words} clips"
            for split, words in (("train", "training"), ("test", "test"))
        ]
        return " and ".join(parts) + (", drawn at random with a fixed seed" if any(drawn.values()) else "")


def map_embeddings(scorer: Scorer, store: FeatureStore, progress: Progress | None = None) -> EmbeddingMap:
    """Place a store's training and test clips, of which there must be one, on a plane: by their clip-level embeddings,
    or by the mean level of each band if the model has no network.

    They are computed once more, for a drawn few: carrying those of all clips through scoring would cost every caller
    memory for the sake of one picture.
    """
    of_split = {"train": store.rows(split="train", kind="noisy"), "test": store.rows(split="test")}
    rows = np.concatenate([drawn(of_split[split], most) for split, most in MOST.items()])
    vectors: list[Array] = []
    of_network = scorer.extract.has_network
    for start in range(0, len(rows), CLIPS_AT_ONCE):
        batch = scorer.extract.rows(store, rows[start : start + CLIPS_AT_ONCE])
        vectors += [features.mean()[0] if of_network else features.views["band-mean"][0] for features in batch]
        if progress:
            progress(len(vectors), len(rows), "clips")
    places, method = place(np.stack(vectors))
    table = store.clips.iloc[rows][["split", "domain", "condition", "attributes"]].reset_index(drop=True)
    table.loc[table["split"] == "test", "attributes"] = ""
    table.insert(0, "x", places[:, 0])
    table.insert(1, "y", places[:, 1])
    return EmbeddingMap(table, of_network, method, {split: len(own) for split, own in of_split.items()})


def place(vectors: Array) -> tuple[Floats, str]:
    """Vectors ``[n, d]`` -> their places ``[n, 2]``, and how these were found."""
    points = vectors.astype(np.float64)
    if len(points) < FEWEST_FOR_TSNE or not np.ptp(points, axis=0).any():
        return _principal_plane(points), "principal components"
    perplexity = min(MAX_PERPLEXITY, (len(points) - 1) / 3)
    with threadpool_limits(1):  # sums of several threads have no fixed order, and t-SNE makes much of the last digit
        from sklearn.manifold import TSNE

        places = TSNE(init="pca", random_state=0, perplexity=perplexity).fit_transform(points)
    return places.astype(np.float64), "t-SNE"


def _principal_plane(points: Floats) -> Floats:
    """The two directions of largest variance; one clip, which has none, lies in the middle."""
    left, sizes, _ = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    plane = np.zeros((len(points), 2))
    plane[:, : len(sizes)] = (left * sizes)[:, :2]
    return plane
