"""Log-mel frames against an independent computation, and the properties a detector relies on."""

import numpy as np
import pytest

from masd.audio.log_mel import FLOOR, OCTAVES_HZ, LogMel, mel_power, octave_levels_db, spectral_centroid_hz
from masd.config import AudioSettings

RATE = 16_000
DEFAULT = AudioSettings()
SMALL = AudioSettings(sample_rate=8_000, n_fft=512, hop_length=128, n_mels=48)


def slaney_filters(settings: AudioSettings) -> np.ndarray:
    """Triangles ``[n_mels, bins]`` of unit area on Slaney's scale: linear below 1 kHz (15 mel), then logarithmic."""
    log_step = np.log(6.4) / 27.0

    def hz(mel: float) -> float:
        return mel * 200.0 / 3.0 if mel < 15.0 else 1000.0 * np.exp(log_step * (mel - 15.0))

    top = 15.0 + np.log(settings.sample_rate / 2 / 1000.0) / log_step
    edges = [hz(mel) for mel in np.linspace(0.0, top, settings.n_mels + 2)]
    bins = np.arange(settings.n_fft // 2 + 1) * settings.sample_rate / settings.n_fft
    filters = np.zeros((settings.n_mels, len(bins)))
    for band, (low, centre, high) in enumerate(zip(edges[:-2], edges[1:-1], edges[2:], strict=True)):
        for k, f in enumerate(bins):
            if low < f <= centre:
                filters[band, k] = (f - low) / (centre - low)
            elif centre < f < high:
                filters[band, k] = (high - f) / (high - centre)
        filters[band] *= 2.0 / (high - low)
    return filters


def reference(samples: np.ndarray, settings: AudioSettings) -> np.ndarray:
    """``10 log10`` of the mel power by a discrete Fourier transform frame by frame, in double precision."""
    n = settings.n_fft
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)
    x = samples.astype(np.float64)
    x = np.concatenate([x[n // 2 : 0 : -1], x, x[-2 : -n // 2 - 2 : -1]])
    frames = [x[start : start + n] * window for start in range(0, len(x) - n + 1, settings.hop_length)]
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    return 10 * np.log10(np.maximum(power @ slaney_filters(settings).T, 1e-12))


def noise(n: int = RATE, seed: int = 0, amplitude: float = 0.1) -> np.ndarray:
    return (amplitude * np.random.default_rng(seed).standard_normal(n)).astype(np.float32)


def tone(hz: float, seconds: float = 2.0, amplitude: float = 0.1) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * hz * np.arange(int(RATE * seconds)) / RATE)).astype(np.float32)


@pytest.mark.parametrize("settings", [DEFAULT, SMALL], ids=["default", "small"])
@pytest.mark.parametrize("n", [RATE, RATE + 311])
def test_noise_matches_the_explicit_computation(settings: AudioSettings, n: int) -> None:
    samples = noise(n)
    log_mel = LogMel(settings, 0.0)(samples)
    expected = reference(samples, settings)
    assert log_mel.shape == expected.shape == (1 + n // settings.hop_length, settings.n_mels)
    assert log_mel.dtype == np.float32
    np.testing.assert_allclose(log_mel, expected, atol=0.005)


def test_a_sweep_matches_the_explicit_computation() -> None:
    t = np.arange(2 * RATE) / RATE
    samples = (0.5 * np.sin(2 * np.pi * (50 * t + 1900 * t**2))).astype(np.float32)
    log_mel, expected = LogMel(DEFAULT, 0.0)(samples), reference(samples, DEFAULT)
    heard = expected > expected.max() - 80.0  # below, single precision has its own noise
    assert heard.sum() > 500
    np.testing.assert_allclose(log_mel[heard], expected[heard], atol=0.02)


@pytest.mark.parametrize("n", [1024, 1535, 1536, 16_000, 160_000])
def test_frames_are_centred_on_every_hop(n: int) -> None:
    assert len(LogMel(DEFAULT, 0.0)(noise(n))) == 1 + n // 512


def test_silence_is_the_floor() -> None:
    for high_pass in (0.0, 200.0):
        log_mel = LogMel(DEFAULT, high_pass)(np.zeros(RATE, dtype=np.float32))
        np.testing.assert_allclose(log_mel, -120.0, atol=1e-4)
    assert FLOOR == 1e-12


@pytest.mark.parametrize("high_pass", [0.0, 200.0])
@pytest.mark.parametrize("gain", [2.0, 0.5, 100.0])
def test_gain_shifts_every_band_by_its_decibels(gain: float, high_pass: float) -> None:
    to_log_mel, samples = LogMel(DEFAULT, high_pass), noise()
    shift = to_log_mel((gain * samples).astype(np.float32)) - to_log_mel(samples)
    np.testing.assert_allclose(shift, 20 * np.log10(gain), atol=5e-3)  # 6.02 dB for a factor of two


def test_polarity_does_not_matter() -> None:
    to_log_mel, samples = LogMel(DEFAULT, 200.0), noise()
    np.testing.assert_array_equal(to_log_mel(samples), to_log_mel(-samples))


@pytest.mark.parametrize("high_pass", [0.0, 200.0])
@pytest.mark.parametrize("hops", [1, 7])
def test_a_delay_by_whole_hops_delays_the_frames(hops: int, high_pass: float) -> None:
    to_log_mel, samples = LogMel(DEFAULT, high_pass), noise()
    late = to_log_mel(np.concatenate([np.zeros(hops * 512, dtype=np.float32), samples]))
    # frame 0 stands on a reflection of the clip's own beginning, all others on samples
    np.testing.assert_allclose(late[1 + hops :], to_log_mel(samples)[1:], atol=1e-3)


def high_pass_db(hz: float, cutoff: float, order: int = 4) -> float:
    """Gain of a digital Butterworth high-pass: the analogue magnitude at bilinearly warped frequencies."""
    ratio = np.tan(np.pi * cutoff / RATE) / np.tan(np.pi * hz / RATE)
    return float(-10 * np.log10(1 + ratio ** (2 * order)))


@pytest.mark.parametrize("cutoff", [200.0, 500.0])
@pytest.mark.parametrize("hz", [50.0, 100.0, 200.0, 400.0, 2000.0])
def test_the_high_pass_attenuates_a_tone_as_butterworth_says(hz: float, cutoff: float) -> None:
    plain, filtered = LogMel(DEFAULT, 0.0), LogMel(DEFAULT, cutoff)
    band = int(np.argmin(np.abs(plain.centres_hz - hz)))
    change = (filtered(tone(hz)) - plain(tone(hz)))[20:-3, band]  # after the filter's own start
    np.testing.assert_allclose(change, high_pass_db(hz, cutoff), atol=0.15)


def test_the_butterworth_numbers_themselves() -> None:
    assert high_pass_db(50.0, 200.0) == pytest.approx(-48.2, abs=0.1)  # 24 dB per octave, two octaves down
    assert high_pass_db(200.0, 200.0) == pytest.approx(-3.01, abs=0.01)
    assert high_pass_db(2000.0, 200.0) == pytest.approx(0.0, abs=1e-3)


def test_the_high_pass_removes_a_microphones_offset() -> None:
    to_log_mel, samples = LogMel(DEFAULT, 200.0), tone(1000.0)
    shifted = to_log_mel((samples + 0.2).astype(np.float32))[20:-3]
    band = int(np.argmin(np.abs(to_log_mel.centres_hz - 1000.0)))
    np.testing.assert_allclose(shifted[:, band], to_log_mel(samples)[20:-3, band], atol=0.01)
    assert shifted[:, 0].max() < shifted[:, band].min() - 60.0


@pytest.mark.parametrize("hz", [100.0, 440.0, 1000.0, 3000.0, 7000.0])
def test_a_tone_peaks_in_the_band_around_it(hz: float) -> None:
    to_log_mel = LogMel(DEFAULT, 0.0)
    band = int(np.argmax(to_log_mel(tone(hz))[30]))
    width = np.gradient(to_log_mel.centres_hz)[band]
    assert abs(to_log_mel.centres_hz[band] - hz) <= width


def test_band_centres_rise_from_zero_to_half_the_sample_rate() -> None:
    for settings in (DEFAULT, SMALL):
        centres = LogMel(settings, 0.0).centres_hz
        assert centres.shape == (settings.n_mels,)
        assert (np.diff(centres) > 0).all()
        assert 0 < centres[0] < centres[-1] < settings.sample_rate / 2


@pytest.mark.parametrize("n", [1, 2, 100, 511, 512, 513, 1023])
def test_a_clip_shorter_than_a_frame_is_repeated(n: int) -> None:
    samples = noise(n)
    repeated = np.tile(samples, 1024)[:1024]
    log_mel = LogMel(DEFAULT, 0.0)(samples)
    np.testing.assert_array_equal(log_mel, LogMel(DEFAULT, 0.0)(repeated))
    assert np.isfinite(log_mel).all()


def test_no_samples_are_a_callers_mistake() -> None:
    with pytest.raises(ValueError, match="no samples"):
        LogMel(DEFAULT, 0.0)(np.zeros(0, dtype=np.float32))


def test_the_samples_are_left_as_they_are() -> None:
    samples = noise()
    before = samples.copy()
    LogMel(DEFAULT, 200.0)(samples)
    np.testing.assert_array_equal(samples, before)


def test_one_object_serves_many_clips_without_memory_of_the_last() -> None:
    to_log_mel = LogMel(DEFAULT, 200.0)
    first = to_log_mel(noise(seed=1))
    to_log_mel(noise(seed=2, amplitude=100.0))
    np.testing.assert_array_equal(to_log_mel(noise(seed=1)), first)


def test_the_spectral_centroid_weighs_band_centres_by_power() -> None:
    centres = np.array([100.0, 200.0, 400.0])
    log_mel = np.array([[0.0, 10 * np.log10(3.0), -120.0], [-120.0, -120.0, 0.0]], dtype=np.float32)
    assert spectral_centroid_hz(mel_power(log_mel), centres) == pytest.approx((175.0 + 400.0) / 2, rel=1e-5)


def test_the_spectral_centroid_of_a_tone_is_its_frequency() -> None:
    to_log_mel = LogMel(DEFAULT, 0.0)
    assert spectral_centroid_hz(mel_power(to_log_mel(tone(1500.0))), to_log_mel.centres_hz) == pytest.approx(
        1500.0, rel=0.03
    )


def test_octave_levels_are_shares_of_the_whole_in_decibels() -> None:
    centres = np.array([100.0, 300.0, 400.0, 700.0, 7000.0])
    log_mel = np.tile(10 * np.log10(np.array([4.0, 1.0, 2.0, 1.0, 2.0], dtype=np.float32)), (3, 1))
    shares = 10 ** (np.array(octave_levels_db(mel_power(log_mel), centres)) / 10)
    np.testing.assert_allclose(shares, [0.4, 0.3, 0.1, 1e-12, 1e-12, 0.2], rtol=1e-5)
    np.testing.assert_allclose(
        octave_levels_db(mel_power(log_mel + 20.0), centres), octave_levels_db(mel_power(log_mel), centres), atol=1e-4
    )


@pytest.mark.parametrize("band", range(1, len(OCTAVES_HZ)))
def test_a_tone_is_in_the_octave_of_its_pitch(band: int) -> None:
    to_log_mel = LogMel(DEFAULT, 0.0)
    pitch = 1.4 * OCTAVES_HZ[band]
    levels = octave_levels_db(mel_power(to_log_mel(tone(pitch))), to_log_mel.centres_hz)
    assert int(np.argmax(levels)) == band
    assert levels[band] > -0.5
