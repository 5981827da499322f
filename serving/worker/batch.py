"""A batch of requests -> one answer each, with one scoring call for all clips that can be decoded.

An error belongs to its clip. Where a request has several, the others are answered and the error stands in its place;
only a request of which no clip can be scored is itself an error.
"""

import logging
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from masd.audio import AudioError, LongRecording, Recording
from masd.detection.result import ClipScore
from masd.detection.scorer import Scorer
from serving.worker.explain import Explainer, checked
from serving.worker.inference_log import PROBE_PREFIX, InferenceLog
from serving.worker.metrics import BatchMetrics
from serving.worker.requests import Request, RequestError, parse

logger = logging.getLogger(__name__)

Decoded = Recording | LongRecording


@dataclass(frozen=True)
class Reply:
    """HTTP status and JSON body of one answer."""

    status: int
    body: dict[str, Any]


@dataclass(frozen=True)
class _Job:
    """A request and, for each of its clips in order, the recording or why there is none."""

    request: Request
    explain: Explainer | None
    clips: list[Decoded | Exception]


def answer(
    scorer: Scorer,
    batch: Sequence[Mapping[str, Any]],
    log: InferenceLog | None,
    explainer: Explainer | None = None,
    explained: Collection[int] = (),
    metrics: BatchMetrics | None = None,
) -> list[Reply]:
    """One :class:`Reply` for each item of ``batch``, in order. An error belongs to its request, never to the batch.

    Requests whose numbers are in ``explained`` get an explanation with each score.
    """
    metrics = metrics or BatchMetrics()
    replies: dict[int, Reply] = {}
    jobs: dict[int, _Job] = {}
    with metrics.stage("decode"):
        for index, fields in enumerate(batch):
            try:
                request = parse(fields)
                explain = checked(explainer, request) if index in explained else None
                jobs[index] = _Job(request, explain, _decode(scorer, request))
            except Exception as error:  # whatever it is, the other requests get their answers
                replies[index] = _failure(error)
                metrics.rejected(replies[index].body["error"])
    with metrics.stage("score"):
        outcomes = iter(_score(scorer, [(job.request, clip) for job in jobs.values() for clip in job.clips]))
    with metrics.stage("answer"):
        for index, job in jobs.items():
            outcome = [next(outcomes) for _ in job.clips]
            replies[index] = _reply(scorer, job, outcome, metrics)
            scores = [score for score in outcome if isinstance(score, ClipScore)]
            if replies[index].status == 200 and not (job.request.request_id or "").startswith(PROBE_PREFIX):
                metrics.scored(scores)
                if log is not None:
                    log.write((job.request.request_id, score) for score in scores)
    return [replies[index] for index in range(len(batch))]


def _decode(scorer: Scorer, request: Request) -> list[Decoded | Exception]:
    clips: list[Decoded | Exception] = []
    seconds, most = 0.0, scorer.settings.serving.max_clip_seconds
    for clip in request.clips:
        if isinstance(clip, RequestError):
            clips.append(clip)
            continue
        try:
            recording = scorer.decode(clip)
            seconds += recording.duration_s
            if seconds > most:
                raise AudioError(
                    "too_long",
                    "the request",
                    f"its clips are together longer than {most:g} s (serving.max_clip_seconds); send fewer at once",
                )
            clips.append(recording)
        except Exception as error:
            clips.append(error)
    return clips


def _score(scorer: Scorer, clips: Sequence[tuple[Request, Decoded | Exception]]) -> list[ClipScore | Exception]:
    """The score of each clip: of all short ones from one call, or from one each when that fails; long ones alone."""
    outcomes: dict[int, ClipScore | Exception] = {}
    together: list[int] = []
    for number, (_, clip) in enumerate(clips):
        if isinstance(clip, Exception):
            outcomes[number] = clip
        elif isinstance(clip, Recording):
            together.append(number)
    groups = [together, *([number] for number, (_, clip) in enumerate(clips) if isinstance(clip, LongRecording))]
    while groups:
        group = groups.pop()
        try:
            scores = scorer.score(
                [clip for number in group if not isinstance(clip := clips[number][1], Exception)],
                thresholds=[clips[number][0].threshold for number in group],
            )
            outcomes |= zip(group, map(_finite, scores), strict=True)
        except Exception as error:
            if len(group) == 1:
                outcomes[group[0]] = error
            else:  # each alone, so that only the culprit fails
                groups += [[number] for number in group]
    return [outcomes[number] for number in range(len(clips))]


def _finite(score: ClipScore) -> ClipScore | Exception:
    if math.isfinite(score.score) and math.isfinite(score.reconstruction_error or 0.0):
        return score
    return AudioError("not_finite", "the audio", "its samples are too large to be scored; check the recorder")


def _reply(scorer: Scorer, job: _Job, scores: list[ClipScore | Exception], metrics: BatchMetrics) -> Reply:
    answers = [
        _failure(score) if isinstance(score, Exception) else _answer(job, clip, score)
        for clip, score in zip(job.clips, scores, strict=True)
    ]
    for one in answers:
        if one.status != 200:
            metrics.rejected(one.body["error"])
    if all(one.status != 200 for one in answers):
        return answers[0]
    bodies = [one.body for one in answers]
    return Reply(200, job.request.render(bodies, scorer.machine_type, scorer.model_version))


def _answer(job: _Job, clip: Decoded | Exception, score: ClipScore) -> Reply:
    body = score.to_dict(job.request.top_segments)
    if job.explain is None or isinstance(clip, Exception):
        return Reply(200, body)
    try:
        return Reply(200, {**body, "explanation": job.explain(clip, score)})
    except Exception as error:
        return _failure(error)


def _failure(error: Exception) -> Reply:
    if isinstance(error, RequestError):
        return _error(error.status, error.kind, str(error))
    if isinstance(error, AudioError):
        return _error(413 if error.reason == "too_long" else 400, error.reason, str(error))
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):  # torch raises a RuntimeError
        return _error(
            507, "out_of_memory", "not enough memory for this clip: send shorter clips, or give the server more memory"
        )
    logger.error("a request failed", exc_info=error)
    return _error(
        500, "internal", "the clip could not be scored: try again once, then report it; the server's log has the reason"
    )


def _error(code: int, error: str, detail: str) -> Reply:
    return Reply(code, {"code": code, "error": error, "detail": detail})
