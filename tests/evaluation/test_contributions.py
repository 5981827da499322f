"""What each member contributes: areas counted by hand, clips that are really held out, and what the page says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from areas_by_hand import pairs_won
from tiny import TINY

from masd.bundle.bundle import load_bundle
from masd.config import Settings
from masd.data.store import FeatureStore
from masd.detection.fused.detector import WEIGHTS, MemberName
from masd.detection.scorer import Scorer
from masd.evaluation.contributions import measure as contributions
from masd.evaluation.contributions.measure import MOST_CLIPS, compare, measure_contributions
from masd.evaluation.contributions.synthetic_faults import FAULTS, STRENGTHS, faulty
from masd.evaluation.pages.findings import MEMBERS, contribution_sentence
from masd.lifecycle import steps


@pytest.fixture(scope="module")
def scorer(tiny_features: Path, tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    """The default model: no network."""
    out = tmp_path_factory.mktemp("default")
    settings = Settings.model_validate(TINY | {"detection": {}})
    steps.train(tiny_features, ["fan"], settings, out / "network")
    steps.fit_detectors(tiny_features, "fan", out / "network", settings, out / "fan")
    return load_bundle(out / "fan").scorer


@pytest.fixture(scope="module")
def store(tiny_features: Path) -> FeatureStore:
    return FeatureStore.open(tiny_features / "fan")


def by_hand(normal: dict[MemberName, np.ndarray], changed: dict[MemberName, np.ndarray]) -> float:
    """AUC of a score as docs/method.md has it: product of powers in each domain, then the smaller one."""
    total = sum(WEIGHTS[name] for name in normal)
    scores = [
        np.prod([np.exp(ratios) ** (WEIGHTS[name] / total) for name, ratios in clips.items()], axis=0).min(axis=1)
        for clips in (normal, changed)
    ]
    return pairs_won(scores[0].tolist(), scores[1].tolist())


def test_areas_are_those_counted_by_hand(rng: np.random.Generator) -> None:
    shifts: dict[MemberName, float] = {"frames": 0.0, "band-mean": 1.5, "modulation": 0.4}
    normal: dict[MemberName, np.ndarray] = {name: rng.normal(size=(20, 2)) for name in shifts}
    changed: dict[MemberName, np.ndarray] = {name: rng.normal(shift, size=(30, 2)) for name, shift in shifts.items()}
    found = compare(normal, changed)
    assert found.clips == 20
    assert found.auc == pytest.approx(by_hand(normal, changed))
    for name, of in found.members.items():
        assert of.alone == pytest.approx(by_hand({name: normal[name]}, {name: changed[name]}))
        rest = [other for other in shifts if other != name]
        assert of.without == pytest.approx(by_hand({o: normal[o] for o in rest}, {o: changed[o] for o in rest}))
    assert sum(of.weight for of in found.members.values()) == pytest.approx(1.0)
    assert found.members["band-mean"].without < found.auc < found.members["frames"].without


def test_the_same_clips_give_the_same_values(scorer: Scorer, store: FeatureStore) -> None:
    found = measure_contributions(scorer, store)
    assert found is not None and found == measure_contributions(scorer, store)
    assert list(found.members) == [name for name in WEIGHTS if name != "latent"]
    assert 0.55 < found.auc < 1.0, "faults that are never or always heard tell members apart"
    assert 10 <= found.clips <= MOST_CLIPS


def test_held_out_clips_are_not_among_the_known_ones(
    scorer: Scorer, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A detector that knew them would find them at a distance of zero, and the smallest change away from it."""

    def hardly_changed(log_mel: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
        yield (log_mel + rng.normal(0.0, 1e-3, log_mel.shape)).astype(np.float32)

    monkeypatch.setattr(contributions, "faulty", hardly_changed)
    found = measure_contributions(scorer, store)
    assert found is not None
    assert [found.auc, *(of.alone for of in found.members.values())] == pytest.approx([0.5] * 6, abs=0.05)


def test_no_more_clips_are_heard_than_is_set(
    scorer: Scorer, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This bounds the time, whatever a machine has."""
    monkeypatch.setattr(contributions, "MOST_CLIPS", 6)
    found = measure_contributions(scorer, store)
    assert found is not None and found.clips == 6


def test_there_is_none_with_too_few_clips(scorer: Scorer, store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contributions, "FEWEST_CLIPS", len(store.normal_rows()) + 1)
    assert measure_contributions(scorer, store) is None


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_changes_a_clip_and_a_strong_one_more(name: str, store: FeatureStore) -> None:
    log_mel = store.log_mel(0)
    weak, strong = (FAULTS[name](log_mel, np.random.default_rng(3), strength) for strength in STRENGTHS)
    assert weak.shape == strong.shape == log_mel.shape
    change, more = (float(np.abs(one - log_mel).mean()) for one in (weak, strong))
    assert 0 < change < more


def test_faults_leave_the_clip_as_it_was_and_repeat_with_the_seed(store: FeatureStore) -> None:
    log_mel = store.log_mel(1).copy()
    before = log_mel.copy()
    versions = list(faulty(log_mel, np.random.default_rng(0)))
    assert len(versions) == len(FAULTS) * len(STRENGTHS)
    np.testing.assert_array_equal(log_mel, before)
    for one, again in zip(versions, faulty(log_mel, np.random.default_rng(0)), strict=True):
        assert one.dtype == np.float32 and np.isfinite(one).all()
        np.testing.assert_array_equal(one, again)


def test_the_sentence_names_the_part_that_is_missed_most() -> None:
    assert set(MEMBERS) == set(WEIGHTS)
    members: dict[str, Any] = {
        "frames": {"weight": 0.6, "alone": 0.7, "without": 0.82},
        "modulation": {"weight": 0.4, "alone": 0.75, "without": 0.7},
    }
    sentence = contribution_sentence({"clips": 40, "auc": 0.8, "members": members})
    assert "ranks 80% rightly" in sentence
    assert "most is lost without rhythm (10.0 points)" in sentence and "best single part is rhythm (75.0)" in sentence
    members["modulation"]["without"] = 0.81
    assert "no single part is missed" in contribution_sentence({"clips": 40, "auc": 0.8, "members": members})
    assert contribution_sentence(None) == ""
