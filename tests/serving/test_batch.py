"""A batch is scored together, yet each request gets its own answer or its own error."""

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from masd.audio import AudioError, Recording
from masd.bundle.bundle import load_bundle
from masd.detection.result import ClipScore
from serving.worker.batch import answer
from serving.worker.inference_log import InferenceLog

Calls = list[int]


@pytest.fixture
def calls() -> Calls:
    return []


@pytest.fixture
def scorer(tiny_bundle: Path, calls: Calls) -> Any:
    """The bundle's scorer, which notes the size of each call and fails on clips at 8 kHz."""
    real = load_bundle(tiny_bundle).scorer

    def score(recordings: Sequence[Recording], thresholds: Sequence[float | None]) -> list[ClipScore]:
        calls.append(len(recordings))
        if any(recording.sample_rate_in == 8_000 for recording in recordings):
            raise ZeroDivisionError("a secret of the inside")
        return real.score(recordings, thresholds=thresholds)

    return SimpleNamespace(
        decode=real.decode,
        score=score,
        settings=real.settings,
        machine_type=real.machine_type,
        model_version=real.model_version,
    )


def test_one_call_scores_all_that_can_be_decoded(scorer: Any, calls: Calls, wav: Any) -> None:
    good, other = wav(seed=1), wav(seconds=5.0, seed=2)
    batch = [
        {"body": good},
        {"body": b"noise"},
        {"data": other, "threshold": b"-1"},
        {"data": good, "threshold": b"x"},
    ]
    replies = answer(scorer, batch, None)
    assert [reply.status for reply in replies] == [200, 400, 200, 422]
    assert calls == [2]
    assert replies[1].body == {"code": 400, "error": "undecodable", "detail": replies[1].body["detail"]}
    assert replies[2].body["threshold"] == -1.0
    assert replies[2].body["anomalous"] is True
    assert replies[2].body["duration_s"] == pytest.approx(5.0)
    alone = answer(scorer, [{"body": good}], None)[0].body
    assert replies[0].body["score"] == pytest.approx(alone["score"], abs=1e-5)


def test_a_clip_that_breaks_scoring_fails_alone_and_says_nothing_of_the_inside(
    scorer: Any, calls: Calls, wav: Any
) -> None:
    replies = answer(scorer, [{"body": wav()}, {"body": wav(rate=8_000)}, {"body": wav()}], None)
    assert [reply.status for reply in replies] == [200, 500, 200]
    assert calls == [3, 1, 1, 1]
    assert "secret" not in str(replies[1].body)


def test_samples_beyond_all_measure_are_an_error_not_a_silent_miss(scorer: Any) -> None:
    buffer = io.BytesIO()
    huge = 1e30 * np.random.default_rng(0).uniform(-1.0, 1.0, 32_000)
    soundfile.write(buffer, huge.astype(np.float32), 16_000, format="WAV", subtype="FLOAT")
    (reply,) = answer(scorer, [{"body": buffer.getvalue()}], None)
    assert (reply.status, reply.body["error"]) == (400, "not_finite")


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (AudioError("too_long", "the audio", "longer than 600 s"), 413, "too_long"),
        (AudioError("silent", "the audio", "silent"), 400, "silent"),
        (MemoryError(), 507, "out_of_memory"),
        (RuntimeError("bug"), 500, "internal"),
    ],
)
def test_errors_of_decoding(scorer: Any, error: Exception, status: int, kind: str) -> None:
    def decode(clip: bytes) -> Recording:
        raise error

    scorer.decode = decode
    (reply,) = answer(scorer, [{"body": b"clip"}], None)
    assert (reply.status, reply.body["code"], reply.body["error"]) == (status, status, kind)


def _instances(*clips: bytes, **parameters: Any) -> dict[str, Any]:
    return {"body": {"instances": [{"b64": base64.b64encode(c).decode()} for c in clips], "parameters": parameters}}


def test_a_bad_clip_of_several_is_an_entry_of_its_own_and_the_others_are_answered(scorer: Any, wav: Any) -> None:
    body = _instances(wav(seed=1), b"no audio", wav(seed=2), wav(rate=8_000), request_id="r")
    body["body"]["instances"].append({"b64": "no base64"})
    (reply,) = answer(scorer, [body], None)
    assert reply.status == 200
    entries = reply.body["predictions"]
    assert [entry.get("code", 200) for entry in entries] == [200, 400, 200, 500, 400]
    assert [entry.get("error") for entry in entries] == [None, "undecodable", None, "internal", "undecodable"]
    assert {entry["request_id"] for entry in entries} == {"r"}


def test_a_request_without_one_good_clip_is_an_error(scorer: Any, wav: Any) -> None:
    replies = answer(scorer, [_instances(b"no audio", b""), {"body": wav()}], None)
    assert [reply.status for reply in replies] == [400, 200]
    assert replies[0].body["error"] == "undecodable"


def test_the_clips_of_a_request_share_the_limit_of_length(scorer: Any, wav: Any) -> None:
    limits = scorer.settings.serving.model_copy(update={"max_clip_seconds": 7.0})
    scorer.settings = scorer.settings.model_copy(update={"serving": limits})
    three = _instances(wav(seconds=3.0), wav(seconds=3.0), wav(seconds=3.0))
    (reply,) = answer(scorer, [three], None)
    assert [entry.get("error") for entry in reply.body["predictions"]] == [None, None, "too_long"]


def test_only_the_highest_segments_where_asked_for(tiny_bundle: Path, wav: Any) -> None:
    real = load_bundle(tiny_bundle).scorer
    clip = wav(seconds=8.0)
    whole, some, none = (
        answer(real, [{"data": clip, **extra}], None)[0].body["segments"]
        for extra in ({}, {"top_segments": b"2"}, {"top_segments": b"0"})
    )
    assert len(whole) > 4
    assert some == sorted(sorted(whole, key=lambda part: -part["score"])[:2], key=lambda part: part["start_s"])
    assert none == []


def test_torchs_own_word_for_no_memory_counts_as_such(scorer: Any, wav: Any) -> None:
    def score(recordings: Sequence[Recording], thresholds: Sequence[float | None]) -> list[ClipScore]:
        raise RuntimeError(
            "[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you tried"
        )

    scorer.score = score
    (reply,) = answer(scorer, [{"body": wav()}], None)
    assert (reply.status, reply.body["error"]) == (507, "out_of_memory")


def test_a_callers_threshold_moves_decisions_but_no_margin(scorer: Any, wav: Any, tmp_path: Path) -> None:
    log = InferenceLog(tmp_path, "fan")
    asked = _instances(wav(), threshold=1e6)
    answer(scorer, [{"body": wav()}, asked, {"body": wav(seconds=40.0)}], log)
    answer(scorer, [{**_instances(wav(seconds=40.0), threshold=1e6)}], log)
    own, moved, long, long_moved = (json.loads(line) for line in log.path.read_text(encoding="utf-8").splitlines())
    assert (moved["threshold"], moved["anomalous"]) == (1e6, False)
    assert moved["margin"] == own["margin"] == own["score"] - own["threshold"]
    assert long_moved["threshold"] == 1e6 and long_moved["margin"] == long["margin"]
