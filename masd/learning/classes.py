"""Attribute classes ``y`` for the classifier and the contrastive loss (paper, sections 2.2 and 2.3)."""

from collections.abc import Sequence

import numpy as np

from masd.arrays import Integers
from masd.data.clips import NO_ATTRIBUTE
from masd.data.store import FeatureStore

NOISE = -1
"""Label of noise-only clips: they have no class, so no classifier output and no positive pair."""


def label_clips(stores: Sequence[FeatureStore]) -> tuple[list[str], list[Integers]]:
    """Class names, and for each store the class of each row of its clip table (test rows get :data:`NOISE`).

    A class is machine x attributes x domain; without attributes that leaves the domain alone. A clean clip takes the
    class of the noisy clips with the same attributes (source first), which is what makes them positives of each
    other; ``noAttribute`` means the source.
    """
    per_store = [_class_names(store) for store in stores]
    names = sorted({name for store_names in per_store for name in store_names if name is not None})
    index = {name: number for number, name in enumerate(names)}
    labels = [
        np.array([NOISE if name is None else index[name] for name in store_names], dtype=np.int64)
        for store_names in per_store
    ]
    return names, labels


def _class_names(store: FeatureStore) -> list[str | None]:
    clips = store.clips

    def name(attributes: str, domain: str) -> str:
        return f"{store.machine_type}|{attributes}|{'target' if domain == 'target' else 'source'}"

    is_training = (clips["split"] == "train") & (clips["kind"] == "noisy")
    noisy = {name(a, d) for a, d in zip(clips["attributes"][is_training], clips["domain"][is_training], strict=True)}
    columns = (clips[column].astype(str) for column in ("split", "kind", "attributes", "domain"))
    result: list[str | None] = []
    for split, kind, attributes, domain in zip(*columns, strict=True):
        if split == "test" or kind == "noise":
            result.append(None)
        elif kind == "clean":
            source, target = name(attributes, "source"), name(attributes, "target")
            only_target = attributes != NO_ATTRIBUTE and source not in noisy and target in noisy
            result.append(target if only_target else source)
        else:
            result.append(name(attributes, domain))
    return result
