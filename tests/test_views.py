"""The four views of a clip: against plain loops, what they do not depend on, and what of a clip goes into them."""

from itertools import pairwise
from pathlib import Path
from statistics import mean, pstdev

import numpy as np
import pytest
import torch

from masd.config import NetworkSettings, WindowSettings
from masd.detection.features import ClipFeatures, FeatureExtractor
from masd.detection.views import VIEWS, WEIGHTS, ViewName, views_of
from masd.learning.network import ConvolutionalAutoEncoder
from masd.learning.normalisation import Normalisation

OF_BANDS: tuple[ViewName, ...] = ("band-mean", "band-peak", "band-change")
NORMALISATION = Normalisation(np.linspace(-50, -30, 16).astype(np.float32), 4.0)


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
    assert {name: view.shape for name, view in views.items()} == dict.fromkeys(OF_BANDS, (3, 5)) | {"latent": (3, 8)}
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
        for name in VIEWS:
            np.testing.assert_allclose(moved[name], views[name], atol=1e-6)


def test_in_what_order_frames_come_matters_to_the_change_alone(rng: np.random.Generator) -> None:
    waves = np.sin(2 * np.pi * np.arange(80) / 40 + rng.uniform(0, 6, (5, 1)))[None].astype(np.float32)
    latent = np.zeros((1, 1, 1, 1), np.float32)
    smooth, shuffled = views_of(waves, latent), views_of(rng.permutation(waves, axis=2), latent)
    for name in ("band-mean", "band-peak"):
        np.testing.assert_allclose(shuffled[name], smooth[name], atol=1e-6)
    assert (shuffled["band-change"] > 3 * smooth["band-change"]).all()


def test_an_offset_is_the_mean_and_a_single_moment_the_peak(rng: np.random.Generator) -> None:
    bands, latent = rng.normal(size=(1, 2, 100)).astype(np.float32), np.zeros((1, 1, 1, 1), np.float32)
    usual = views_of(bands, latent)
    louder = views_of(bands + np.float32(3.0), latent)
    np.testing.assert_allclose(louder["band-mean"], usual["band-mean"] + 3.0, atol=1e-5)
    for name in ("band-peak", "band-change"):
        np.testing.assert_allclose(louder[name], usual[name], atol=1e-5)
    bands[0, 1, 40:46] += 20.0  # 6 of 100 frames, one band
    knocked = views_of(bands, latent)
    assert knocked["band-peak"][0, 1] > usual["band-peak"][0, 1] + 10
    np.testing.assert_array_equal(knocked["band-peak"][0, 0], usual["band-peak"][0, 0])


def test_weights_are_shares_of_all_views() -> None:
    assert set(WEIGHTS) == set(VIEWS)
    assert sum(WEIGHTS.values()) == pytest.approx(1.0)


@pytest.fixture(scope="module")
def network() -> ConvolutionalAutoEncoder:
    torch.manual_seed(0)
    return ConvolutionalAutoEncoder(NetworkSettings(channels=(4, 8), embedding_dim=6), 2).eval()


@pytest.fixture(scope="module")
def extract(network: ConvolutionalAutoEncoder) -> FeatureExtractor:
    return FeatureExtractor(network, NORMALISATION, WindowSettings(frames=8, hop_frames=4))


@pytest.fixture(scope="module")
def log_mel() -> np.ndarray:
    return np.random.default_rng(0).normal(-40, 5, (18, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def clip(extract: FeatureExtractor, log_mel: np.ndarray) -> ClipFeatures:
    return extract([log_mel])[0]


class TestOfAClip:
    """What the extractor makes them of."""

    def latent(self, network: ConvolutionalAutoEncoder, window: np.ndarray) -> np.ndarray:
        """Encoder output of one window ``[frames, F]``, mean over time ``[C * F']``."""
        with torch.no_grad():
            encoded = network.encoder(torch.from_numpy(window.T.copy())[None, None])
        return encoded[0].double().numpy().mean(axis=2).ravel()

    def test_every_frame_counts_once(
        self, network: ConvolutionalAutoEncoder, log_mel: np.ndarray, clip: ClipFeatures
    ) -> None:
        """Windows start at frames 0, 4, 8 and 10: most frames lie in two of them."""
        frames = (log_mel.astype(np.float64) - NORMALISATION.mean) / NORMALISATION.scale
        expected = {
            "band-mean": frames.mean(axis=0),
            "band-peak": np.percentile(frames, 95, axis=0) - frames.mean(axis=0),
            "band-change": np.std(frames[1:] - frames[:-1], axis=0),
            "latent": np.mean(
                [self.latent(network, frames[s : s + 8].astype(np.float32)) for s in (0, 4, 8, 10)], axis=0
            ),
        }
        for name in VIEWS:
            np.testing.assert_allclose(clip.views[name], expected[name][None], rtol=1e-4, atol=1e-5)

    def test_each_window_has_its_own(
        self, network: ConvolutionalAutoEncoder, log_mel: np.ndarray, clip: ClipFeatures
    ) -> None:
        for number, start in enumerate((0, 4, 8, 10)):
            window = (log_mel[start : start + 8] - NORMALISATION.mean) / np.float32(NORMALISATION.scale)
            views = clip.window_views
            np.testing.assert_allclose(views["band-mean"][number], window.mean(axis=0), atol=1e-5)
            np.testing.assert_allclose(views["band-change"][number], np.diff(window, axis=0).std(axis=0), atol=1e-5)
            np.testing.assert_allclose(
                views["latent"][number], self.latent(network, window.astype(np.float32)), rtol=1e-4, atol=1e-5
            )

    def test_clips_of_a_store_come_without_those_of_windows(
        self, extract: FeatureExtractor, log_mel: np.ndarray, clip: ClipFeatures
    ) -> None:
        """They would be the largest part of what is kept of a training clip, and nothing is fitted to them."""

        class Store:
            folder = Path()

            def log_mel(self, row: int) -> np.ndarray:
                return log_mel

            def release(self) -> None:
                pass

        (read,) = extract.rows(Store(), np.array([0]))  # type: ignore[arg-type]
        assert read.window_views == {}
        for name in VIEWS:
            np.testing.assert_array_equal(read.views[name], clip.views[name])
