"""The default detector with a far microphone: noise that both hear is taken off, a fault at the machine is not."""

from dataclasses import replace

import numpy as np
import pytest

from masd.config import DetectionSettings, WindowSettings
from masd.detection.detectors import Detectors, fit_detectors
from masd.detection.features.clip import ClipFeatures
from masd.detection.features.extractor import FeatureExtractor
from masd.detection.fused.detector import WEIGHTS, FusedDetector
from masd.detection.fused.two_microphones import Explained, TwoMicrophones, loud_levels, measures
from masd.learning.normalisation import Normalisation

BANDS, FRAMES = 16, 96
EXTRACT = FeatureExtractor(
    None, Normalisation(np.full(BANDS, -40.0, np.float32), 4.0), WindowSettings(frames=32, hop_frames=16)
)
Pair = tuple[np.ndarray, np.ndarray]


def heard(rng: np.random.Generator, noise_db: float = 0.0, fault_db: float = 0.0) -> Pair:
    """Frames of a steady machine near and far in dB; a burst of noise, each of another colour, fills a third of both, a
    fault is near alone.
    """
    near, far = rng.normal(-40.0, 2.0, (2, FRAMES, BANDS)).astype(np.float32)
    colour = noise_db * rng.uniform(0.0, 2.0, BANDS).astype(np.float32)
    for frames in (near, far):
        frames[32:64] += colour
    near[:, 2] += fault_db
    return near, far


def features(pairs: list[Pair]) -> list[ClipFeatures]:
    return EXTRACT([near for near, _ in pairs], [far for _, far in pairs])


@pytest.fixture(scope="module")
def detectors() -> Detectors:
    """Of 60 source and 10 target clips, every third with a burst."""
    rng = np.random.default_rng(0)
    pairs = [heard(rng, rng.uniform(2.0, 12.0) if n % 3 == 0 else 0.0) for n in range(70)]
    fitted, _ = fit_detectors(features(pairs), np.arange(70) >= 60, DetectionSettings(), 0)
    return fitted


def scores(detectors: Detectors, pairs: list[Pair], *, alone: bool = False) -> np.ndarray:
    clips = [replace(clip, far=None) if alone else clip for clip in features(pairs)]
    return np.array([one["fused"].score for one in detectors.score_clips(clips, ["fused"])])


def test_noise_that_both_hear_hardly_raises_the_score(detectors: Detectors) -> None:
    rng = np.random.default_rng(1)
    quiet, noisy = [heard(rng) for _ in range(20)], [heard(rng, 10.0) for _ in range(20)]
    alone = np.log(scores(detectors, noisy, alone=True)).mean() - np.log(scores(detectors, quiet, alone=True)).mean()
    both = np.log(scores(detectors, noisy)).mean() - np.log(scores(detectors, quiet)).mean()
    assert alone > 0.3
    assert abs(both) < alone / 3


def test_a_fault_at_the_machine_raises_it_as_much_as_without_the_far_microphone(detectors: Detectors) -> None:
    rng = np.random.default_rng(2)
    usual, faulty = [heard(rng) for _ in range(20)], [heard(rng, fault_db=3.0) for _ in range(20)]
    alone = np.log(scores(detectors, faulty, alone=True)).mean() - np.log(scores(detectors, usual, alone=True)).mean()
    both = np.log(scores(detectors, faulty)).mean() - np.log(scores(detectors, usual)).mean()
    assert alone > 0.2
    assert both == pytest.approx(alone, abs=0.15 * alone + 0.03)


def test_clips_with_and_without_a_far_channel_score_together_as_alone(detectors: Detectors) -> None:
    rng = np.random.default_rng(3)
    one, other = features([heard(rng), heard(rng, 8.0)])
    alone = replace(one, far=None)
    together = detectors.score_clips([alone, other, one], ["fused"])
    singly = [detectors.score(clip)["fused"].score for clip in (alone, other, one)]
    assert [each["fused"].score for each in together] == pytest.approx(singly, rel=1e-6)
    assert singly[0] != singly[2]


def test_the_near_detector_alone_is_that_of_a_model_without_a_reference_channel(detectors: Detectors) -> None:
    """With its threshold: a mono clip is answered as if the far microphone had never been there."""
    rng = np.random.default_rng(0)
    pairs = [heard(rng, rng.uniform(2.0, 12.0) if n % 3 == 0 else 0.0) for n in range(70)]
    mono, _ = fit_detectors(EXTRACT([near for near, _ in pairs]), np.arange(70) >= 60, DetectionSettings(), 0)
    assert isinstance(mono.systems["fused"], FusedDetector)
    clip = replace(features([heard(rng, 6.0)])[0], far=None)
    assert detectors.score(clip)["fused"].score == mono.score(clip)["fused"].score
    assert detectors.threshold_of("fused", clip) == (mono.thresholds["fused"], mono.calibrations["fused"])
    assert mono.near_alone == {}


def test_a_burst_lowers_its_own_window_most_and_the_geometric_mean_is_the_score(detectors: Detectors) -> None:
    rng = np.random.default_rng(4)
    (clip,) = features([heard(rng, 12.0)])
    both, alone = detectors.score(clip)["fused"], detectors.score(replace(clip, far=None))["fused"]
    burst = 2  # of the windows from frames 0, 16, 32, 48, 64 it is the one that the burst fills
    assert alone.window_scores[burst] > 1.2 * alone.score
    for one in (both, alone):
        assert np.exp(np.log(one.window_scores).mean()) == pytest.approx(one.score, rel=1e-5)
    lowered = both.window_scores / alone.window_scores
    assert lowered[burst] < 0.9 * max(lowered[0], lowered[4])  # those beside it less


def test_detectors_survive_their_tensors(detectors: Detectors) -> None:
    rng = np.random.default_rng(5)
    clips = features([heard(rng), heard(rng, 8.0)])
    again = Detectors.from_tensors(detectors.tensors(), has_network=False)
    assert isinstance(again.systems["fused"], TwoMicrophones)
    assert again.near_alone == detectors.near_alone
    for clip in (*clips, replace(clips[0], far=None)):
        assert again.score(clip)["fused"].score == detectors.score(clip)["fused"].score


LEVELS = np.array([-30.0])


def both(near: np.ndarray) -> np.ndarray:
    """The same ratio to either domain."""
    return np.stack([near, near], axis=1)


def test_what_is_explained_is_the_slope_on_the_far_sound(rng: np.random.Generator) -> None:
    far = rng.normal(0.0, 1.0, (2000, 2))
    near = 0.5 * far[:, 0] - 0.5 * far[:, 1] + rng.normal(0.0, 0.1, 2000)
    explained = Explained.fit(far, near, LEVELS)
    # shrunk by a tenth; noise makes nothing normal
    assert explained.slopes == pytest.approx([0.5 / 1.1, 0.0], abs=0.02)
    assert explained.usual == pytest.approx(near.mean())
    centre = far.mean(axis=0, keepdims=True)
    assert explained.left(both(np.array([0.7])), centre)[0] == pytest.approx([0.7, 0.7])


def test_what_scatters_more_in_noise_counts_less_in_it(rng: np.random.Generator) -> None:
    """Scatter 0.1 without noise and 0.5 in it, both equally often: 0.3 in the mean, and the rise counts twice."""
    noisy = (np.arange(4000) % 2).astype(float)
    near = rng.normal(0.0, np.where(noisy, 0.5, 0.1))
    explained = Explained.fit(noisy[:, None], near, LEVELS)
    quiet, loud = (float(explained.left(both(np.array([1.0])), np.array([[far]]))[0, 0]) for far in (0.0, 1.0))
    rise = 2.0 * (0.2 / 0.3) / 1.1  # above the mean, in units of it, shrunk by a tenth
    assert loud == pytest.approx(1.0 / (1.0 + rise), abs=0.04)
    assert quiet == pytest.approx(1.0 / 0.3, abs=0.1), "not more than three times"


def test_no_far_sound_explains_more_than_the_loudest_of_training(rng: np.random.Generator) -> None:
    far = rng.normal(0.0, 1.0, (100, 1))
    explained = Explained.fit(far, far[:, 0], LEVELS)
    one = both(np.array([2.0]))
    for extreme, limit in ((1e6, far.max(keepdims=True)), (-1e6, far.min(keepdims=True))):
        np.testing.assert_array_equal(explained.left(one, np.array([[extreme]])), explained.left(one, limit))


def test_loud_frames_are_counted_in_clips_and_in_their_windows(detectors: Detectors) -> None:
    system = detectors.systems["fused"]
    assert isinstance(system, TwoMicrophones)
    (clip,) = features([(np.full((FRAMES, BANDS), -40.0, np.float32), loud_in_the_middle())])
    assert clip.far is not None
    heard = measures(system.far.members_of([clip.far], [clip.spans]), [clip.far], [clip.spans], np.array([-35.0]))
    # windows of 32 frames start at 0, 16, 32, 48 and 64; frames 32 to 63 are loud
    assert heard[:, -1] == pytest.approx([1 / 3, 0.0, 0.5, 1.0, 0.5, 0.0])


def loud_in_the_middle() -> np.ndarray:
    frames = np.full((FRAMES, BANDS), -40.0, np.float32)
    frames[32:64] = -20.0
    return frames


def test_levels_are_above_the_usual_level_of_the_far_microphone(rng: np.random.Generator) -> None:
    frames = [np.full((50, BANDS), level, np.float32) for level in rng.normal(-50.0, 2.0, 4000)]
    assert loud_levels(frames) == pytest.approx([-46.0, -42.0], abs=0.3)


def test_a_bundle_of_before_scores_as_it_did(detectors: Detectors) -> None:
    """It has slopes of the distances only: nothing is said of loudness or scatter."""
    rng = np.random.default_rng(6)
    clips = features([heard(rng), heard(rng, 8.0)])
    distances = len(WEIGHTS) - 1
    tensors = detectors.tensors()
    for name in ("scatter", "louder_than", "usual"):
        del tensors[f"fused.explained.{name}"]
    for name in ("slopes", "centres", "least", "most"):
        tensors[f"fused.explained.{name}"] = tensors[f"fused.explained.{name}"][:distances]
    again = Detectors.from_tensors(tensors, has_network=False)
    system = again.systems["fused"]
    assert isinstance(system, TwoMicrophones)
    for clip in clips:
        assert clip.far is not None
        far = system.far.member_ratios([clip.far.log_mel], clip.far.views)
        beyond = np.array([far[name].min() for name in WEIGHTS if name in far])
        explained = np.clip(beyond, system.explained.least, system.explained.most) - system.explained.centres
        alone = again.score(replace(clip, far=None))["fused"].score
        expected = alone * np.exp(-float(explained @ system.explained.slopes))
        assert again.score(clip)["fused"].score == pytest.approx(expected, rel=1e-5)
