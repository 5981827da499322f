"""The map of the clips' embeddings: what it is made of, what it may not look at, and odd sets of clips."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from masd.bundle.bundle import load_bundle
from masd.data.folders import MachineData, read_machine
from masd.detection.scorer import Scorer
from masd.evaluation import embedding_map
from masd.evaluation.embedding_map import EmbeddingMap, map_embeddings, place
from masd.evaluation.figures.embedding import CLASS_COLOURS, attribute_map, domain_map

Rows = Sequence[tuple[str, str, str, str]]


@pytest.fixture(scope="module")
def scorer(tiny_bundle: Path) -> Scorer:
    return load_bundle(tiny_bundle).scorer


@pytest.fixture(scope="module")
def fan(tiny_data: Path) -> MachineData:
    """24 training clips with attributes, 16 test clips."""
    return read_machine(tiny_data / "fan")


@pytest.fixture(scope="module")
def places(scorer: Scorer, fan: MachineData) -> EmbeddingMap:
    return map_embeddings(scorer, fan.split("train"), fan.split("test"))


def make_places(rows: Rows) -> EmbeddingMap:
    """A map of the given ``(split, domain, condition, attributes)``."""
    clips = pd.DataFrame(rows, columns=["split", "domain", "condition", "attributes"])
    clips["x"], clips["y"] = np.random.default_rng(0).normal(size=(2, len(clips)))
    counts = {split: int((clips["split"] == split).sum()) for split in ("train", "test")}
    return EmbeddingMap(clips, "t-SNE", counts)


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


def test_the_same_clips_give_the_same_map(places: EmbeddingMap, scorer: Scorer, fan: MachineData) -> None:
    again = map_embeddings(scorer, fan.split("train"), fan.split("test"))
    pd.testing.assert_frame_equal(places.clips, again.clips)
    assert (domain_map(places), attribute_map(places)) == (domain_map(again), attribute_map(again))


def test_attributes_of_test_clips_are_never_looked_at(places: EmbeddingMap, scorer: Scorer, fan: MachineData) -> None:
    tempting = [replace(clip, attributes="speed=secret") for clip in fan.split("test")]
    again = map_embeddings(scorer, fan.split("train"), tempting)
    pd.testing.assert_frame_equal(places.clips, again.clips)
    assert set(again.clips.loc[again.clips["split"] == "test", "attributes"]) == {""}


def test_many_clips_are_thinned_out_and_the_page_says_so(
    scorer: Scorer, fan: MachineData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding_map, "MOST", {"train": 10, "test": 16})
    thinned = map_embeddings(scorer, fan.split("train"), fan.split("test"))
    assert thinned.shown == "10 of 24 training clips and 16 test clips, drawn at random with a fixed seed"
    again = map_embeddings(scorer, fan.split("train"), fan.split("test"))
    pd.testing.assert_frame_equal(thinned.clips, again.clips)


def test_unreadable_clips_are_left_out_and_logged(
    scorer: Scorer, fan: MachineData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF but nothing else")
    training = [replace(fan.split("train")[0], path=broken), *fan.split("train")[1:12]]
    with caplog.at_level(logging.WARNING):
        places = map_embeddings(scorer, training, fan.split("test"))
    assert places.shown == "11 training clips and 16 test clips"
    assert "broken.wav" in caplog.text


@pytest.mark.parametrize(("training", "test"), [(0, 1), (1, 1), (2, 3), (0, 12)])
def test_few_clips(scorer: Scorer, fan: MachineData, training: int, test: int) -> None:
    places = map_embeddings(scorer, fan.split("train")[:training], fan.split("test")[:test])
    assert len(places.clips) == training + test
    assert places.method == ("t-SNE" if training + test >= 10 else "principal components")
    assert "</svg>" in domain_map(places)
    assert (attribute_map(places) is None) == (training == 0)


def test_long_recordings_are_mapped_whatever_the_limits_of_serving(
    tiny_bundle: Path, fan: MachineData, tmp_path: Path
) -> None:
    scorer = load_bundle(tiny_bundle).scorer
    serving = scorer.settings.serving.model_copy(update={"max_clip_seconds": 1.0})
    scorer.settings = scorer.settings.model_copy(update={"serving": serving})
    assert map_embeddings(scorer, fan.split("train"), []).shown == "24 training clips and 0 test clips"


class TestPlace:
    def test_groups_stay_groups(self, rng: np.random.Generator) -> None:
        points = rng.normal(0.0, 0.1, (40, 16)).astype(np.float32)
        points[20:, 0] += 5.0
        places, method = place(points)
        gaps = np.linalg.norm(places[:, None] - places[None], axis=2) + np.diag([np.inf] * 40)
        assert method == "t-SNE"
        assert ((gaps.argmin(axis=1) >= 20) == (np.arange(40) >= 20)).all()

    def test_few_points_keep_their_distances(self, rng: np.random.Generator) -> None:
        flat = np.zeros((6, 8))
        flat[:, [2, 5]] = rng.normal(size=(6, 2))
        places, method = place(flat.astype(np.float32))
        expected = np.linalg.norm(flat[:, None] - flat[None], axis=2)
        assert method == "principal components"
        assert np.linalg.norm(places[:, None] - places[None], axis=2) == pytest.approx(expected, abs=1e-5)

    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize("count", [1, 2, 50])
    def test_clips_that_are_all_alike_lie_on_each_other(self, count: int) -> None:
        places, _ = place(np.full((count, 8), 0.3, np.float32))
        assert places == pytest.approx(np.zeros((count, 2)))


class TestFigures:
    def test_without_target_clips(self) -> None:
        figure = domain_map(make_places([("train", "source", "normal", "a=1")] * 5))
        assert "<!-- source (5) -->" in figure and "target" not in figure

    def test_clips_without_domain_and_truth(self) -> None:
        rows = [("train", "none", "normal", "noAttribute")] * 5 + [("test", "none", "unknown", "")] * 3
        figure = domain_map(make_places(rows))
        assert "<!-- no domain (8) -->" in figure and "<!-- test, condition unknown (3) -->" in figure
        assert attribute_map(make_places(rows)) is None

    def test_rare_classes_are_one(self) -> None:
        counts = range(20, 6, -1)  # 14 classes
        rows = [("train", "source", "normal", f"a={count}") for count in counts for _ in range(count)]
        figure = attribute_map(make_places(rows))
        assert figure is not None and dots(figure) == sum(counts) + 1 + 1 + len(CLASS_COLOURS)
        assert "<!-- a=20 (20) -->" in figure and "<!-- a=11 (11) -->" in figure and "<!-- a=10 (10) -->" not in figure
        assert f"<!-- 4 other classes ({10 + 9 + 8 + 7}) -->" in figure

    @pytest.mark.filterwarnings("error")
    def test_attributes_are_any_text(self) -> None:
        names = ("$\\frac{", "_hidden", "<b>&", "a--b", "x" * 200, "noAttribute")
        figure = attribute_map(make_places([("train", "source", "normal", name) for name in names]))
        assert figure is not None and ElementTree.fromstring(figure).tag.endswith("svg")
        assert "<!-- hidden (1) -->" in figure and "<!-- no attributes (1) -->" in figure
