"""The steps between recordings and a verdict: files in, files out. Kubeflow components and the command line call
these.
"""

import json
import logging
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from masd.config import Settings
from masd.errors import MasdError
from masd.files import json_text, replacing_folder, write_text
from masd.progress import ConsoleProgress

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from masd.data.store import FeatureStore
    from masd.evaluation.comparison import Contender
    from masd.evaluation.gate import GateVerdict
    from masd.learning.device import DeviceName

# Each step imports what it needs: a pipeline pays the imports once a task, and most need only part of torch, scipy,
# scikit-learn and matplotlib.


def featurize(
    data: str | Path, machines: Sequence[str], settings: Settings, out: Path, recordings: str | None = None
) -> None:
    """Recordings below ``data/<machine>``, in a folder or a bucket -> a log-mel store ``out/<machine>`` each.

    ``machines`` are trained together; ``recordings`` is the fingerprint of their recordings, if it is already known.
    Findings about the recordings are printed on standard error.

    :raises MasdError: recordings that cannot be trained on, with what to do.
    """
    from masd.data.data_sets import fingerprint, local_data
    from masd.data.findings import say
    from masd.data.folders.machine import read_machine, refuse_too_few
    from masd.data.machine_name import check_machine_name
    from masd.data.store import build_store

    for machine in machines:
        check_machine_name(machine)
    if recordings is None:
        recordings = fingerprint(data, machines)  # before they are read: those that come meanwhile are then new ones
    read = {machine: read_machine(local_data(data, [machine]) / machine, settings.data) for machine in machines}
    for clips in read.values():  # before the first of them is decoded
        clips.check_enough()
    for machine, clips in read.items():
        with ConsoleProgress(f"featurize {machine}") as progress:
            store = build_store(clips, settings, out / machine, recordings=recordings, progress=progress)
        source = (store.clips["split"] == "train") & (store.clips["domain"] != "target")
        refuse_too_few(int(source.sum()), clips.folder)
        say(machine, (*clips.findings, *store.findings))


def train(
    features: Path,
    machines: Sequence[str],
    settings: Settings,
    out: Path,
    *,
    device: "DeviceName" = "auto",
    resume: bool = False,
) -> None:
    """Log-mel stores -> one network folder ``out`` for all given machines.

    Where the configured system needs no network, the folder has only the normalisation of each machine.
    """
    from masd.data.store import FeatureStore
    from masd.learning.train import train_network, without_network

    stores = [FeatureStore.open(features / machine) for machine in machines]
    if not settings.detection.needs_network:
        without_network(stores, settings, out)
        return
    with ConsoleProgress(f"train {', '.join(machines)}") as progress:
        train_network(stores, settings, out, device=device, resume_from_checkpoint=resume, progress=progress)


def fit_detectors(features: Path, machine: str, network: Path, settings: Settings, out: Path) -> None:
    """Log-mel store of one machine and a network that knows it -> bundle folder ``out``."""
    from masd.bundle.bundle import save_bundle
    from masd.data.store import FeatureStore
    from masd.detection.detectors import fit_detectors as fit_all_detectors
    from masd.detection.embedding_distance import fit_embedding_distance
    from masd.detection.features.extractor import FeatureExtractor
    from masd.detection.trained_on.expected_bands import ExpectedBands
    from masd.detection.trained_on.warning_codes import TrainedOn
    from masd.drift.reference import make_reference
    from masd.evaluation.residuals import usual_residual
    from masd.learning.trained import load_network

    store, trained = FeatureStore.open(features / machine), load_network(network)
    if machine not in trained.normalisations:
        raise MasdError(
            f"{network}: was trained on {', '.join(trained.normalisations)}, not on {machine}; train it again with "
            f"{machine}"
        )
    extract = FeatureExtractor(trained.network, trained.normalisations[machine], settings.windows)
    rows = store.normal_rows()
    clips = extract.rows(store, rows)
    is_target = store.clips["domain"].to_numpy()[rows] == "target"
    unseen = store.clips["name"].iloc[rows].isin(trained.set_aside[machine]).to_numpy()
    recordings = store.clips["recording"].to_numpy()[rows]
    far = [clip.far.log_mel for clip in clips if clip.far is not None]
    detectors, held_out = fit_all_detectors(clips, is_target, settings.detection, settings.seed, unseen, recordings)
    calibration = detectors.calibrations[settings.detection.system]
    if calibration.warning:
        log.warning("%s: %s", machine, calibration.warning)
    embeddings, distances = None, None
    if trained.network is not None:
        embeddings, distances = fit_embedding_distance(clips, is_target, settings.seed, recordings)
    system = settings.detection.system
    reference = make_reference(
        store.clips.iloc[rows],
        clips,
        held_out[system],
        distances,
        unseen,
        machine_type=machine,
        system=system,
        threshold=detectors.thresholds[system],
    )
    save_bundle(
        out,
        settings=settings.model_copy(update={"audio": store.audio}),  # with the channel that was really heard
        machine_type=machine,
        data_fingerprint=store.fingerprint,
        recordings=store.recordings,
        trained=trained,
        detectors=replace(detectors, embeddings=embeddings),
        reference=reference,
        usual=usual_residual(extract, store, rows, is_target),
        trained_on=TrainedOn.of_clips(store.clips.iloc[rows]),
        expected=ExpectedBands.fit([clip.log_mel for clip in clips]),
        expected_far=ExpectedBands.fit(far) if far else None,
    )


def controls(features: Path, machine: str, settings: Settings, out: Path) -> None:
    """Log-mel store of one machine -> scores and thresholds of the controls, the folder ``out``."""
    from masd.data.store import FeatureStore
    from masd.evaluation.controls import ControlScores

    ControlScores.fit(FeatureStore.open(features / machine), settings).write(out)


def evaluate(bundle: Path, features: Path, controls: Path, data: str | Path, machine: str, out: Path) -> None:
    """Score the test clips of a log-mel store with a bundle, beside the controls' scores -> the folder ``out``.

    The report plays clips from ``data/<machine>``.
    """
    from masd.bundle.bundle import load_bundle
    from masd.data.data_sets import local_data
    from masd.data.findings import say
    from masd.data.folders.machine import read_machine
    from masd.data.store import FeatureStore
    from masd.evaluation.controls import ControlScores
    from masd.evaluation.evaluate import evaluate_scorer

    loaded = load_bundle(bundle)
    _check_machine(bundle, loaded.manifest.machine_type, machine)
    read = read_machine(local_data(data, [machine]) / machine, loaded.settings.data)
    say(machine, [finding for finding in read.findings if finding.code in ("unknown_words_test", "unlabelled_test")])
    clips = read.split("test")
    with replacing_folder(out) as staged:
        evaluate_scorer(
            loaded.scorer,
            FeatureStore.open(features / machine),
            ControlScores.read(controls),
            clips,
            staged,
            history=loaded.history,
            data_fingerprint=loaded.manifest.data_fingerprint,
            usual=loaded.usual,
        )


def evaluate_recordings(bundle: Path, data: str | Path, machine: str, out: Path) -> None:
    """Evaluate an existing bundle on recordings: all steps that this needs, with the bundle's settings."""
    from masd.bundle.bundle import load_bundle

    loaded = load_bundle(bundle)
    _check_machine(bundle, loaded.manifest.machine_type, machine)
    settings = loaded.settings
    with tempfile.TemporaryDirectory() as folder:
        features, scored = Path(folder) / "features", Path(folder) / "controls"
        featurize(data, [machine], settings, features)
        controls(features, machine, settings, scored)
        evaluate(bundle, features, scored, data, machine, out)


def _check_machine(bundle: Path, of: str, machine: str) -> None:
    if of != machine:
        raise MasdError(
            f"{bundle}: is a model of {of}, not of {machine}; give the bundle and the recordings of one machine"
        )


def gate(
    evaluation: Path,
    features: Path,
    registry: str,
    settings: Settings,
    data: str | Path,
    out: Path,
    page: Path | None = None,
) -> "GateVerdict":
    """Decide whether an evaluated candidate may go into production. The verdict is also written to ``out``; ``page``
    gets the comparison with the version in production, which scores the same clips of ``features``.
    """
    import pandas as pd

    from masd.bundle.manifest import OtherSchemaError
    from masd.data.data_sets import local_data
    from masd.data.store import FeatureStore
    from masd.evaluation.comparison import Contender
    from masd.evaluation.gate import decide
    from masd.evaluation.pages.comparison import write_comparison
    from masd.registry.registry import Registry

    metrics = json.loads((evaluation / "metrics.json").read_text(encoding="utf-8"))
    machine, system = metrics["machine_type"], settings.detection.system
    scores = pd.read_parquet(evaluation / "scores.parquet")
    measured = metrics["systems"] | metrics["controls"]
    thresholds = {name: values["threshold"] for name, values in measured.items()}
    candidate = Contender(dict(zip(scores["name"], scores[system], strict=True)), thresholds[system])
    models = Registry.open(registry)
    version = models.channel(machine, "production")
    champion: Contender | None = None
    champion_schema: int | None = None
    recording: Callable[[str], bytes | None] = _no_recording
    if version is not None:
        bundle, folder = models.fetch(machine, version), local_data(data, [machine]) / machine
        try:
            champion, recording = _champion(bundle, FeatureStore.open(features / machine), folder)
        except OtherSchemaError as error:  # or nothing could ever replace it
            champion_schema = error.schema
            log.warning("%s: the version in production cannot be compared: %s", machine, error)
    verdict = decide(
        machine,
        scores,
        system,
        settings.gate,
        champion,
        version,
        champion_schema=champion_schema,
        thresholds=thresholds,
        seed=settings.seed,
    )
    if page is not None:
        write_comparison(
            verdict, scores, candidate, champion, settings.gate, page, recording=recording, seed=settings.seed
        )
    write_text(out, json_text(asdict(verdict), indent=2) + "\n")
    return verdict


def _champion(bundle: Path, store: "FeatureStore", folder: Path) -> tuple["Contender", Callable[[str], bytes | None]]:
    """The scores of the production model for every test clip of the *new* data, and a function that gives these clips
    as WAV.
    """
    from masd.bundle.bundle import load_bundle
    from masd.data.folders.machine import read_machine
    from masd.detection.long_recordings.blocks import excerpt
    from masd.evaluation.comparison import Contender
    from masd.evaluation.pages.examples import wav_of
    from masd.evaluation.scoring import scores_by_name

    scorer = load_bundle(bundle).scorer
    clips = read_machine(folder, scorer.settings.data).split("test")
    scores = scores_by_name(scorer, store, clips)
    paths = {clip.name: clip.path for clip in clips}

    def recording(name: str) -> bytes:
        decoded = scorer.decode(paths[name])
        part = excerpt(decoded, scorer.score([decoded])[0], lambda block: scorer.score([block])[0])
        return wav_of(part.recording, scorer.settings.audio.sample_rate)

    return Contender(scores, scorer.detectors.thresholds[scorer.system]), recording


def _no_recording(name: str) -> bytes | None:
    return None
