"""Clips are computed on one thread of PyTorch, whatever it had, and it has them again afterwards."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from masd.audio.log_mel import LogMel
from masd.audio.threads import one_thread
from masd.bundle.bundle import load_bundle
from masd.config import Settings
from masd.data.folders.machine import read_machine
from masd.data.store import FeatureStore, build_store
from masd.detection.scorer import Scorer
from masd.evaluation.scoring import score_recordings, score_stored


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The numbers of threads with which log-mels and scores were computed."""
    threads: set[int] = set()
    log_mel, score = LogMel.__call__, Scorer.score

    def counting_log_mel(self: LogMel, samples: np.ndarray) -> np.ndarray:
        threads.add(torch.get_num_threads())
        return log_mel(self, samples)

    def counting_score(self: Scorer, *arguments: object, **options: object) -> object:
        threads.add(torch.get_num_threads())
        return score(self, *arguments, **options)

    monkeypatch.setattr(LogMel, "__call__", counting_log_mel)
    monkeypatch.setattr(Scorer, "score", counting_score)
    return threads


def test_they_come_back_after_an_error_too() -> None:
    with pytest.raises(ValueError, match="in the block"), one_thread():
        assert torch.get_num_threads() == 1
        raise ValueError("in the block")


def test_a_store(seen: set[int], tiny_data: Path, tiny_settings: Settings, tmp_path: Path) -> None:
    build_store(read_machine(tiny_data / "fan"), tiny_settings, tmp_path / "store")
    assert seen == {1}


def test_scores_of_recordings_and_of_a_store(
    seen: set[int], tiny_bundle: Path, tiny_data: Path, tiny_features: Path
) -> None:
    scorer = load_bundle(tiny_bundle).scorer
    clips = read_machine(tiny_data / "fan").split("test")[:2]
    assert len(list(score_recordings(scorer, clips))) == 2
    assert seen == {1}
    store = FeatureStore.open(tiny_features / "fan")
    of_detectors: set[int] = set()
    real = scorer.detectors.score_clips

    def counting(*arguments: object) -> object:
        of_detectors.add(torch.get_num_threads())
        return real(*arguments)

    object.__setattr__(scorer.detectors, "score_clips", counting)
    assert len(score_stored(scorer, store, store.rows(split="test")[:2], {}, systems=["fused"])) == 2
    assert of_detectors == {1}
