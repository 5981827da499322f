"""Two-stage training: what each ablation trains, and that an interrupted run loses nothing."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from tiny import TINY_OVERRIDES

from masd.bundle.bundle import load_bundle
from masd.config import AudioSettings, NetworkSettings, Settings, WindowSettings
from masd.data.store import FeatureStore
from masd.errors import MasdError
from masd.learning import checkpoint, train
from masd.learning.calibration import calibration_rows
from masd.learning.train import train_network
from masd.learning.trained import load_network

RECONSTRUCTION = {"reconstruction", "total"}
WEIGHTS = "network.safetensors"


class Interrupted(Exception):
    pass


def stop_after(step: int) -> Callable[[int, int, str], None]:
    """A progress callback that ends the run like an exception from outside, once the step is done."""

    def progress(done: int, total: int, text: str) -> None:
        if done == step:
            raise Interrupted

    return progress


def with_training(settings: Settings, **training: Any) -> Settings:
    return settings.model_copy(update={"training": settings.training.model_copy(update=training)})


def toy_store(machine: str, kind: str) -> FeatureStore:
    """24 short clips of 16 bands whose class is easy to hear: each raises two bands of its own by 12 dB."""
    rng = np.random.default_rng(len(machine))
    rows = [("train", "noisy", "source", f"rpm={n % 3}", n % 3) for n in range(12)]
    rows += [("train", "noisy", "target", "rpm=9", 4) for _ in range(4)]
    rows += [("supplemental", kind, "none", f"rpm={n % 3}", n % 3 if kind == "clean" else 6) for n in range(4)]
    rows += [("test", "noisy", "source", "", 5) for _ in range(4)]
    clips = pd.DataFrame(rows, columns=["split", "kind", "domain", "attributes", "band"]).assign(
        condition="normal", copy_of="", recording=range(len(rows))
    )
    frames = rng.normal(-40.0, 3.0, (len(rows), 32, 16)).astype(np.float32)
    for clip, band in zip(frames, clips.pop("band"), strict=True):
        clip[:, 2 * band : 2 * band + 2] += 12.0
    clips["n_frames"], clips["offset"] = 32, 32 * np.arange(len(rows))
    clips["name"] = [f"{n}.wav" for n in range(len(rows))]
    return FeatureStore(Path(), machine, f"data of {machine}", AudioSettings(), 0.0, (), clips, frames.reshape(-1, 16))


@pytest.fixture(scope="module")
def fan() -> FeatureStore:
    """With noise-only supplemental clips."""
    return toy_store("fan", "noise")


@pytest.fixture(scope="module")
def bearing() -> FeatureStore:
    """With clean supplemental clips."""
    return toy_store("bearing", "clean")


@pytest.fixture(scope="module")
def settings(tiny_settings: Settings) -> Settings:
    """Two steps of each stage, with windows and a network even smaller than the others'."""
    smaller = {
        "network": NetworkSettings(channels=(4, 8), embedding_dim=8),
        "windows": WindowSettings(frames=16, hop_frames=16),
    }
    settings = tiny_settings.model_copy(update=smaller)
    return with_training(settings, stage1_steps=2, stage2_steps=2, batch_source=8, precision="float32")


@pytest.fixture(scope="module")
def undisturbed(fan: FeatureStore, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Network folder of a run that nothing interrupted."""
    out = tmp_path_factory.mktemp("undisturbed") / "network"
    train_network([fan], settings, out, device="cpu")
    return out


def same_result(a: Path, b: Path) -> bool:
    return all((a / name).read_bytes() == (b / name).read_bytes() for name in (WEIGHTS, "history.json", "network.json"))


def test_the_network_folder_holds_what_detectors_need(undisturbed: Path, fan: FeatureStore) -> None:
    assert sorted(path.name for path in undisturbed.iterdir()) == ["history.json", "network.json", WEIGHTS]
    trained = load_network(undisturbed)
    assert not trained.network.training
    assert list(trained.normalisations) == ["fan"]
    assert all(name.startswith("fan|") for name in trained.class_names)
    rows = fan.rows(split="train", kind="noisy")
    frames = np.concatenate([fan.log_mel(int(row)) for row in rows]).astype(np.float64)
    normalisation = trained.normalisations["fan"]
    np.testing.assert_allclose(normalisation.mean, frames.mean(axis=0), rtol=1e-5)
    assert normalisation.scale == pytest.approx(np.sqrt(frames.var(axis=0).mean()), rel=1e-5)


def test_nothing_is_left_of_the_checkpoints_when_the_network_is_whole(undisturbed: Path) -> None:
    assert [path.name for path in undisturbed.parent.iterdir()] == ["network"]


@pytest.mark.parametrize("machine", ["fan", "bearing"])
@pytest.mark.parametrize(
    "losses",
    [
        ("reconstruction",),
        ("reconstruction", "classification"),
        ("reconstruction", "contrastive"),
        ("reconstruction", "classification", "contrastive"),
    ],
    ids="+".join,
)
def test_each_ablation_trains_its_terms_for_the_same_steps(
    tiny_features: Path, settings: Settings, tmp_path: Path, machine: str, losses: tuple[str, ...]
) -> None:
    settings = with_training(settings, losses=losses, stage1_steps=1, batch_source=48)
    train_network([FeatureStore.open(tiny_features / machine)], settings, tmp_path / "network", device="cpu")
    history = load_network(tmp_path / "network").history
    assert [(entry["step"], entry["stage"]) for entry in history] == [(1, 1), (2, 2), (3, 2)]
    for entry in history:
        values = {name: value for name, value in entry.items() if name not in ("step", "stage")}
        assert set(values) == (RECONSTRUCTION if entry["stage"] == 1 else RECONSTRUCTION | set(losses))
        assert np.isfinite(list(values.values())).all()
        weighted = values["reconstruction"] + 2.0 * values.get("classification", 0) + values.get("contrastive", 0)
        assert values["total"] == pytest.approx(weighted, rel=1e-5)  # eq. (5) with the paper's alpha 2 and beta 1


def test_alpha_and_beta_weigh_the_terms(fan: FeatureStore, settings: Settings, tmp_path: Path) -> None:
    settings = with_training(settings, alpha=0.5, beta=3.0, stage1_steps=0, stage2_steps=1)
    train_network([fan], settings, tmp_path / "network", device="cpu")
    (entry,) = load_network(tmp_path / "network").history
    weighted = entry["reconstruction"] + 0.5 * entry["classification"] + 3.0 * entry["contrastive"]
    assert entry["total"] == pytest.approx(weighted, rel=1e-5)


def test_training_learns_to_reconstruct_to_classify_and_to_contrast(
    fan: FeatureStore, settings: Settings, tmp_path: Path
) -> None:
    plain = {"mixup_probability": 0.0, "specaugment_probability": 0.0, "learning_rate": 1e-2}
    settings = with_training(settings, stage1_steps=0, stage2_steps=100, checkpoint_every=4, **plain)
    train_network([fan], settings, tmp_path / "network", device="cpu")
    first, *_, last = load_network(tmp_path / "network").history
    assert last["reconstruction"] < 0.8 * first["reconstruction"]
    assert last["classification"] < 0.8 * first["classification"]
    assert last["contrastive"] < 0.9 * first["contrastive"]


@pytest.mark.parametrize("mixup", [0.0, 1.0])
def test_what_is_masked_must_be_reconstructed(
    fan: FeatureStore, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mixup: float
) -> None:
    """With all of the input masked no network can do better than the norm of the (mixed) windows, about 16 (13)."""
    monkeypatch.setattr(train, "spec_augment", lambda x, _: torch.zeros_like(x))
    settings = with_training(settings, mixup_probability=mixup)
    train_network([fan], settings, tmp_path / "network", device="cpu")
    assert min(entry["reconstruction"] for entry in load_network(tmp_path / "network").history) > 10.0


@pytest.mark.parametrize("mixup", [0.0, 1.0])
@pytest.mark.parametrize(("machine", "noise"), [("fan", 8), ("bearing", 0)])
def test_noise_takes_part_in_the_contrast_only(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mixup: float, machine: str, noise: int
) -> None:
    """Each step has 8 + 8 + 8 windows; noise-only ones are drawn for stage 2 and neither rebuilt nor classified."""
    seen: dict[str, list[int]] = {"augmented": [], "reconstruction": [], "classification": [], "contrastive": []}

    def spy(name: str, function: str, of: Callable[..., int]) -> None:
        real = getattr(train, function)

        def spying(*arguments: Any) -> Any:
            seen[name].append(of(*arguments))
            return real(*arguments)

        monkeypatch.setattr(train, function, spying)

    spy("augmented", "spec_augment", lambda x, _: len(x))
    spy("reconstruction", "reconstruction_loss", lambda x, _: len(x))
    spy("classification", "classification_loss", lambda logits, _: len(logits))
    spy("contrastive", "contrastive_loss", lambda z, y, is_noise, _: 100 * len(z) + int(is_noise.sum()))
    store = toy_store(machine, "noise" if noise else "clean")
    settings = with_training(settings, mixup_probability=mixup, stage1_steps=1, stage2_steps=1)
    train_network([store], settings, tmp_path / "network", device="cpu")
    steps = len(seen["contrastive"])
    assert seen == {
        "augmented": [24] * 2 * steps,
        "reconstruction": [24] * steps + [24 - noise] * steps,
        "classification": [24 - noise] * steps,
        "contrastive": [2400 + noise] * steps,
    }


def test_stage_one_leaves_the_embedding_and_the_classifier_alone(
    fan: FeatureStore, settings: Settings, tmp_path: Path
) -> None:
    """Only L_recon is trained there: what lies beside the path from encoder to decoder keeps its initial weights."""
    weights = {}
    for steps in (1, 2):
        out = tmp_path / f"network{steps}"
        train_network([fan], with_training(settings, stage1_steps=steps, stage2_steps=0), out, device="cpu")
        weights[steps] = load_network(out).network.state_dict()
    moved = {name for name, tensor in weights[1].items() if not torch.equal(tensor, weights[2][name])}
    assert {name.split(".")[0] for name in moved} == {"encoder", "decoder"}


def test_the_seed_decides_everything(fan: FeatureStore, settings: Settings, undisturbed: Path, tmp_path: Path) -> None:
    torch.manual_seed(12345)  # whatever the caller did before
    train_network([fan], settings, tmp_path / "again", device="cpu")
    train_network([fan], settings.model_copy(update={"seed": 1}), tmp_path / "other", device="cpu")
    assert same_result(undisturbed, tmp_path / "again")
    assert not same_result(undisturbed, tmp_path / "other")


def test_test_clips_have_no_part_in_training(
    fan: FeatureStore, settings: Settings, undisturbed: Path, tmp_path: Path
) -> None:
    frames = np.array(fan.frames)
    for row in fan.rows(split="test"):
        offset, count = fan.clips["offset"].iat[row], fan.clips["n_frames"].iat[row]
        frames[offset : offset + count] = 1e6
    clips = fan.clips.copy()
    clips.loc[clips["split"] == "test", ["attributes", "condition", "domain"]] = "secret"
    train_network([replace(fan, frames=frames, clips=clips)], settings, tmp_path / "network", device="cpu")
    assert same_result(undisturbed, tmp_path / "network")


def test_calibration_clips_are_kept_from_the_network(tiny_features: Path, settings: Settings, tmp_path: Path) -> None:
    """Played backwards they leave the normalisation as it is (which may listen to them), and the network too."""
    store = FeatureStore.open(tiny_features / "fan")
    aside = calibration_rows(store, settings)
    clips = store.clips.iloc[aside]
    assert 5 <= len(aside) < 10  # of 20 source clips: 0.1 would be 2, five is the least, recordings are whole
    assert set(clips["split"]) == {"train"} and set(clips["domain"]) == {"source"} and set(clips["kind"]) == {"noisy"}
    forwards = np.round(8 * store.frames) / 8  # in eighths of a dB sums are exact, in whatever order
    backwards = forwards.copy()
    for row in aside:
        offset, count = store.clips["offset"].iat[row], store.clips["n_frames"].iat[row]
        backwards[offset : offset + count] = forwards[offset : offset + count][::-1]
    one_step = with_training(settings, stage1_steps=1, stage2_steps=0)
    for name, frames in (("as recorded", forwards), ("backwards", backwards)):
        train_network([replace(store, frames=frames)], one_step, tmp_path / name, device="cpu")
    assert load_network(tmp_path / "as recorded").set_aside == {"fan": clips["name"].tolist()}
    assert same_result(tmp_path / "as recorded", tmp_path / "backwards")


def test_how_many_clips_are_set_aside(fan: FeatureStore, settings: Settings) -> None:
    assert len(calibration_rows(fan, settings)) == 0  # 12 source clips: the network needs them all
    clips = pd.concat([fan.clips] * 10, ignore_index=True)
    many = replace(fan, clips=clips.assign(recording=range(len(clips))))
    for share, expected in ((0.0, 0), (0.01, 5), (0.1, 12), (0.5, 60)):
        assert len(calibration_rows(many, with_training(settings, calibration_share=share))) == expected
    other_seed = settings.model_copy(update={"seed": 1})
    assert not np.array_equal(calibration_rows(many, settings), calibration_rows(many, other_seed))
    assert np.array_equal(calibration_rows(many, settings), calibration_rows(many, settings))


@pytest.mark.parametrize("without", ["target", "supplemental", "both"])
def test_machines_without_target_or_supplemental_clips_train(
    fan: FeatureStore, settings: Settings, tmp_path: Path, without: str
) -> None:
    clips = fan.clips
    if without in ("target", "both"):
        clips = clips[clips["domain"] != "target"]
    if without in ("supplemental", "both"):
        clips = clips[clips["split"] != "supplemental"]
    poorer = replace(fan, clips=clips.reset_index(drop=True))
    train_network([poorer], with_training(settings, stage1_steps=1), tmp_path / "network", device="cpu")
    history = load_network(tmp_path / "network").history
    assert np.isfinite([value for entry in history for value in entry.values()]).all()


def test_a_single_class_is_said_as_nothing_can_be_learned_from_it(
    fan: FeatureStore, settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = fan.clips[fan.clips["domain"] != "target"].assign(attributes="noAttribute")
    with_noise = replace(fan, clips=source.reset_index(drop=True))
    one = replace(fan, clips=source[source["split"] != "supplemental"].reset_index(drop=True))
    alone = with_training(settings, losses=("reconstruction",), stage1_steps=1, stage2_steps=0)
    cases = ((fan, settings, False), (with_noise, settings, False), (one, alone, False), (one, settings, True))
    for store, own, said in cases:
        caplog.clear()
        train_network([store], own, tmp_path / "network", device="cpu")
        assert ("of one class" in caplog.text) is said


def test_a_fleet_shares_one_network(
    fan: FeatureStore, bearing: FeatureStore, settings: Settings, tmp_path: Path
) -> None:
    train_network([fan, bearing], with_training(settings, stage1_steps=1), tmp_path / "network", device="cpu")
    trained = load_network(tmp_path / "network")
    assert set(trained.normalisations) == {"fan", "bearing"}
    assert {name.split("|")[0] for name in trained.class_names} == {"fan", "bearing"}


@pytest.mark.parametrize("stopped_at", [1, 2, 3, 4])
def test_a_resumed_run_ends_with_the_very_same_weights(
    fan: FeatureStore, settings: Settings, undisturbed: Path, tmp_path: Path, stopped_at: int
) -> None:
    out = tmp_path / "network"
    with pytest.raises(Interrupted):
        train_network([fan], settings, out, device="cpu", progress=stop_after(stopped_at))
    assert not out.exists()
    torch.manual_seed(999)
    train_network([fan], settings, out, device="cpu", resume_from_checkpoint=True)
    assert same_result(undisturbed, out)


def test_steps_after_the_last_checkpoint_are_repeated(fan: FeatureStore, settings: Settings, tmp_path: Path) -> None:
    settings = with_training(settings, checkpoint_every=2)
    train_network([fan], settings, tmp_path / "undisturbed", device="cpu")
    with pytest.raises(Interrupted):
        train_network([fan], settings, tmp_path / "network", device="cpu", progress=stop_after(3))
    seen: list[int] = []
    train_network(
        [fan],
        settings,
        tmp_path / "network",
        device="cpu",
        resume_from_checkpoint=True,
        progress=lambda done, total, text: seen.append(done),
    )
    assert seen == [3, 4]
    assert same_result(tmp_path / "undisturbed", tmp_path / "network")


def test_resuming_again_and_again(fan: FeatureStore, bearing: FeatureStore, settings: Settings, tmp_path: Path) -> None:
    settings = with_training(settings, precision="bfloat16")
    train_network([fan, bearing], settings, tmp_path / "undisturbed", device="cpu")
    out = tmp_path / "network"
    for step in (1, 2, 3):
        with pytest.raises(Interrupted):
            train_network(
                [fan, bearing], settings, out, device="cpu", resume_from_checkpoint=True, progress=stop_after(step)
            )
    train_network([fan, bearing], settings, out, device="cpu", resume_from_checkpoint=True)
    assert same_result(tmp_path / "undisturbed", out)


def test_without_resume_an_old_checkpoint_is_not_looked_at(
    fan: FeatureStore, settings: Settings, undisturbed: Path, tmp_path: Path
) -> None:
    other = settings.model_copy(update={"seed": 5})
    with pytest.raises(Interrupted):
        train_network([fan], other, tmp_path / "network", device="cpu", progress=stop_after(1))
    train_network([fan], settings, tmp_path / "network", device="cpu")
    assert same_result(undisturbed, tmp_path / "network")


@pytest.fixture
def interrupted(fan: FeatureStore, settings: Settings, tmp_path: Path) -> Path:
    """``out`` of a run that was stopped after its second step."""
    with pytest.raises(Interrupted):
        train_network([fan], settings, tmp_path / "network", device="cpu", progress=stop_after(2))
    return tmp_path / "network"


def refusal(store: FeatureStore, settings: Settings, out: Path) -> str:
    with pytest.raises(MasdError) as refused:
        train_network([store], settings, out, device="cpu", resume_from_checkpoint=True)
    assert not out.exists()
    return str(refused.value)


def test_a_checkpoint_of_other_settings_or_data_is_refused_in_one_line(
    interrupted: Path, fan: FeatureStore, settings: Settings
) -> None:
    others = [
        (fan, settings.model_copy(update={"seed": 1})),
        (fan, with_training(settings, learning_rate=2e-3)),
        (fan, with_training(settings, stage2_steps=3)),
        (replace(fan, fingerprint="other data"), settings),
    ]
    for store, other in others:
        message = refusal(store, other, interrupted)
        assert "step-000002" in message and "--resume" in message and "\n" not in message


def test_settings_that_do_not_touch_training_do_not_stop_a_resume(
    interrupted: Path, fan: FeatureStore, settings: Settings, undisturbed: Path
) -> None:
    detection = settings.detection.model_copy(update={"system": "lof-score"})
    later = settings.model_copy(update={"detection": detection})
    train_network([fan], later, interrupted, device="cpu", resume_from_checkpoint=True)
    assert same_result(undisturbed, interrupted)


@pytest.mark.parametrize("file", ["state.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["cut short", "gone"])
def test_a_damaged_checkpoint_is_refused_by_name(
    interrupted: Path, fan: FeatureStore, settings: Settings, file: str, damage: str
) -> None:
    path = interrupted.parent / "network.checkpoints" / "step-000002" / file
    content = path.read_bytes()
    path.unlink()
    if damage == "cut short":
        path.write_bytes(content[: len(content) // 2])
    message = refusal(fan, settings, interrupted)
    assert "step-000002" in message and "remove it" in message and "\n" not in message


def test_a_checkpoint_that_fails_half_way_leaves_the_previous_one(
    fan: FeatureStore, settings: Settings, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []

    def full_disk(tensors: dict[str, torch.Tensor], path: Path) -> None:
        written.append(path)
        if len(written) == 3:
            path.write_bytes(b"half of a checkp")
            raise OSError(28, "No space left on device")
        save_file(tensors, path)

    monkeypatch.setattr(checkpoint, "save_file", full_disk)
    with pytest.raises(OSError, match="No space"):
        train_network([fan], settings, tmp_path / "network", device="cpu")
    assert [path.name for path in (tmp_path / "network.checkpoints").iterdir()] == ["step-000002"]
    monkeypatch.undo()
    train_network([fan], settings, tmp_path / "network", device="cpu", resume_from_checkpoint=True)
    assert same_result(undisturbed, tmp_path / "network")


def test_nothing_is_pickled(interrupted: Path, fan: FeatureStore, settings: Settings, tiny_bundle: Path) -> None:
    in_flight = [path for path in interrupted.parent.rglob("*") if path.is_file()]
    train_network([fan], settings, interrupted, device="cpu", resume_from_checkpoint=True)
    written = [
        path for folder in (interrupted.parent, tiny_bundle.parent) for path in folder.rglob("*") if path.is_file()
    ]
    assert in_flight and written
    assert {path.suffix for path in in_flight} == {".safetensors", ".json"}
    assert {path.suffix for path in written} == {".safetensors", ".json", ".yaml", ".parquet"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_cuda_device_is_said_in_one_line(fan: FeatureStore, settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(MasdError, match="--device cuda: torch sees no CUDA device"):
        train_network([fan], settings, tmp_path / "network", device="cuda")


def command_line(data: Path, bundle: Path) -> "subprocess.Popen[str]":
    """``masd train --resume`` in a process of its own: 20 steps, a checkpoint after each."""
    overrides = [*TINY_OVERRIDES, "training.stage1_steps=10", "training.stage2_steps=10"]
    command = [sys.executable, "-m", "masd.cli.main", "train", str(data / "fan"), "--out", str(bundle), "--resume"]
    command += ["--device", "cpu", *[word for override in overrides for word in ("--set", override)]]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def kill_when(process: "subprocess.Popen[str]", bundle: Path, pattern: str, delay: float) -> bool:
    """SIGKILL ``delay`` seconds after a new path fits; at no moment may there be a bundle that does not load.

    Whether it came to that: the process may have ended well before the path was seen.
    """
    before = set(bundle.parent.glob(pattern))
    seen: float | None = None
    while process.poll() is None:
        if seen is None and set(bundle.parent.glob(pattern)) - before:
            seen = time.monotonic()
        if seen is not None and time.monotonic() - seen >= delay:
            os.killpg(process.pid, signal.SIGKILL)
            break
        if bundle.exists():
            load_bundle(bundle)
        time.sleep(0.0005)
    output, _ = process.communicate(timeout=60)
    assert process.returncode in (0, -signal.SIGKILL), output
    return process.returncode != 0


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_with_the_same_bundle(tiny_data: Path, tmp_path: Path) -> None:
    undisturbed, bundle = tmp_path / "undisturbed", tmp_path / "bundle"
    process = command_line(tiny_data, undisturbed)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    rng = np.random.default_rng()
    checkpoints = "bundle.work/network.checkpoints"
    for pattern, delay in [
        (
            "bundle.work/features/.fan.*",
            rng.uniform(0.0, 0.1),
        ),  # staging folders, dot files beside the goal, show writes
        (f"{checkpoints}/.step-*", rng.uniform(0.0, 0.1)),
        (f"{checkpoints}/step-*", rng.uniform(0.0, 0.1)),
        ("bundle.work/.network.*", 0.0),
        (".bundle.*/detectors.safetensors", 0.0),
        ("bundle", 0.0),  # the bundle is there, its working folder still to be removed
    ]:
        for _ in range(5):
            if kill_when(command_line(tiny_data, bundle), bundle, pattern, delay):
                break
            shutil.rmtree(bundle)  # a busy machine has slept through the moment: from the start again
        else:
            pytest.fail(f"{pattern} was never seen")
        if bundle.exists():
            load_bundle(bundle)
        else:
            with pytest.raises(MasdError):
                load_bundle(bundle)
    assert bundle.exists()
    process = command_line(tiny_data, bundle)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    for name in (WEIGHTS, "detectors.safetensors", "history.json", "config.yaml"):
        assert (bundle / name).read_bytes() == (undisturbed / name).read_bytes(), name
    assert not (tmp_path / "bundle.work").exists()


def test_the_far_channel_is_a_negative_for_every_clip(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without noise-only clips has them if it has a far microphone: its windows, of training clips alone."""
    store = toy_store("bearing", "clean")
    rows = np.flatnonzero((store.clips["kind"] == "noisy").to_numpy())
    store = replace(store, clips=store.clips.iloc[rows].reset_index(drop=True), far=np.zeros_like(store.frames))
    far = store.far
    assert far is not None
    for row, place in zip(store.clips["offset"], store.clips["split"] == "train", strict=True):
        far[row : row + 32] = 20.0 if place else 90.0
    drawn: list[torch.Tensor] = []
    real = train.contrastive_loss

    def spying(z: torch.Tensor, labels: torch.Tensor, is_noise: torch.Tensor, temperature: float) -> torch.Tensor:
        drawn.append(is_noise)
        return real(z, labels, is_noise, temperature)

    seen: list[np.ndarray] = []
    real_augment = train.spec_augment

    def augment(x: torch.Tensor, training: Any) -> torch.Tensor:
        seen.append(x.numpy().copy())
        return real_augment(x, training)

    monkeypatch.setattr(train, "contrastive_loss", spying)
    monkeypatch.setattr(train, "spec_augment", augment)
    train_network([store], with_training(settings, mixup_probability=0.0), tmp_path / "network", device="cpu")
    assert drawn and all(int(noise.sum()) == 8 for noise in drawn)
    normalisation = load_network(tmp_path / "network").normalisations["bearing"]
    expected = normalisation(np.full(16, 20.0, np.float32))
    for x, noise in zip(seen[-len(drawn) :], drawn, strict=True):
        heard = x[noise.numpy(), 0]
        np.testing.assert_allclose(heard, np.broadcast_to(expected[:, None], heard.shape), rtol=1e-5)
