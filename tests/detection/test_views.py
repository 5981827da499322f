"""The views of a clip: against plain loops, what they do not depend on, and what of a clip goes into them."""

from itertools import pairwise
from pathlib import Path
from statistics import mean, pstdev

import numpy as np
import pytest
import torch
from scipy.signal import welch
from tiny import SMALL_NORMALISATION

from masd.detection.features.clip import ClipFeatures
from masd.detection.features.extractor import FeatureExtractor
from masd.detection.features.views import (
    MODULATION_BANDS,
    MODULATION_FLOOR,
    MODULATION_FRAMES,
    VIEWS,
    ViewName,
    views_of,
)
from masd.learning.network import ConvolutionalAutoEncoder

OF_BANDS: tuple[ViewName, ...] = ("band-mean", "band-peak", "band-change")
LATENT = np.zeros((1, 1, 1, 1), np.float32)


def quantile(values: list[float], share: float) -> float:
    """With linear interpolation between the two values around the place asked for."""
    ordered, place = sorted(values), share * (len(values) - 1)
    low = int(place)
    return ordered[low] + (place - low) * (ordered[min(low + 1, len(ordered) - 1)] - ordered[low])


def test_against_loops(rng: np.random.Generator) -> None:
    bands = rng.normal(size=(3, 5, 23)).astype(np.float32)
    latent = rng.normal(size=(3, 4, 2, 6)).astype(np.float32)
    views = views_of(bands, latent)
    assert tuple(views) == VIEWS
    shapes = dict.fromkeys(OF_BANDS, (3, 5)) | {"modulation": (3, 5 * 16), "latent": (3, 8)}
    assert {name: view.shape for name, view in views.items()} == shapes
    assert {view.dtype for view in views.values()} == {np.dtype(np.float32)}
    for clip in range(3):
        for band in range(5):
            values = [float(value) for value in bands[clip, band]]
            steps = [after - before for before, after in pairwise(values)]
            assert views["band-mean"][clip, band] == pytest.approx(mean(values), abs=1e-5)
            assert views["band-peak"][clip, band] == pytest.approx(quantile(values, 0.95) - mean(values), abs=1e-5)
            assert views["band-change"][clip, band] == pytest.approx(pstdev(steps), abs=1e-5)
        for channel in range(4):
            for part in range(2):
                values = [float(value) for value in latent[clip, channel, part]]
                assert views["latent"][clip, 2 * channel + part] == pytest.approx(mean(values), abs=1e-5)


def test_when_something_happens_does_not_matter(rng: np.random.Generator) -> None:
    """A burst in a steady sound, moved by whole frames."""
    bands, latent = np.zeros((1, 6, 60), np.float32), np.zeros((1, 3, 2, 20), np.float32)
    bands[:, :, 10:22], latent[:, :, :, 3:8] = rng.normal(size=(1, 6, 12)), rng.normal(size=(1, 3, 2, 5))
    views = views_of(bands, latent)
    for frames in (1, 7, 30):
        moved = views_of(np.roll(bands, frames, axis=2), np.roll(latent, min(frames, 9), axis=3))
        for name in (*OF_BANDS, "latent"):
            np.testing.assert_allclose(moved[name], views[name], atol=1e-6)


def test_modulation_against_welch(rng: np.random.Generator) -> None:
    """Of eight groups of two bands; scipy takes densities of one side, and counts those within twice."""
    bands = rng.normal(size=(3, 16, 96)).astype(np.float32)
    levels = bands.astype(np.float64).reshape(3, MODULATION_BANDS, 2, 96).mean(axis=2)
    taper = np.hanning(MODULATION_FRAMES)
    _, density = welch(levels, window=taper, nperseg=MODULATION_FRAMES, noverlap=MODULATION_FRAMES // 2)
    power = density[..., 1:] * np.square(taper).sum() / MODULATION_FRAMES
    power[..., :-1] /= 2
    expected = np.log(power + MODULATION_FLOOR).reshape(3, -1)
    np.testing.assert_allclose(views_of(bands, LATENT)["modulation"], expected, atol=1e-5)


@pytest.mark.parametrize("frames", [32, 63, 64, 313])
def test_a_rhythm_shows_in_its_bands_at_its_rate_whenever_it_begins(frames: int, rng: np.random.Generator) -> None:
    """Five beats in 32 frames in the third of eight groups of bands."""
    noise = 0.1 * rng.normal(size=(1, 16, frames))
    for phase in (0.0, 1.0, 2.5):
        bands = noise.copy()
        bands[:, 4:6] += np.sin(2 * np.pi * 5 * np.arange(frames) / MODULATION_FRAMES + phase)
        found = views_of(bands.astype(np.float32), LATENT)["modulation"].reshape(MODULATION_BANDS, -1)
        assert np.unravel_index(found.argmax(), found.shape) == (2, 4)  # 5 beats are the fifth rate above 0
        usual = views_of(noise.astype(np.float32), LATENT)["modulation"].reshape(MODULATION_BANDS, -1)
        assert found[2, 4] > usual[2, 4] + 4
        np.testing.assert_allclose(np.delete(found, 2, axis=0), np.delete(usual, 2, axis=0), atol=1e-5)


def test_a_short_sound_is_repeated_and_no_tail_goes_unheard(rng: np.random.Generator) -> None:
    bands = rng.normal(size=(1, 6, 63)).astype(np.float32)
    for frames in (3, 8, 31):
        short = bands[:, :, :frames]
        repeated = np.tile(short, 16)[:, :, :MODULATION_FRAMES]
        np.testing.assert_array_equal(views_of(short, LATENT)["modulation"], views_of(repeated, LATENT)["modulation"])
    knocked = bands.copy()
    knocked[:, :, -6:] += rng.normal(size=6)
    assert (views_of(knocked, LATENT)["modulation"] != views_of(bands, LATENT)["modulation"]).all()


def test_in_what_order_frames_come_matters_to_change_and_modulation_alone(rng: np.random.Generator) -> None:
    waves = np.sin(2 * np.pi * np.arange(80) / 40 + rng.uniform(0, 6, (5, 1)))[None].astype(np.float32)
    smooth, shuffled = views_of(waves, LATENT), views_of(rng.permutation(waves, axis=2), LATENT)
    for name in ("band-mean", "band-peak"):
        np.testing.assert_allclose(shuffled[name], smooth[name], atol=1e-6)
    assert (shuffled["band-change"] > 3 * smooth["band-change"]).all()
    assert (shuffled["modulation"].reshape(5, -1)[:, 4:] > 1 + smooth["modulation"].reshape(5, -1)[:, 4:]).all()


def test_an_offset_is_the_mean_and_a_single_moment_the_peak(rng: np.random.Generator) -> None:
    bands = rng.normal(size=(1, 2, 100)).astype(np.float32)
    usual = views_of(bands, LATENT)
    louder = views_of(bands + np.float32(3.0), LATENT)
    np.testing.assert_allclose(louder["band-mean"], usual["band-mean"] + 3.0, atol=1e-5)
    for name in ("band-peak", "band-change", "modulation"):
        np.testing.assert_allclose(louder[name], usual[name], atol=1e-5)
    bands[0, 1, 40:46] += 20.0  # 6 of 100 frames, one band
    knocked = views_of(bands, LATENT)
    assert knocked["band-peak"][0, 1] > usual["band-peak"][0, 1] + 10
    np.testing.assert_array_equal(knocked["band-peak"][0, 0], usual["band-peak"][0, 0])


@pytest.fixture(scope="module")
def log_mel() -> np.ndarray:
    return np.random.default_rng(0).normal(-40, 5, (18, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def clip(small_extractor: FeatureExtractor, log_mel: np.ndarray) -> ClipFeatures:
    return small_extractor([log_mel])[0]


def modulation_of(frames: np.ndarray) -> np.ndarray:
    """Of the frames ``[T, F]`` of one sound."""
    return views_of(np.ascontiguousarray(frames.T[None], np.float32), LATENT)["modulation"]


class TestOfAClip:
    """What the extractor makes them of."""

    def latent(self, small_network: ConvolutionalAutoEncoder, window: np.ndarray) -> np.ndarray:
        """Encoder output of one window ``[frames, F]``, mean over time ``[C * F']``."""
        with torch.no_grad():
            encoded = small_network.encoder(torch.from_numpy(window.T.copy())[None, None])
        return encoded[0].double().numpy().mean(axis=2).ravel()

    def test_every_frame_counts_once(
        self, small_network: ConvolutionalAutoEncoder, log_mel: np.ndarray, clip: ClipFeatures
    ) -> None:
        """Windows start at frames 0, 4, 8 and 10: most frames lie in two of them."""
        frames = (log_mel.astype(np.float64) - SMALL_NORMALISATION.mean) / SMALL_NORMALISATION.scale
        expected = {
            "band-mean": frames.mean(axis=0),
            "band-peak": np.percentile(frames, 95, axis=0) - frames.mean(axis=0),
            "band-change": np.std(frames[1:] - frames[:-1], axis=0),
            "latent": np.mean(
                [self.latent(small_network, frames[s : s + 8].astype(np.float32)) for s in (0, 4, 8, 10)], axis=0
            ),
        }
        for name in expected:
            np.testing.assert_allclose(clip.views[name], expected[name][None], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(clip.views["modulation"], modulation_of(frames), rtol=1e-4, atol=1e-5)

    def test_each_window_has_its_own(
        self, small_network: ConvolutionalAutoEncoder, log_mel: np.ndarray, clip: ClipFeatures
    ) -> None:
        for number, start in enumerate((0, 4, 8, 10)):
            window = (log_mel[start : start + 8] - SMALL_NORMALISATION.mean) / np.float32(SMALL_NORMALISATION.scale)
            views = clip.window_views
            np.testing.assert_allclose(views["band-mean"][number], window.mean(axis=0), atol=1e-5)
            np.testing.assert_allclose(views["band-change"][number], np.diff(window, axis=0).std(axis=0), atol=1e-5)
            np.testing.assert_allclose(views["modulation"][[number]], modulation_of(window), atol=1e-5)
            np.testing.assert_allclose(
                views["latent"][number], self.latent(small_network, window.astype(np.float32)), rtol=1e-4, atol=1e-5
            )

    def test_each_window_says_which_frames_it_covers(
        self, small_extractor: FeatureExtractor, log_mel: np.ndarray, clip: ClipFeatures
    ) -> None:
        assert clip.log_mel is log_mel
        assert clip.spans.tolist() == [[0, 8], [4, 12], [8, 16], [10, 18]]
        assert small_extractor([log_mel[:5]])[0].spans.tolist() == [[0, 5]]

    def test_clips_of_a_store_come_without_those_of_windows(
        self, small_extractor: FeatureExtractor, log_mel: np.ndarray, clip: ClipFeatures
    ) -> None:
        """They would be the largest part of what is kept of a training clip, and nothing is fitted to them."""

        class Store:
            folder = Path()

            def log_mel(self, row: int) -> np.ndarray:
                return log_mel

            def far_log_mel(self, row: int) -> None:
                pass

            def release(self) -> None:
                pass

        (read,) = small_extractor.rows(Store(), np.array([0]))
        assert read.window_views == {}
        assert np.shares_memory(read.log_mel, log_mel)
        for name in VIEWS:
            np.testing.assert_array_equal(read.views[name], clip.views[name])
