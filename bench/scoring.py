"""The time for scoring one clip in this process, stage by stage, beside the challenge's baseline."""

import io
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from bench.model import BenchModel
from bench.timing import by_turns, line
from masd.audio import Recording
from masd.audio.log_mel import LogMel
from masd.bundle.bundle import load_bundle
from masd.detection.controls.baseline import BaselineAutoEncoder, frame_vectors
from masd.detection.scorer import Scorer
from masd.learning.trained import load_network

BATCH = 8
"""Clips the server takes together at most."""


def measure_scoring(model: BenchModel) -> None:
    """Print one line per stage, our total and the baseline's, all on one thread and by turns."""
    _one_thread()
    scorer, with_network = load_bundle(model.bundle).scorer, load_bundle(model.with_network).scorer
    audio = model.clips[0].read_bytes()
    recording = _decoded(scorer, audio)
    plain = LogMel(scorer.settings.audio, high_pass_hz=0.0)
    log_mel = scorer.log_mel(recording.samples)
    (features,) = scorer.extract([log_mel])
    windows = scorer.extract.windows(log_mel)
    answer = (scorer.system,)
    variants: dict[str, Callable[[], object]] = {
        "decode": lambda: scorer.decode(audio),
        "log-mel": lambda: plain(recording.samples),
        "high-pass and log-mel": lambda: scorer.log_mel(recording.samples),
        "views": lambda: scorer.extract([log_mel]),
        "network": lambda: with_network.extract.run(windows),
        "detectors": lambda: scorer.detectors.score_clips([features], answer),
        "clip to answer": lambda: scorer.score([_decoded(scorer, audio)]),
        "with network": lambda: with_network.score([_decoded(with_network, audio)]),
        "with all five systems": lambda: with_network.score([_decoded(with_network, audio)], all_systems=True),
        "batch": lambda: scorer.score([_decoded(scorer, audio) for _ in range(BATCH)]),
        "network, plain PyTorch": _plain_network(model, windows),
        "baseline": _baseline(model, audio),
    }
    times = by_turns(variants)
    middle = {name: statistics.median(values) for name, values in times.items()}
    total, baseline = middle["clip to answer"], middle["baseline"]
    print(f"one clip of {recording.duration_s:g} s on one thread, {len(windows)} windows:")
    stages = {
        "decode": middle["decode"],
        "high-pass": middle["high-pass and log-mel"] - middle["log-mel"],
        "log-mel": middle["log-mel"],
        "windows and views": middle["views"],
        "detectors": middle["detectors"],
    }
    stages["drift's signals, and what stages cost each other"] = total - sum(stages.values())
    for name, seconds in stages.items():
        print(f"  {name:50} {seconds * 1e3:7.2f} ms  {seconds / total:6.1%}")
    line(
        "  all, encoded clip to answer", times["clip to answer"], f"{total / baseline:.2f} x the baseline (at most 1.2)"
    )
    line("  the baseline: librosa, dense network, Mahalanobis", times["baseline"])
    line(f"  a clip in a batch of {BATCH}", [seconds / BATCH for seconds in times["batch"]])
    line("  a clip with detection.latent=true", times["with network"])
    line("    the network", times["network"])
    line("    the network in plain PyTorch", times["network, plain PyTorch"])
    line("  a clip with all five systems", times["with all five systems"])


def _one_thread() -> None:
    torch.set_num_threads(1)
    threadpool_limits(1)


def _decoded(scorer: Scorer, audio: bytes) -> Recording:
    recording = scorer.decode(audio)
    assert isinstance(recording, Recording)
    return recording


def _plain_network(model: BenchModel, windows: np.ndarray) -> Callable[[], object]:
    network = load_network(model.root / "network").network
    assert network is not None
    x = torch.from_numpy(windows)[:, None].to(memory_format=torch.channels_last)

    def run() -> object:
        with torch.inference_mode():
            return network(x)

    return run


def _baseline(model: BenchModel, audio: bytes) -> Callable[[], object]:
    """The official scoring of a clip: spectrogram by librosa, 5-frame vectors, Mahalanobis of the nearer domain."""
    import librosa

    fitted = BaselineAutoEncoder.fit(model.store, seed=0, epochs=1)
    precisions = [precision.float() for precision in fitted.precisions]

    def score() -> float:
        samples, rate = librosa.load(io.BytesIO(audio), sr=None, mono=True)
        mel = librosa.feature.melspectrogram(y=samples, sr=rate, n_fft=1024, hop_length=512, n_mels=128, power=2.0)
        log_mel = 10.0 * np.log10(np.maximum(mel, np.finfo(np.float32).eps))
        vectors = frame_vectors(log_mel.T)
        with torch.inference_mode():
            frames = (vectors - fitted.network(vectors)).view(-1, log_mel.shape[0])
            return min(float(((frames @ precision) * frames).sum(dim=1).mean()) for precision in precisions)

    return score


class Processes:
    """Scores in as many processes as there are cores, one thread each: what a server can at most reach."""

    def __init__(self, connections: list[Connection]) -> None:
        self._connections = connections

    def clips_per_second(self, seconds: float) -> float:
        """All processes together, for that long."""
        for connection in self._connections:
            connection.send(seconds)
        return float(sum(connection.recv() for connection in self._connections))


@contextmanager
def processes(bundle: Path, clip: Path, count: int) -> Iterator[Processes]:
    """Start them, ready to score; they end with the block."""
    context = multiprocessing.get_context("spawn")
    pairs = [context.Pipe() for _ in range(count)]
    started = [context.Process(target=_work, args=(theirs, bundle, clip), daemon=True) for _, theirs in pairs]
    for process in started:
        process.start()
    ours = [connection for connection, _ in pairs]
    try:
        for connection in ours:
            connection.recv()
        yield Processes(ours)
    finally:
        for process in started:
            process.terminate()
            process.join()


def _work(connection: Connection, bundle: Path, clip: Path) -> None:
    _one_thread()
    scorer, audio = load_bundle(bundle).scorer, clip.read_bytes()
    scorer.score([_decoded(scorer, audio)])
    connection.send("ready")
    while True:
        seconds = connection.recv()
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            scorer.score([_decoded(scorer, audio)])
            count += 1
        connection.send(count / (time.perf_counter() - start))
