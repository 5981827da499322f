"""A batch of requests -> one answer each, with one scoring call for all clips that can be decoded."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from masd.audio import AudioError, Recording
from masd.detection.result import ClipScore
from masd.detection.scorer import Scorer
from masd.errors import MasdError
from serving.inference_log import PROBE_PREFIX, InferenceLog
from serving.metrics import BatchMetrics
from serving.requests import Request, RequestError, parse

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reply:
    """HTTP status and JSON body of one answer."""

    status: int
    body: dict[str, Any]


@dataclass(frozen=True)
class _Job:
    request: Request
    recordings: list[Recording]


def answer(
    scorer: Scorer, batch: Sequence[Mapping[str, Any]], log: InferenceLog | None, metrics: BatchMetrics | None = None
) -> list[Reply]:
    """One :class:`Reply` for each item of ``batch``, in order. An error belongs to its request, never to the batch."""
    metrics = metrics or BatchMetrics()
    replies: dict[int, Reply] = {}
    jobs: dict[int, _Job] = {}
    with metrics.stage("decode"):
        for index, fields in enumerate(batch):
            try:
                request = parse(fields)
                jobs[index] = _Job(request, [scorer.decode(clip) for clip in request.clips])
            except Exception as error:  # whatever it is, the other requests get their answers
                replies[index] = _failure(error)
    with metrics.stage("score"):
        outcomes = _score(scorer, jobs)
    for index, outcome in outcomes.items():
        if isinstance(outcome, Exception):
            replies[index] = _failure(outcome)
            continue
        if not all(math.isfinite(score.score) and math.isfinite(score.reconstruction_error) for score in outcome):
            replies[index] = _error(400, "not_finite", "the audio: its samples are too large to be scored")
            continue
        request = jobs[index].request
        answers = [score.to_dict() for score in outcome]
        replies[index] = Reply(200, request.render(answers, scorer.machine_type, scorer.model_version))
        if not (request.request_id or "").startswith(PROBE_PREFIX):
            metrics.scored(outcome)
        if log is not None:
            log.write((request.request_id, score) for score in outcome)
    for reply in replies.values():
        if reply.status != 200:
            metrics.rejected(reply.body["error"])
    return [replies[index] for index in range(len(batch))]


def _score(scorer: Scorer, jobs: Mapping[int, _Job]) -> dict[int, list[ClipScore] | Exception]:
    """Scores of each job, from one call; when that call fails, from one call a job, so that only the culprit fails."""
    if not jobs:
        return {}
    try:
        scores = iter(
            scorer.score(
                [recording for job in jobs.values() for recording in job.recordings],
                thresholds=[job.request.threshold for job in jobs.values() for _ in job.recordings],
            )
        )
        return {index: [next(scores) for _ in job.recordings] for index, job in jobs.items()}
    except Exception as error:
        if len(jobs) == 1:
            return dict.fromkeys(jobs, error)
        alone = [_score(scorer, {index: job}) for index, job in jobs.items()]
        return {index: outcome for outcomes in alone for index, outcome in outcomes.items()}


def _failure(error: Exception) -> Reply:
    if isinstance(error, RequestError):
        return _error(error.status, error.kind, str(error))
    if isinstance(error, AudioError):
        return _error(413 if error.reason == "too_long" else 400, error.reason, str(error))
    if isinstance(error, MasdError):
        return _error(400, "not_scored", str(error))
    if isinstance(error, MemoryError):
        return _error(507, "out_of_memory", "not enough memory for this clip: send shorter clips")
    logger.error("a request failed", exc_info=error)
    return _error(500, "internal", "the clip could not be scored; the server's log says why")


def _error(code: int, error: str, detail: str) -> Reply:
    return Reply(code, {"code": code, "error": error, "detail": detail})
