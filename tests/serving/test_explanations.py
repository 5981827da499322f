"""An explanation names the place, in time and frequency, and shows it in a picture of bounded size."""

import base64
import io
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import soundfile
from raw_http import post, post_json

from masd.bundle.bundle import Bundle, load_bundle
from serving.server import RunningServer
from serving.worker.batch import answer
from serving.worker.explain import MAX_EXPLAINED, Explainer

RATE = 16_000
PITCH = 3_111.0


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return load_bundle(tiny_bundle)


@pytest.fixture(scope="module")
def explainer(bundle: Bundle) -> Explainer:
    assert bundle.usual is not None
    return Explainer(bundle.scorer, bundle.usual)


def _normal(tiny_data: Path, seconds: float) -> np.ndarray:
    clips = sorted((tiny_data / "fan" / "test").glob("*source*normal*"))
    return np.resize(np.concatenate([soundfile.read(clip, dtype="float32")[0] for clip in clips]), int(seconds * RATE))


def _with_tone(samples: np.ndarray, start_s: float) -> np.ndarray:
    """A second of a tone, three times as loud as the machine."""
    tone = 3 * samples.std() * np.sin(2 * np.pi * PITCH * np.arange(RATE) / RATE)
    changed = samples.copy()
    changed[int(start_s * RATE) : int(start_s * RATE) + RATE] += tone.astype(np.float32)
    return changed


def _encoded(samples: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def _explained(bundle: Bundle, explainer: Explainer, clip: bytes) -> dict[str, Any]:
    (reply,) = answer(bundle.scorer, [{"body": clip}], None, explainer, [0])
    assert reply.status == 200, reply.body
    return reply.body


def _picture(explanation: dict[str, Any]) -> np.ndarray:
    content = base64.b64decode(explanation["picture"]["b64"])
    assert explanation["picture"]["media_type"] == "image/png"
    assert len(content) < 400_000
    return matplotlib.image.imread(io.BytesIO(content))


def test_where_and_when(bundle: Bundle, explainer: Explainer, tiny_data: Path) -> None:
    usual = _explained(bundle, explainer, _encoded(_normal(tiny_data, 8.0)))["explanation"]
    body = _explained(bundle, explainer, _encoded(_with_tone(_normal(tiny_data, 8.0), 4.5)))
    explanation = body["explanation"]
    assert (explanation["start_s"], explanation["end_s"]) == (0.0, 8.0)
    bands, residuals = explanation["bands_hz"], explanation["band_residuals"]
    assert len(bands) == len(residuals) == bundle.settings.audio.n_mels
    assert bands[int(np.argmax(residuals))] == pytest.approx(PITCH, rel=0.05)
    parts = explanation["segments"]
    assert [(part["start_s"], part["score"]) for part in parts] == [
        (part["start_s"], part["score"]) for part in body["segments"]
    ]
    highest = max(parts, key=lambda part: part["residual"])
    assert highest["start_s"] < 5.0 < highest["end_s"]
    assert bands[int(np.argmax(highest["band_residuals"]))] == pytest.approx(PITCH, rel=0.05)
    assert usual["unusual_share"] < 0.01
    assert explanation["unusual_share"] > 3 * usual["unusual_share"]
    assert abs(np.mean(usual["band_residuals"])) < 1.0


def test_the_picture_shows_the_mark(bundle: Bundle, explainer: Explainer, tiny_data: Path) -> None:
    def orange(explanation: dict[str, Any]) -> float:
        red, green, blue = (_picture(explanation)[..., channel] for channel in range(3))
        return float(np.mean((red > 0.6) & (green < 0.75 * red) & (blue < 0.5 * red)))

    samples = _normal(tiny_data, 8.0)
    usual = _explained(bundle, explainer, _encoded(samples))["explanation"]
    marked = _explained(bundle, explainer, _encoded(_with_tone(samples, 4.5)))["explanation"]
    assert _picture(marked).shape == _picture(usual).shape
    assert orange(marked) > 4 * orange(usual)


def test_of_a_long_recording_the_highest_block(bundle: Bundle, explainer: Explainer, tiny_data: Path) -> None:
    body = _explained(bundle, explainer, _encoded(_with_tone(_normal(tiny_data, 90.0), 61.0)))
    explanation = body["explanation"]
    assert (explanation["start_s"], explanation["end_s"]) == (60.0, 63.0)
    assert explanation["start_s"] == body["blocks"]["worst_start_s"]
    assert [part["start_s"] for part in explanation["segments"]] == [60.0, 60.96]
    _picture(explanation)


@pytest.mark.parametrize("seconds", [0.01, 0.5, 2.0, 8.9])
def test_whatever_the_length(bundle: Bundle, explainer: Explainer, seconds: float) -> None:
    samples = np.random.default_rng(0).normal(0.0, 0.1, int(seconds * RATE))
    explanation = _explained(bundle, explainer, _encoded(samples))["explanation"]
    _picture(explanation)
    numbers = [*explanation["band_residuals"], *(part["residual"] for part in explanation["segments"])]
    assert np.isfinite(numbers).all()


def test_only_those_who_ask_are_told(bundle: Bundle, explainer: Explainer, wav: Any) -> None:
    replies = answer(bundle.scorer, [{"body": wav()}, {"body": wav()}, {"body": b"x"}], None, explainer, [1, 2])
    assert ["explanation" in reply.body for reply in replies] == [False, True, False]
    assert [reply.status for reply in replies] == [200, 200, 400]


def test_what_cannot_be_explained_is_said_before_it_is_scored(bundle: Bundle, explainer: Explainer, wav: Any) -> None:
    clip = {"b64": base64.b64encode(wav()).decode()}
    batch = [{"body": {"instances": [clip] * (MAX_EXPLAINED + 1)}}, {"body": wav()}]
    replies = answer(bundle.scorer, batch, None, explainer, [0])
    assert (replies[0].status, replies[0].body["error"]) == (422, "invalid_parameters")
    assert replies[1].status == 200
    (reply,) = answer(bundle.scorer, [{"body": wav()}], None, None, [0])
    assert (reply.status, reply.body["error"]) == (422, "not_explainable")


def test_a_picture_that_fails_costs_its_own_request_only(bundle: Bundle, wav: Any) -> None:
    def fail(*_: object) -> dict[str, Any]:
        raise MemoryError

    replies = answer(bundle.scorer, [{"body": wav()}, {"body": wav()}], None, fail, [0])
    assert [reply.status for reply in replies] == [507, 200]


@pytest.mark.slow
def test_over_http_in_every_shape(server: RunningServer, wav: Any) -> None:
    plain = post(server, wav()).json
    explained = post(server, wav(), call_for="explanations").json
    assert {**explained, "explanation": None} == {**plain, "explanation": None}
    clip = {"b64": base64.b64encode(wav()).decode()}
    several = post_json(server, {"instances": [clip, {"b64": "eA=="}]}, "explanations").json["predictions"]
    assert several[0]["explanation"]["band_residuals"] == explained["explanation"]["band_residuals"]
    assert several[1]["error"] == "undecodable"
