"""Balanced batches: proportions, pairs, and windows that really come from the clips they are said to come from.

Every cell of the stores below holds the number of its frame, so that each drawn window tells where it was cut.
"""

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from masd.config import AudioSettings, TrainingSettings, WindowSettings
from masd.data.store import FeatureStore
from masd.learning.batches import BalancedSampler, Batch
from masd.learning.classes import label_clips
from masd.learning.normalisation import Normalisation

BANDS = 16
BAND_SLOPE = 0.125
WINDOWS = WindowSettings(frames=16, hop_frames=8)
Row = tuple[str, str, str, str, int]
"""split, kind, domain, attributes, frames"""

MACHINE: list[Row] = [
    *[("train", "noisy", "source", f"rpm={n % 3}", 40) for n in range(12)],
    *[("train", "noisy", "target", "rpm=9", 40) for _ in range(3)],
    *[("test", "noisy", "source", "", 40) for _ in range(6)],
]
NOISE: list[Row] = [("supplemental", "noise", "none", "noAttribute", 40) for _ in range(5)]
CLEAN: list[Row] = [("supplemental", "clean", "none", f"rpm={n % 3}", 40) for n in range(6)]


def store(rows: list[Row], machine: str = "fan", first_frame: int = 0) -> FeatureStore:
    clips = pd.DataFrame(rows, columns=["split", "kind", "domain", "attributes", "n_frames"]).assign(copy_of="")
    clips["offset"] = np.concatenate([[0], np.cumsum(clips["n_frames"])[:-1]])
    frames = first_frame + np.arange(clips["n_frames"].sum())[:, None] + BAND_SLOPE * np.arange(BANDS)
    return FeatureStore(Path(), machine, "", AudioSettings(), 0.0, (), clips, frames.astype(np.float32))


class Case:
    """A sampler over stores, and the way back from a batch's windows to the clips."""

    def __init__(
        self, *stores: FeatureStore, seed: int = 0, set_aside: list[np.ndarray] | None = None, **settings: int
    ) -> None:
        self.stores = stores
        self.normalisations = [
            Normalisation(np.linspace(0, number + 1, BANDS).astype(np.float32), 2.0 + number)
            for number in range(len(stores))
        ]
        _, self.labels = label_clips(stores)
        self.sampler = BalancedSampler(
            stores,
            self.normalisations,
            self.labels,
            TrainingSettings(**settings),
            WINDOWS,
            np.random.default_rng(seed),
            set_aside,
        )

    def draw(self, with_noise: bool = True) -> tuple[Batch, list[tuple[int, int]]]:
        """A batch, and (store, clip row) of each of its windows; fails where a window was not cut from one clip."""
        batch = self.sampler.draw(with_noise=with_noise)
        origins = [self.origin(window[0].numpy()) for window in batch.x]
        return batch, [(store, row) for store, row, _ in origins]

    def origin(self, window: np.ndarray) -> tuple[int, int, int]:
        """Store, row and first frame (within the clip) of one window ``[F, T]``."""
        for number, (store, normalisation) in enumerate(zip(self.stores, self.normalisations, strict=True)):
            cells = window.T * normalisation.scale + normalisation.mean - BAND_SLOPE * np.arange(BANDS)
            frame = cells.mean(axis=1)
            at = np.round(frame) - store.frames[0, 0]
            if np.abs(cells - np.round(frame)[:, None]).max() > 0.02 or at.min() < 0 or at.max() >= len(store.frames):
                continue  # not a window of this store
            offsets, counts = store.clips["offset"].to_numpy(), store.clips["n_frames"].to_numpy()
            row = int(np.searchsorted(offsets, at[0], side="right") - 1)
            start = at[0] - offsets[row]
            expected = offsets[row] + (start + np.arange(WINDOWS.frames)) % counts[row]
            np.testing.assert_array_equal(at, expected)
            return number, row, int(start)
        raise AssertionError("a window that lies in no store under its normalisation")

    def kinds(self, origins: list[tuple[int, int]]) -> Counter[str]:
        clips = [self.stores[number].clips.iloc[row] for number, row in origins]
        return Counter(clip.domain if clip.kind == "noisy" else clip.kind for clip in clips)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param(MACHINE + NOISE, {"source": 96, "target": 16, "noise": 16}, id="noise"),
        pytest.param(MACHINE + CLEAN, {"source": 96, "target": 16, "clean": 16}, id="clean"),
        pytest.param(MACHINE, {"source": 112, "target": 16}, id="no supplemental clips"),
        pytest.param(MACHINE[:12] + NOISE, {"source": 112, "noise": 16}, id="no target clips"),
        pytest.param(MACHINE[:12], {"source": 128}, id="source only"),
        pytest.param(MACHINE[12:15], {"target": 128}, id="target only"),
    ],
)
def test_a_batch_keeps_the_proportions_and_missing_kinds_go_to_the_source(
    rows: list[Row], expected: dict[str, int]
) -> None:
    case = Case(store(rows))
    for _ in range(2):
        batch, origins = case.draw()
        assert case.kinds(origins) == expected
        assert batch.x.shape == (128, 1, BANDS, WINDOWS.frames)


def test_noise_is_left_out_where_it_has_no_use_but_clean_clips_stay() -> None:
    noise = Case(store(MACHINE + NOISE))
    batch, origins = noise.draw(with_noise=False)
    assert noise.kinds(origins) == {"source": 112, "target": 16}
    assert not batch.is_noise.any()
    clean = Case(store(MACHINE + CLEAN))
    assert clean.kinds(clean.draw(with_noise=False)[1]) == {"source": 96, "target": 16, "clean": 16}


def test_labels_and_noise_flags_belong_to_the_windows() -> None:
    case = Case(store(MACHINE + NOISE))
    batch, origins = case.draw()
    assert batch.y.tolist() == [int(case.labels[number][row]) for number, row in origins]
    kinds = [case.stores[number].clips["kind"].iat[row] for number, row in origins]
    assert batch.is_noise.tolist() == [kind == "noise" for kind in kinds]
    assert batch.y.dtype == torch.int64


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param((96, 16, 16), id="the paper's"),
        pytest.param((7, 5, 3), id="odd"),
        pytest.param((2, 2, 2), id="least"),
    ],
)
def test_no_class_is_drawn_only_once(sizes: tuple[int, int, int]) -> None:
    source, target, supplemental = sizes
    rows = [("train", "noisy", "source", f"rpm={n}", 40) for n in range(20)]  # a class for each clip
    rows += [("train", "noisy", "target", f"rpm={n}", 40) for n in range(20)] + CLEAN
    case = Case(store(rows), batch_source=source, batch_target=target, batch_supplemental=supplemental)
    for _ in range(10):
        batch, origins = case.draw()
        assert case.kinds(origins) == {"source": source, "target": target, "clean": supplemental}
        drawn = Counter(
            zip(batch.y.tolist(), [case.stores[0].clips["kind"].iat[row] for _, row in origins], strict=True)
        )
        assert min(drawn.values()) >= 2


def test_test_clips_are_never_drawn() -> None:
    case = Case(store(MACHINE + NOISE))
    seen = {row for _ in range(4) for _, row in case.draw()[1]}
    splits = case.stores[0].clips["split"]
    assert seen == set(np.flatnonzero(splits != "test"))


def test_clips_that_are_set_aside_are_never_drawn() -> None:
    aside = [np.array([0, 3, 13]), np.array([1])]
    case = Case(store(MACHINE, "fan"), store(MACHINE, "valve", first_frame=2000), set_aside=aside)
    seen = {origin for _ in range(8) for origin in case.draw()[1]}
    clips = len(MACHINE) - 6  # the rest are test clips
    expected = {(number, row) for number in (0, 1) for row in range(clips)} - {(0, 0), (0, 3), (0, 13), (1, 1)}
    assert seen == expected


def test_copies_are_never_drawn() -> None:
    twice = store(MACHINE)
    twice.clips.loc[[2, 13], "copy_of"] = "original.wav"
    case = Case(twice)
    seen = {row for _ in range(8) for _, row in case.draw()[1]}
    assert seen == set(range(len(MACHINE) - 6)) - {2, 13}


def test_windows_start_anywhere_in_a_clip() -> None:
    case = Case(store(MACHINE))
    starts = {case.origin(window[0].numpy())[2] for _ in range(8) for window in case.sampler.draw(with_noise=True).x}
    assert starts == set(range(40 - WINDOWS.frames + 1))


def test_a_clip_shorter_than_a_window_is_repeated_from_its_beginning() -> None:
    short: list[Row] = [("train", "noisy", "source", "noAttribute", n) for n in (5, 16, 11)]
    case = Case(store(short))
    for window in case.sampler.draw(with_noise=True).x:
        assert case.origin(window[0].numpy())[2] == 0  # origin() itself checks the wrap


def test_each_machine_of_a_fleet_gets_its_own_normalisation() -> None:
    case = Case(store(MACHINE, "fan"), store(MACHINE + NOISE, "valve", first_frame=2000))
    batch, origins = case.draw()
    assert {number for number, _ in origins} == {0, 1}
    assert batch.y.tolist() == [int(case.labels[number][row]) for number, row in origins]


def test_batches_are_reproducible_from_the_generator() -> None:
    first, again, other = (Case(store(MACHINE + NOISE), seed=seed) for seed in (5, 5, 6))
    for _ in range(3):
        a, b = first.sampler.draw(with_noise=True), again.sampler.draw(with_noise=True)
        assert torch.equal(a.x, b.x) and torch.equal(a.y, b.y)
    assert not torch.equal(a.x, other.sampler.draw(with_noise=True).x)


def test_frames_that_lie_on_a_device_give_the_same_batches() -> None:
    stores = [store(MACHINE + NOISE), store(MACHINE + CLEAN, "valve", first_frame=10_000)]
    mapped, resident = Case(*stores, seed=3), Case(*stores, seed=3)
    resident.sampler = BalancedSampler(
        stores,
        resident.normalisations,
        resident.labels,
        TrainingSettings(),
        WINDOWS,
        np.random.default_rng(3),
        resident=torch.device("cpu"),
    )
    for _ in range(3):
        one, other = (case.sampler.draw(with_noise=True) for case in (mapped, resident))
        assert torch.equal(one.x, other.x) and torch.equal(one.y, other.y)
