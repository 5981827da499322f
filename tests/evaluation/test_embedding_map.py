"""The map of the clips' embeddings: what it is made of, what it may not look at, and odd sets of clips."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from masd.bundle.bundle import load_bundle
from masd.data.folders.machine import MachineData, read_machine
from masd.data.store import FeatureStore, build_store
from masd.detection.scorer import Scorer
from masd.evaluation.figures import embedding_map
from masd.evaluation.figures.embedding import attribute_map, domain_map
from masd.evaluation.figures.embedding_map import EmbeddingMap, map_embeddings

Rows = Sequence[tuple[str, str, str, str]]


@pytest.fixture(scope="module")
def scorer(tiny_bundle: Path) -> Scorer:
    return load_bundle(tiny_bundle).scorer


@pytest.fixture(scope="module")
def fan(tiny_data: Path) -> MachineData:
    """24 training clips with attributes, 16 test clips."""
    return read_machine(tiny_data / "fan")


@pytest.fixture(scope="module")
def store(fan: MachineData, scorer: Scorer, tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return build_store(fan, scorer.settings, tmp_path_factory.mktemp("features") / "fan")


@pytest.fixture(scope="module")
def places(scorer: Scorer, store: FeatureStore) -> EmbeddingMap:
    return map_embeddings(scorer, store)


def make_places(rows: Rows) -> EmbeddingMap:
    """A map of the given ``(split, domain, condition, attributes)``."""
    clips = pd.DataFrame(rows, columns=["split", "domain", "condition", "attributes"])
    clips["x"], clips["y"] = np.random.default_rng(0).normal(size=(2, len(clips)))
    counts = {split: int((clips["split"] == split).sum()) for split in ("train", "test")}
    return EmbeddingMap(clips, True, "t-SNE", counts)


def dots(svg: str) -> int:
    """Markers in a figure, those of the legend among them."""
    return svg.count('<use xlink:href="#m')


def test_every_clip_has_its_place(places: EmbeddingMap, fan: MachineData) -> None:
    assert places.method == "t-SNE" and places.shown == "24 training clips and 16 test clips"
    assert np.isfinite(places.clips[["x", "y"]].to_numpy()).all()
    columns = ["split", "domain", "condition", "attributes"]
    known = sorted((c.split, c.domain, c.condition, c.attributes) for c in fan.clips if c.split != "supplemental")
    assert sorted(places.clips[columns].itertuples(index=False, name=None)) == known


def test_the_figures_show_every_clip_once(places: EmbeddingMap) -> None:
    by_domain, by_attributes = domain_map(places), attribute_map(places)
    assert dots(by_domain) == 40 + 2 + 3  # two domains; training, normal and anomalous
    for label in ("source (", "target (", "training (24)", "test, normal (8)", "test, anomalous (8)"):
        assert f"<!-- {label}" in by_domain
    assert by_attributes is not None
    classes = places.clips.loc[places.clips["split"] == "train", "attributes"].nunique()
    assert dots(by_attributes) == 40 + 1 + classes and "<!-- test clips (16) -->" in by_attributes


def test_the_same_clips_give_the_same_map(places: EmbeddingMap, scorer: Scorer, store: FeatureStore) -> None:
    again = map_embeddings(scorer, store)
    pd.testing.assert_frame_equal(places.clips, again.clips)
    assert (domain_map(places), attribute_map(places)) == (domain_map(again), attribute_map(again))


def test_attributes_of_test_clips_are_never_looked_at(
    places: EmbeddingMap, scorer: Scorer, store: FeatureStore
) -> None:
    secret = store.clips["attributes"].where(store.clips["split"] != "test", "speed=secret")
    again = map_embeddings(scorer, replace(store, clips=store.clips.assign(attributes=secret)))
    pd.testing.assert_frame_equal(places.clips, again.clips)
    assert set(again.clips.loc[again.clips["split"] == "test", "attributes"]) == {""}


def test_many_clips_are_thinned_out_and_the_page_says_so(
    scorer: Scorer, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding_map, "MOST", {"train": 10, "test": 16})
    thinned = map_embeddings(scorer, store)
    assert thinned.shown == "10 of 24 training clips and 16 test clips, drawn at random with a fixed seed"
    again = map_embeddings(scorer, store)
    pd.testing.assert_frame_equal(thinned.clips, again.clips)


@pytest.mark.parametrize(("training", "test"), [(0, 1), (1, 1), (2, 3), (0, 12)])
def test_few_clips(scorer: Scorer, store: FeatureStore, training: int, test: int) -> None:
    few = np.concatenate([store.rows(split="train")[:training], store.rows(split="test")[:test]])
    places = map_embeddings(scorer, replace(store, clips=store.clips.iloc[few].reset_index(drop=True)))
    assert len(places.clips) == training + test
    assert places.method == ("t-SNE" if training + test >= 10 else "principal components")
    assert "</svg>" in domain_map(places)
    assert (attribute_map(places) is None) == (training == 0)
