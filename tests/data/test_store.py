"""The log-mel store: the right frames in a memory map, unreadable clips counted, nothing left behind by a failure."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

import masd.data.store
from masd.audio import decode
from masd.audio.log_mel import LogMel
from masd.config import Settings
from masd.data.folders.machine import read_machine
from masd.data.store import FORMAT, FeatureStore, build_store
from masd.errors import MasdError
from masd.progress import ConsoleProgress

RATE = 16_000
SETTINGS = Settings()


def write_clip(path: Path, seed: int = 0, seconds: float = 0.2, rate: int = RATE, channels: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = 0.1 * np.random.default_rng(seed).standard_normal((round(seconds * rate), channels))
    soundfile.write(path, samples, rate)


@pytest.fixture
def fan(tmp_path: Path) -> Path:
    """Six clips of different lengths and rates, of every split and kind."""
    folder = tmp_path / "data" / "fan"
    write_clip(folder / "train/section_00_source_train_normal_0000_vel_1.wav", 1, 0.2)
    write_clip(folder / "train/section_00_source_train_normal_0001_vel_1.wav", 2, 0.5)
    write_clip(folder / "train/section_00_target_train_normal_0002_vel_2.wav", 3, 0.3, rate=48_000)
    write_clip(folder / "test/section_00_source_test_normal_0000.wav", 4, 0.4)
    write_clip(folder / "test/section_00_target_test_anomaly_0000.wav", 5, 0.01)
    write_clip(folder / "supplemental/section_00_noise_0000.wav", 6, 0.25)
    return folder


def build(folder: Path, out: Path, settings: Settings = SETTINGS) -> FeatureStore:
    return build_store(read_machine(folder, settings.data), settings, out)


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def one_line(call: Callable[[], object]) -> str:
    with pytest.raises(MasdError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- what is in it ---------------------------------------------------------------------------------------------------


def test_every_clip_has_the_frames_the_scorer_would_compute(fan: Path, tmp_path: Path) -> None:
    """The same bits offline and online: training reads the store, serving calls LogMel."""
    store = build(fan, tmp_path / "store")
    to_log_mel = LogMel(SETTINGS.audio, 200.0)
    assert len(store.clips) == 6
    for row, path in enumerate(store.clips["path"]):
        np.testing.assert_array_equal(store.log_mel(row), to_log_mel(decode(Path(path)).samples))


def test_frames_are_memory_mapped_read_only_and_without_gaps(fan: Path, tmp_path: Path) -> None:
    store = build(fan, tmp_path / "store")
    assert isinstance(store.frames, np.memmap)
    assert store.frames.dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        store.log_mel(0)[0, 0] = 0.0
    counts = store.clips["n_frames"].to_numpy()
    assert store.clips["offset"].tolist() == [0, *np.cumsum(counts)[:-1]]
    assert store.frames.shape == (counts.sum(), 128)
    assert counts.tolist() == [
        7,
        16,
        10,
        13,
        3,
        8,
    ]  # 1 + n // 512; a clip of 160 samples fills one STFT frame


def test_the_frames_file_is_plain_numpy(fan: Path, tmp_path: Path) -> None:
    store = build(fan, tmp_path / "store")
    np.testing.assert_array_equal(np.load(tmp_path / "store" / "frames.npy", allow_pickle=False), store.frames)


def test_the_table_says_what_is_known_about_each_clip(fan: Path, tmp_path: Path) -> None:
    clips = build(fan, tmp_path / "store").clips
    assert clips["name"].tolist() == [path.name for path in map(Path, clips["path"])]
    assert clips["split"].tolist() == ["train"] * 3 + ["test"] * 2 + ["supplemental"]
    assert clips["domain"].tolist() == ["source", "source", "target", "source", "target", "none"]
    assert clips["condition"].tolist() == ["normal"] * 4 + ["anomaly", "normal"]
    assert clips["kind"].tolist() == ["noisy"] * 5 + ["noise"]
    assert clips["attributes"].tolist() == ["vel=1", "vel=1", "vel=2", "", "", "noAttribute"]
    assert clips["duration_s"].tolist() == pytest.approx([0.2, 0.5, 0.3, 0.4, 0.01, 0.25])
    assert clips["sample_rate_in"].tolist() == [RATE, RATE, 48_000, RATE, RATE, RATE]
    np.testing.assert_allclose(clips["level_dbfs"], -20.0, atol=1.0)
    assert clips["spectral_centroid_hz"].between(1_000, 8_000).all()
    shares = 10 ** (np.stack(clips["octave_levels_db"].to_list()) / 10)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)


def test_rows_are_found_by_their_columns(fan: Path, tmp_path: Path) -> None:
    store = build(fan, tmp_path / "store")
    assert store.rows(split="train").tolist() == [0, 1, 2]
    assert store.rows(split="train", domain="target").tolist() == [2]
    assert store.rows(kind="clean").tolist() == []
    assert store.rows().tolist() == list(range(6))


def test_a_store_opens_to_what_was_built(fan: Path, tmp_path: Path) -> None:
    built = build(fan, tmp_path / "store")
    opened = FeatureStore.open(tmp_path / "store")
    assert (opened.machine_type, opened.fingerprint, opened.high_pass_hz) == ("fan", built.fingerprint, 200.0)
    assert opened.audio == SETTINGS.audio.model_copy(update={"channel": "mean"})  # of one channel
    assert opened.skipped == ()
    pd.testing.assert_frame_equal(opened.clips, built.clips)
    np.testing.assert_array_equal(opened.frames, built.frames)


def test_the_machines_own_high_pass_is_used(fan: Path, tmp_path: Path) -> None:
    settings = Settings.load(None, ["audio.high_pass_hz_by_machine.fan=1000"])
    store = build(fan, tmp_path / "store", settings)
    assert store.high_pass_hz == 1000.0
    expected = LogMel(settings.audio, 1000.0)(decode(Path(store.clips["path"][0])).samples)
    np.testing.assert_array_equal(store.log_mel(0), expected)
    plain = store.without_high_pass()
    assert plain.high_pass_hz == 0.0
    unfiltered = LogMel(settings.audio, 0.0)(decode(Path(store.clips["path"][0])).samples)
    np.testing.assert_array_equal(plain.log_mel(0), unfiltered)
    assert plain.log_mel(0)[:, 0].mean() > store.log_mel(0)[:, 0].mean() + 40.0


def test_stereo_recordings_give_the_configured_channel(tmp_path: Path) -> None:
    """DCASE 2026: the near microphone is channel 0."""
    folder = tmp_path / "fan"
    path = folder / "train/section_00_source_train_normal_0000.wav"
    write_clip(path, channels=2)
    settings = Settings.load(None, ["audio.channel=0"])
    store = build(folder, tmp_path / "store", settings)
    near = soundfile.read(path, dtype="float32")[0][:, 0]
    np.testing.assert_array_equal(store.log_mel(0), LogMel(settings.audio, 200.0)(near))


def test_the_reference_channel_is_stored_beside_the_near_one(tmp_path: Path) -> None:
    folder = tmp_path / "fan"
    names = ["train/section_00_source_train_normal_0000.wav", "test/section_00_source_test_normal_0000.wav"]
    for seed, name in enumerate(names):
        write_clip(folder / name, seed, channels=2)
    write_clip(folder / "test/section_00_source_test_normal_0001.wav", 7)
    settings = Settings.load(None, ["audio.channel=0", "audio.reference_channel=1"])
    built = build(folder, tmp_path / "store", settings)
    log_mel = LogMel(settings.audio, 200.0)
    for store in (built, FeatureStore.open(tmp_path / "store")):
        for row, name in enumerate(names):
            near, far = soundfile.read(folder / name, dtype="float32")[0].T
            np.testing.assert_array_equal(store.log_mel(row), log_mel(near.copy()))
            np.testing.assert_array_equal(store.far_log_mel(row), log_mel(far.copy()))
        assert store.far_log_mel(2) is None  # a mono test clip
        assert store.without_high_pass().far_log_mel(0) is None
    noise = built.far_as_noise()
    np.testing.assert_array_equal(noise.log_mel(0), built.far_log_mel(0))
    assert noise.clips["kind"].tolist() == ["noise"] * 3 and noise.clips["split"].tolist() == ["train", "test", "test"]


def test_a_training_clip_without_the_reference_channel_is_refused_by_name(fan: Path, tmp_path: Path) -> None:
    settings = Settings.load(None, ["audio.channel=0", "audio.reference_channel=1"])
    message = one_line(lambda: build(fan, tmp_path / "store", settings))
    assert "3 training clips have no channel 1" in message and "normal_0000_vel_1.wav" in message
    assert not (tmp_path / "store").exists()


def test_building_again_replaces_the_store(fan: Path, tmp_path: Path) -> None:
    out = tmp_path / "features" / "fan"
    build(fan, out)
    (fan / "train/section_00_source_train_normal_0001_vel_1.wav").unlink()
    assert len(build(fan, out).clips) == 5
    assert listing(out.parent) == ["fan"]
    assert listing(out) == ["clips.parquet", "frames-unfiltered.npy", "frames.npy", "store.json"]


# --- unreadable clips ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain machine folder with 120 short clips."""
    folder = tmp_path_factory.mktemp("many") / "press"
    for number in range(100):
        write_clip(folder / f"train/{number:03}.wav", number, seconds=0.07)
    for number in range(20):
        write_clip(folder / f"test/{number:03}.wav", number, seconds=0.07)
    return folder


def copy_with(many: Path, tmp_path: Path, *bad: str) -> Path:
    folder = tmp_path / "press"
    shutil.copytree(many, folder)
    for name in bad:
        (folder / name).write_bytes(b"this is no audio")
    return folder


def test_one_corrupt_clip_among_many_is_skipped_reported_and_listed(
    many: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = copy_with(many, tmp_path, "train/050.wav")
    bad = str(folder / "train/050.wav")
    with caplog.at_level(logging.WARNING, "masd"):
        store = build(folder, tmp_path / "store")
    assert [bad in record.getMessage() for record in caplog.records] == [True]
    assert len(store.skipped) == 1
    assert store.skipped[0].startswith(f"{bad}: ")
    assert "cannot be decoded" in store.skipped[0]
    assert "the audio" not in store.skipped[0]
    assert FeatureStore.open(tmp_path / "store").skipped == store.skipped
    assert len(store.clips) == 119
    assert bad not in set(store.clips["path"])
    to_log_mel = LogMel(SETTINGS.audio, 200.0)
    for row in (49, 50, 118):  # the neighbours and the last have not slipped by one
        np.testing.assert_array_equal(store.log_mel(row), to_log_mel(decode(Path(store.clips["path"][row])).samples))


def test_more_than_the_allowed_share_fails_by_name_and_leaves_nothing(many: Path, tmp_path: Path) -> None:
    folder = copy_with(many, tmp_path, "train/050.wav", "test/003.wav")
    out = tmp_path / "features" / "press"
    text = one_line(lambda: build(folder, out))
    assert str(folder / "train/050.wav") in text
    assert "2 of 120 clips cannot be read" in text
    assert "data.max_unreadable_share" in text
    assert listing(out.parent) == []


def test_the_share_is_configurable(many: Path, tmp_path: Path) -> None:
    folder = copy_with(many, tmp_path, "train/050.wav", "train/051.wav", "train/052.wav")
    assert len(build(folder, tmp_path / "store", Settings.load(None, ["data.max_unreadable_share=0.025"])).skipped) == 3
    strict = Settings.load(None, ["data.max_unreadable_share=0"])
    assert "1 of 120 clips cannot be read" in one_line(lambda: build(folder, tmp_path / "strict", strict))


def test_a_small_set_may_lose_no_clip(fan: Path, tmp_path: Path) -> None:
    bad = fan / "train/section_00_source_train_normal_0001_vel_1.wav"
    bad.write_bytes(b"")
    assert str(bad) in one_line(lambda: build(fan, tmp_path / "store"))


def test_a_clip_that_vanishes_counts_as_unreadable(many: Path, tmp_path: Path) -> None:
    folder = copy_with(many, tmp_path)
    data = read_machine(folder)
    (folder / "train/007.wav").unlink()
    store = build_store(data, SETTINGS, tmp_path / "store")
    assert len(store.skipped) == 1
    assert "007.wav" in store.skipped[0]


def test_without_a_readable_training_clip_there_is_no_store(fan: Path, tmp_path: Path) -> None:
    for path in (fan / "train").iterdir():
        path.write_bytes(b"")
    settings = Settings.load(None, ["data.max_unreadable_share=1"])
    out = tmp_path / "features" / "fan"
    text = one_line(lambda: build(fan, out, settings))
    assert "no readable training clips" in text
    assert "section_00_source_train_normal_0000_vel_1.wav" in text
    assert listing(out.parent) == []


# --- interruptions ---------------------------------------------------------------------------------------------------


def _dies_at(call: int, error: BaseException) -> Callable[..., object]:
    calls = 0

    def decode_or_die(*args: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls == call:
            raise error
        return decode(*args, **options)

    return decode_or_die


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), MemoryError(), RuntimeError("bug")], ids=lambda e: type(e).__name__
)
def test_a_build_that_dies_half_way_leaves_no_store(
    error: BaseException, fan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "features" / "fan"
    monkeypatch.setattr(masd.data.store, "decode", _dies_at(4, error))
    with pytest.raises(type(error)):
        build(fan, out)
    assert listing(out.parent) == []
    assert str(out) in one_line(lambda: FeatureStore.open(out))


def test_a_rebuild_that_dies_keeps_the_old_store(fan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "features" / "fan"
    fingerprint = build(fan, out).fingerprint
    write_clip(fan / "train/section_00_source_train_normal_0000_vel_1.wav", 99)
    monkeypatch.setattr(masd.data.store, "decode", _dies_at(4, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        build(fan, out)
    assert FeatureStore.open(out).fingerprint == fingerprint
    assert listing(out.parent) == ["fan"]


# --- the fingerprint of the training data ----------------------------------------------------------------------------


def test_the_fingerprint_is_that_of_the_training_data(fan: Path, tmp_path: Path) -> None:
    def fingerprint(folder: Path) -> str:
        return build(folder, tmp_path / "store").fingerprint

    original = fingerprint(fan)
    assert fingerprint(fan) == original

    moved = tmp_path / "elsewhere" / "fan"
    moved.parent.mkdir()
    shutil.move(fan, moved)
    assert fingerprint(moved) == original

    write_clip(moved / "test/section_00_source_test_normal_0000.wav", 98)
    write_clip(moved / "test/section_00_source_test_normal_0001.wav", 97)
    assert fingerprint(moved) == original

    seen = {original}
    write_clip(moved / "train/section_00_source_train_normal_0000_vel_1.wav", 99)  # another recording
    seen.add(fingerprint(moved))
    write_clip(moved / "supplemental/section_00_noise_0000.wav", 96)
    seen.add(fingerprint(moved))
    clip = moved / "train/section_00_source_train_normal_0001_vel_1.wav"
    clip.rename(clip.with_name("section_00_target_train_normal_0001_vel_1.wav"))  # another domain
    seen.add(fingerprint(moved))
    write_clip(moved / "train/section_00_source_train_normal_0009_vel_1.wav", 95)  # one clip more
    seen.add(fingerprint(moved))
    attributes = "file_name,d1p,d1v\nsection_00_source_train_normal_0000_vel_1,vel,7\n"  # other labels
    (moved / "attributes_00.csv").write_text(attributes, encoding="utf-8")
    seen.add(fingerprint(moved))
    assert len(seen) == 6


# --- opening what is no store ----------------------------------------------------------------------------------------


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def _about(folder: Path, **changes: object) -> None:
    about = json.loads((folder / "store.json").read_text(encoding="utf-8"))
    (folder / "store.json").write_text(json.dumps(about | changes), encoding="utf-8")


@pytest.mark.parametrize(
    "spoil",
    [
        shutil.rmtree,
        lambda folder: (folder / "store.json").unlink(),
        lambda folder: (folder / "store.json").write_text("{"),
        lambda folder: (folder / "store.json").write_text("[]"),
        lambda folder: (folder / "store.json").write_text(f'{{"format": {FORMAT}}}'),
        lambda folder: _about(folder, audio={"sample_rate": -1}),
        lambda folder: _about(folder, audio={"unknown": 1}),
        lambda folder: (folder / "frames.npy").unlink(),
        lambda folder: _truncate(folder / "frames.npy"),
        lambda folder: np.save(folder / "frames.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True),
        lambda folder: (folder / "clips.parquet").write_bytes(b"PAR1"),
        lambda folder: (folder / "clips.parquet").unlink(),
    ],
    ids=[
        "no-folder",
        "no-json",
        "broken-json",
        "list",
        "keys-missing",
        "bad-audio",
        "unknown-audio",
        "no-frames",
        "cut-frames",
        "pickle",
        "broken-table",
        "no-table",
    ],
)
def test_a_folder_that_is_no_store_is_refused_in_one_line(
    spoil: Callable[[Path], object], fan: Path, tmp_path: Path
) -> None:
    build(fan, tmp_path / "store")
    spoil(tmp_path / "store")
    text = one_line(lambda: FeatureStore.open(tmp_path / "store"))
    assert str(tmp_path / "store") in text
    assert "not a log-mel store" in text


def test_a_store_of_another_format_says_what_to_do(fan: Path, tmp_path: Path) -> None:
    build(fan, tmp_path / "store")
    _about(tmp_path / "store", format=99)
    text = one_line(lambda: FeatureStore.open(tmp_path / "store"))
    assert "99" in text
    assert "run the training again from the start" in text


# --- progress --------------------------------------------------------------------------------------------------------


def test_progress_counts_the_clips(fan: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    build_store(
        read_machine(fan),
        SETTINGS,
        tmp_path / "store",
        progress=lambda done, total, text: seen.append((done, total, text)),
    )
    assert seen == [(number, 6, "fan") for number in range(1, 7)]


def test_without_a_terminal_progress_is_a_few_plain_lines_on_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with ConsoleProgress("featurize fan") as progress:
        for done in range(1, 1001):
            progress(done, 1000, "fan")
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[-1] == "featurize fan: 1000/1000 fan"
    assert len(lines) <= 2
    assert "\r" not in captured.err
