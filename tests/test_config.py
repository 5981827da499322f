"""Settings: defaults of the paper, YAML there and back, overrides, and errors that name the key in one line."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from masd.config import ALL_SYSTEMS, Settings
from masd.errors import MasdError


def refusal(file: Path | None = None, overrides: list[str] | None = None) -> str:
    """The one line with which ``Settings.load`` refuses."""
    with pytest.raises(MasdError) as caught:
        Settings.load(file, overrides or [])
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.fixture
def other() -> Settings:
    """Settings with something different from the default in every kind of field."""
    return Settings.load(
        None,
        [
            "seed=7",
            "audio.channel=0",
            "audio.high_pass_hz_by_machine={fan: 500, bearing: 0}",
            "windows.hop_frames=16",
            "data.supplemental=noise",
            "network.channels=[8, 16, 32]",
            "training.losses=[reconstruction, contrastive]",
            "training.learning_rate=0.0003",
            "detection.system=lof-score",
            "serving.refuse_silence_below_dbfs=-80.5",
        ],
    )


def test_defaults_are_the_numbers_of_the_report() -> None:
    settings = Settings()
    training, audio = settings.training, settings.audio
    one_pass = round(1000 * 313 / 64 / 112)  # batches with all of 990 + 10 clips: 313 frames each, in windows of 64
    assert training.model_copy(update={"schedule": "paper"}).stages == (100 * one_pass, 250 * one_pass)
    assert sum(training.stages) >= 3_000
    assert training.batch_source + training.batch_target + training.batch_supplemental == 128
    assert (training.learning_rate, training.temperature) == (0.001, 0.07)
    assert (training.alpha, training.beta) == (2.0, 1.0)
    assert training.losses == ("reconstruction", "classification", "contrastive")
    assert (audio.sample_rate, audio.n_fft, audio.hop_length, audio.n_mels) == (16_000, 1024, 512, 128)
    assert settings.windows.frames == 64
    assert settings.network.embedding_dim == 128


def test_the_answer_is_that_of_the_fused_detector_unless_another_system_is_chosen() -> None:
    assert Settings().detection.system == "fused"
    assert ALL_SYSTEMS == ("fused", "knn-feature", "knn-score", "lof-feature", "lof-score")
    for system in ALL_SYSTEMS:
        assert Settings.load(None, [f"detection.system={system}"]).detection.system == system


def test_a_written_yaml_reads_back_to_equal_settings(other: Settings, tmp_path: Path) -> None:
    assert other != Settings()
    assert Settings.from_yaml(other.to_yaml(), "config.yaml") == other
    file = tmp_path / "config.yaml"
    file.write_text(other.to_yaml(), encoding="utf-8")
    assert Settings.load(file) == other


def test_the_written_yaml_holds_every_default_too() -> None:
    """A bundle must not change its meaning when a later release changes a default."""
    written = yaml.safe_load(Settings().to_yaml())
    assert written["training"]["temperature"] == 0.07
    for name, section in Settings().model_dump().items():
        expected = set(section) if isinstance(section, dict) else None
        assert expected is None or set(written[name]) == expected, name


def test_overrides_win_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("training: {alpha: 3, beta: 4}\n", encoding="utf-8")
    settings = Settings.load(file, ["training.beta=5", "windows.hop_frames=8"])
    assert (settings.training.alpha, settings.training.beta, settings.windows.hop_frames) == (3.0, 5.0, 8)
    assert settings.training.temperature == 0.07


@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("training.learning_rate=1e-4", "training", "learning_rate", 1e-4),  # YAML 1.1 reads 1e-4 as text
        ("training.losses=[reconstruction]", "training", "losses", ("reconstruction",)),
        ("audio.channel=mean", "audio", "channel", "mean"),
        ("audio.channel=1", "audio", "channel", 1),
        ("serving.refuse_silence_below_dbfs=null", "serving", "refuse_silence_below_dbfs", None),
        ("audio.high_pass_hz_by_machine.fan=300", "audio", "high_pass_hz_by_machine", {"fan": 300.0}),
        ("network.channels=[8, 16]", "network", "channels", (8, 16)),
    ],
)
def test_override_values_are_yaml(override: str, section: str, key: str, value: object) -> None:
    assert getattr(getattr(Settings.load(None, [override]), section), key) == value


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("training.stage1_step=3", "training.stage1_step"),  # unknown keys
        ("trainig.alpha=3", "trainig"),
        ("training.alpha.x=3", "training.alpha"),
        ("training.stage1_steps=many", "training.stage1_steps"),  # wrong types
        ("training.stage1_steps=1.5", "training.stage1_steps"),
        ("training=3", "training"),
        ("seed=", "seed"),
        ("network.channels=16", "network.channels"),
        ("training.stage1_steps=-1", "training.stage1_steps"),  # out of range
        ("training.temperature=0", "training.temperature"),
        ("training.mixup_probability=1.01", "training.mixup_probability"),
        ("detection.threshold_percentile=100", "detection.threshold_percentile"),
        ("network.channels=[16, 0]", "network.channels.1"),
        ("network.channels=[]", "network.channels"),
        ("training.alpha=.inf", "training.alpha"),
        ("training.learning_rate=.nan", "training.learning_rate"),
        ("detection.system=knn", "detection.system"),
        ("audio.channel=left", "audio.channel"),
        ("audio.channel=-1", "audio.channel"),
        ("audio.high_pass_hz=8000", "high_pass_hz"),  # half the sample rate: no such filter
        ("audio.high_pass_hz_by_machine.fan=9000", "high_pass_hz"),
        ("audio.high_pass_hz_by_machine.fan=-5", "audio.high_pass_hz_by_machine.fan"),
        ("training.losses=[classification]", "losses"),
        ("windows.hop_frames=65", "hop_frames"),  # would leave frames between windows unheard
        ("audio.hop_length=1025", "hop_length"),
    ],
)
def test_a_bad_value_is_refused_in_one_line_with_its_key(override: str, key: str, tmp_path: Path) -> None:
    text = refusal(overrides=[override])
    assert key in text
    file = tmp_path / "mine.yaml"
    values: dict[str, object] = {}
    inner = values
    *sections, last = override.partition("=")[0].split(".")
    for section in sections:
        inner[section] = inner = {}
    inner[last] = yaml.safe_load(override.partition("=")[2])
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    assert str(file) in (text := refusal(file))
    assert key in text


def test_nothing_to_train_is_refused() -> None:
    assert "stage1_steps" in refusal(overrides=["training.stage1_steps=0", "training.stage2_steps=0"])


@pytest.mark.parametrize("old", ["stage1_epochs", "stage2_epochs"])
def test_a_schedule_in_epochs_is_refused_with_what_to_set_but_read_in_an_older_bundle(old: str) -> None:
    assert "set stage1_steps and stage2_steps" in refusal(overrides=[f"training.{old}=3"])
    values = yaml.safe_load(Settings(seed=5).to_yaml())
    values["training"][old] = 3
    read = Settings.from_yaml(yaml.safe_dump(values), "config.yaml")
    assert read == Settings(seed=5)


def test_several_mistakes_are_named_at_once() -> None:
    text = refusal(overrides=["seed=-1", "foo=3", "training.beta=abc"])
    assert all(key in text for key in ("seed:", "foo:", "training.beta:"))


def test_a_long_wrong_value_is_cut_in_the_message() -> None:
    assert len(refusal(overrides=[f"seed={'x' * 500}"])) < 250


@pytest.mark.parametrize("override", ["training.alpha", "=3", "seed=[1", "seed.x.y=1", ""])
def test_a_malformed_override_is_refused_by_its_own_text(override: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("seed: 3\n", encoding="utf-8")
    assert f"--set {override}:" in refusal(file, [override])


@pytest.mark.parametrize(
    ("name", "size", "override"),
    [
        ("windows.frames", 60, "windows.frames=60"),
        ("audio.n_mels", 100, "audio.n_mels=100"),
    ],
)
def test_windows_that_do_not_fit_the_poolings_are_refused(name: str, size: int, override: str) -> None:
    text = refusal(overrides=[override])
    assert name in text
    assert str(size) in text
    assert "16" in text  # the four poolings halve four times


def test_fewer_poolings_accept_smaller_multiples() -> None:
    settings = Settings.load(None, ["network.channels=[8, 8]", "windows.frames=60", "audio.n_mels=100"])
    assert settings.windows.frames == 60


@pytest.mark.parametrize(
    "content",
    [b"- a\n- b\n", b"just words", b"a: [1", b"\xff\xfe\x00", b"1: 2\n", b"training:\n"],
    ids=["list", "text", "broken", "not-utf8", "number-as-key", "empty-section"],
)
def test_a_file_that_holds_no_settings_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_bytes(content)
    assert str(file) in refusal(file)


def test_missing_file_and_folder_are_refused_by_name(tmp_path: Path) -> None:
    assert str(tmp_path / "none.yaml") in refusal(tmp_path / "none.yaml")
    assert str(tmp_path) in refusal(tmp_path)


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("# nothing yet\n", encoding="utf-8")
    assert Settings.load(file) == Settings()


def test_yaml_cannot_run_code(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    ran = tmp_path / "ran"
    file.write_text(f"seed: !!python/object/apply:os.mkdir ['{ran}']\n", encoding="utf-8")
    assert str(file) in refusal(file)
    assert not ran.exists()


@pytest.mark.parametrize("text", ["a: [1", "", "3", "training: {alphas: 1}"])
def test_a_broken_bundle_config_names_where_it_stands(text: str) -> None:
    with pytest.raises(MasdError) as caught:
        Settings.from_yaml(text, "models/fan/3/config.yaml")
    assert str(caught.value).startswith("models/fan/3/config.yaml")
    assert "\n" not in str(caught.value)


def test_settings_cannot_be_changed_after_the_checks() -> None:
    with pytest.raises(ValidationError):
        Settings().training.alpha = -1.0


def test_a_machine_may_have_its_own_high_pass(other: Settings) -> None:
    assert other.audio.high_pass_for("fan") == 500.0
    assert other.audio.high_pass_for("bearing") == 0.0
    assert other.audio.high_pass_for("valve") == other.audio.high_pass_hz == 200.0


def test_a_channel_that_is_left_open_is_the_one_that_a_bundle_settled_on() -> None:
    bundle = Settings.load(None, ["audio.channel=0"])
    assert Settings().settled_like(bundle) == bundle
    assert Settings.load(None, ["audio.channel=mean"]).settled_like(bundle) != bundle
