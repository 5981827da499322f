"""Scores of test clips: from a log-mel store, which has decoded them already, or from the recordings."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from masd.arrays import Integers
from masd.audio import AudioError
from masd.audio.threads import one_thread
from masd.config import SystemName
from masd.data.clips import Clip
from masd.data.store import FeatureStore
from masd.detection.features.extractor import CLIPS_AT_ONCE
from masd.detection.long_recordings.blocks import long_from
from masd.detection.result import ClipScore
from masd.detection.scorer import Scorer
from masd.errors import MasdError
from masd.progress import Progress

log = logging.getLogger(__name__)


def fits(scorer: Scorer, store: FeatureStore) -> bool:
    """Whether the store's frames are what the scorer would compute from the recordings."""
    audio = scorer.settings.audio
    return store.audio == audio and store.high_pass_hz == audio.high_pass_for(store.machine_type)


@one_thread()
def score_stored(
    scorer: Scorer,
    store: FeatureStore,
    rows: Integers,
    files: Mapping[str, Path],
    progress: Progress | None = None,
    systems: Sequence[SystemName] | None = None,
) -> pd.DataFrame:
    """Scores of ``rows`` of a store that :func:`fits`: their ``name`` and a column per system of ``systems``, without
    which these are all that the model has.

    Recordings that the scorer treats in their own way are decoded once more, from ``files`` (paths by clip name): those
    so long that they are scored in blocks, and those of a sample rate that it was not trained on.

    :raises AudioError: such a file is no longer what it was.
    """
    about = store.clips.iloc[rows]
    systems = systems or list(scorer.detectors.systems)
    is_long = (about["duration_s"] > long_from(scorer.clip_seconds)).to_numpy()
    bands = scorer.settings.audio.n_mels
    special = is_long | [scorer.known_bands(int(rate)) < bands for rate in about["sample_rate_in"]]
    scores = np.full((len(rows), len(systems)), np.nan)
    done = 0
    for batch in _batches(np.flatnonzero(~special)):
        features = scorer.extract.rows(store, rows[batch])
        results = scorer.detectors.score_clips(features, systems)
        scores[batch] = [[result[name].score for name in systems] for result in results]
        done += len(batch)
        if progress:
            progress(done, len(rows), "clips")
    for number in map(int, np.flatnonzero(special)):
        recording = scorer.decode(files[str(about["name"].iat[number])])
        found = scorer.score([recording], all_systems=True)[0].systems
        scores[number] = [found[name] for name in systems]
        done += 1
        if progress:
            progress(done, len(rows), "clips")
    names = about["name"].reset_index(drop=True)
    return pd.concat([names, pd.DataFrame(scores, columns=list(systems))], axis=1)


def score_recordings(scorer: Scorer, clips: Sequence[Clip]) -> Iterator[tuple[Clip, ClipScore]]:
    """Decode clips and score them, a few at a time; unreadable ones are left out and logged.

    :raises MasdError: more unreadable clips than ``data.max_unreadable_share`` allows.
    """
    unreadable, allowed = 0, int(scorer.settings.data.max_unreadable_share * len(clips))
    for batch in _batches(np.arange(len(clips))):
        readable, recordings = [], []
        for clip in (clips[number] for number in batch):
            try:
                recordings.append(scorer.decode(clip.path))
                readable.append(clip)
            except AudioError as error:
                log.warning("left out unreadable test clip: %s", error)
                unreadable += 1
                if unreadable > allowed:
                    raise MasdError(f"{error}; repair or remove it, or raise data.max_unreadable_share") from error
        with one_thread():
            scores = scorer.score(recordings)
        yield from zip(readable, scores, strict=True)


def scores_by_name(scorer: Scorer, store: FeatureStore, clips: Sequence[Clip]) -> dict[str, float]:
    """The served system's score of each test clip, from the store where that holds what the scorer would hear,
    otherwise from the recordings.

    :raises MasdError: see :func:`score_recordings`.
    """
    if not fits(scorer, store):
        return {clip.name: result.score for clip, result in score_recordings(scorer, clips)}
    files = {clip.name: clip.path for clip in clips}
    scores = score_stored(scorer, store, store.rows(split="test"), files, systems=[scorer.system])
    return dict(zip(scores["name"], scores[scorer.system], strict=True))


def _batches(numbers: Integers) -> Iterator[Integers]:
    return (numbers[start : start + CLIPS_AT_ONCE] for start in range(0, len(numbers), CLIPS_AT_ONCE))
