"""The report page: what it says, that it loads nothing, and that odd data make a sensible page."""

import base64
import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from html_page import CONTROLS, Page

from masd.audio.log_mel import LogMel
from masd.config import ALL_SYSTEMS, AudioSettings
from masd.detection.result import Segment
from masd.evaluation.figures.clip import UNUSUAL_LEVEL, ExampleClip, clip_figure, mel_band
from masd.evaluation.figures.embedding_map import EmbeddingMap
from masd.evaluation.metrics import official_metrics
from masd.evaluation.pages.html import DASH
from masd.evaluation.pages.report import MAX_AUDIO_BYTES, ReportData, write_report
from masd.evaluation.residuals import UsualResidual


def make_scores(
    domains: tuple[str, ...] = ("source", "target"), conditions: tuple[str, ...] = ("normal", "anomaly")
) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        {
            "name": f"section_00_{domain}_{condition}_{i:04d}.wav",
            "section": "00",
            "domain": domain,
            "condition": condition,
        }
        | {system: float(rng.gamma(9.0, 0.1) + (condition == "anomaly") * 0.5) for system in (*ALL_SYSTEMS, *CONTROLS)}
        for domain in domains
        for condition in conditions
        for i in range(20)
    ]
    return pd.DataFrame(rows)


def make_example(seconds: float = 3.0) -> ExampleClip:
    rng = np.random.default_rng(1)
    samples = rng.normal(0.0, 0.05, int(16_000 * seconds)).astype(np.float32)
    log_mel = LogMel(AudioSettings(), 200.0)(samples)
    unusual = rng.normal(size=log_mel.shape).astype(np.float32)
    unusual[30:40, 60:70] = 6.0
    wav = io.BytesIO()
    soundfile.write(wav, samples, 16_000, format="WAV", subtype="PCM_16")
    segments = (Segment(0.0, 2.048, 0.9), Segment(0.96, 3.0, 1.7))
    return ExampleClip(
        name="section_00_source_anomaly_0003.wav",
        domain="source",
        condition="anomaly",
        score=1.6,
        threshold=1.25,
        caption="most anomalous",
        log_mel=log_mel,
        unusual=unusual,
        segments=segments,
        hop_seconds=0.032,
        sample_rate=16_000,
        audio_wav=wav.getvalue(),
    )


def make_history() -> list[dict[str, float]]:
    first = [{"step": 100 * e, "stage": 1, "reconstruction": 90.0 / e, "total": 90.0 / e} for e in range(1, 4)]
    terms = {"reconstruction": 20.0, "classification": 0.4, "contrastive": 2.1, "total": 22.9}
    return [*first, *({"step": 100 * e, "stage": 2} | terms for e in range(4, 8))]


def make_places(attributes: tuple[str, ...] = ("speed=1", "speed=2")) -> EmbeddingMap:
    rng = np.random.default_rng(2)
    kinds = [("train", "normal")] * 12 + [("test", "normal")] * 6 + [("test", "anomaly")] * 6
    clips = pd.DataFrame(kinds, columns=["split", "condition"])
    clips["x"], clips["y"] = rng.normal(size=(2, len(clips)))
    clips["domain"] = ["target" if number % 3 == 0 else "source" for number in range(len(clips))]
    clips["attributes"] = [
        attributes[number % len(attributes)] if split == "train" else "" for number, split in enumerate(clips["split"])
    ]
    return EmbeddingMap(clips, True, "t-SNE", {"train": 12, "test": 12})


def make_data(scores: pd.DataFrame, **changes: Any) -> ReportData:
    thresholds = dict.fromkeys((*ALL_SYSTEMS, *CONTROLS), 1.25)
    measured = {name: official_metrics(scores, scores[name], thresholds[name]) for name in thresholds}
    data = ReportData(
        metrics={
            "machine_type": "fan",
            "section": "00",
            "systems": {name: measured[name] for name in ALL_SYSTEMS},
            "controls": {name: measured[name] for name in CONTROLS},
            "seed": 0,
            "contributions": None,
        },
        scores=scores,
        thresholds=thresholds,
        served_system="knn-feature",
        history=make_history(),
        examples=[make_example()],
        places=make_places(),
        notes=["one remark on the data"],
        created="2026-01-01T00:00:00+00:00",
        model_version="3",
        data_fingerprint="sha256:0123",
    )
    return replace(data, **changes)


def small(scores: pd.DataFrame, **changes: Any) -> ReportData:
    """Data of a page with few figures, which are what takes the time."""
    return make_data(scores, **({"history": [], "examples": []} | changes))


@pytest.fixture(scope="module")
def standard(tmp_path_factory: pytest.TempPathFactory) -> tuple[Page, ReportData, Path]:
    """The page of an ordinary evaluation."""
    data, folder = make_data(make_scores()), tmp_path_factory.mktemp("report")
    return page_of(data, folder), data, folder / "report.html"


def page_of(data: ReportData, folder: Path) -> Page:
    write_report(data, folder / "report.html")
    assert [file.name for file in folder.iterdir()] == ["report.html"]
    return Page(folder / "report.html")


def test_the_page_says_what_was_measured(standard: tuple[Page, ReportData, Path]) -> None:
    page, data, _ = standard
    served = data.metrics["systems"]["knn-feature"]
    for name, values in (data.metrics["systems"] | data.metrics["controls"]).items():
        label = f"{name} served" if name == "knn-feature" else name
        areas = ("hmean", "auc_source", "auc_target", "pauc")
        assert page.row(label) == [f"{100 * values[area]:.1f}" for area in areas]
    decisions = [row for row in page.rows if row[0] == "knn-feature"][-1]
    expected = [served[f"{kind}_{domain}"] for domain in ("source", "target") for kind in ("precision", "recall", "f1")]
    assert decisions[1:] == [f"{100 * value:.1f}" for value in expected] + ["1.25"]

    flagged = data.scores[data.scores["knn-feature"] > 1.25]
    caught, alarms = ((flagged["condition"] == kind).sum() for kind in ("anomaly", "normal"))
    assert f"flags {caught} of 40 anomalous clips and raises a false alarm on {alarms} of 40 normal" in page.text
    assert f"{100 * caught / (caught + alarms):.1f} % precision at the threshold" in page.text
    assert f"{100 * caught / 40:.1f} % recall at the threshold" in page.text
    best = max(CONTROLS, key=lambda name: data.metrics["controls"][name]["hmean"])
    assert f"The best of the simple controls, {best}, reaches" in page.text
    assert "one remark on the data" in page.text and "sha256:0123" in page.text
    listed = [row[0] for row in page.rows if row[0].endswith(".wav")]
    assert listed == list(flagged.sort_values("knn-feature", ascending=False)["name"])


def test_the_page_stands_alone(standard: tuple[Page, ReportData, Path]) -> None:
    """Figures and recordings are inside, every image is described, and nothing is fetched or run."""
    page, _, file = standard
    assert all(source.startswith("data:") for source in page.sources())
    assert not {"script", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in page.tags}
    text = file.read_text()
    assert not re.search(r"https?:|url\(|@import", text)
    assert "prefers-color-scheme: dark" in text and "width=device-width" in text
    images = [attrs for tag, attrs in page.tags if tag == "img"]
    assert len(images) == 7 and all(image["alt"] for image in images)
    for image in images:
        svg = base64.b64decode((image["src"] or "").partition(",")[2])
        assert b"<svg" in svg and b"<script" not in svg


def test_the_recording_can_be_played(standard: tuple[Page, ReportData, Path]) -> None:
    page, _, _ = standard
    (player,) = [attrs for tag, attrs in page.tags if tag == "audio"]
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode((player["src"] or "").partition(",")[2])))
    assert (len(samples), rate) == (48_000, 16_000)


def test_the_map_of_the_clips_is_in_the_page(standard: tuple[Page, ReportData, Path]) -> None:
    page, _, _ = standard
    maps = [attrs["alt"] for tag, attrs in page.tags if tag == "img" and "Map of" in (attrs["alt"] or "")]
    assert len(maps) == 2
    assert (
        "t-SNE of 12 training clips and 12 test clips." in page.text and "Normal test clips should be near" in page.text
    )


def test_a_machine_without_attributes_has_one_map(tmp_path: Path) -> None:
    page = page_of(small(make_scores(), places=make_places(("noAttribute",))), tmp_path)
    assert "because the training clips have no attributes" in page.text
    assert sum("Map of" in (attrs["alt"] or "") for tag, attrs in page.tags if tag == "img") == 1


def test_what_a_score_means_is_said_of_the_system_that_is_served(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "other").mkdir()
    ours = page_of(small(make_scores(), served_system="fused", examples=[make_example()]), tmp_path / "ours")
    other = page_of(small(make_scores(), examples=[make_example()]), tmp_path / "other")
    for said in (
        "A score of 1 means that a clip is as far from the known normal",
        "the geometric mean of the window scores",
    ):
        assert said in ours.text and said not in other.text
    assert "fused served" in ours.text and "Each window is scored separately" in other.text


def test_what_each_part_contributes_is_in_a_table(tmp_path: Path) -> None:
    members = {
        "frames": {"weight": 0.6, "alone": 0.7, "without": 0.82},
        "modulation": {"weight": 0.4, "alone": 0.75, "without": 0.7},
    }
    data = small(make_scores())
    assert "What each part of the score contributes" not in page_of(data, tmp_path).text
    data.metrics["contributions"] = {"clips": 38, "auc": 0.8, "members": members}
    page = page_of(data, tmp_path)
    assert page.row("single frames frames") == ["60.0", "70.0", "82.0", "-2.0"]
    assert page.row("rhythm modulation") == ["40.0", "75.0", "70.0", "+10.0"]
    assert page.row("all together") == ["100.0", "80.0", "", ""]
    assert "most is lost without rhythm (10.0 points)" in page.text and "38 normal training clips" in page.text


def test_recordings_that_would_swell_the_page_are_left_out(tmp_path: Path) -> None:
    clip = replace(make_example(), segments=())
    full = replace(clip, audio_wav=bytes(MAX_AUDIO_BYTES))
    examples = [full, replace(clip, audio_wav=bytes(MAX_AUDIO_BYTES + 1)), full, full, full, full]
    page = page_of(small(make_scores(), examples=examples), tmp_path)
    assert sum(tag == "audio" for tag, _ in page.tags) == 4
    assert page.text.count("(2.0 MB) is too large for this page") == 2


def test_the_same_data_give_the_same_page(standard: tuple[Page, ReportData, Path], tmp_path: Path) -> None:
    write_report(make_data(make_scores()), tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == standard[2].read_bytes()


def test_hostile_names_are_text(tmp_path: Path) -> None:
    hostile = "<script>alert('x')</script>_\"><img src=http://evil/x onerror=alert(1)>.wav"
    scores = make_scores()
    scores.loc[scores["knn-feature"].idxmax(), "name"] = hostile
    example = replace(make_example(), name=hostile, caption=hostile, condition=hostile, domain=hostile)
    data = small(scores, examples=[example], notes=[hostile], created=hostile, data_fingerprint=hostile)
    data.metrics["machine_type"] = hostile
    page = page_of(data, tmp_path)
    assert "script" not in {tag for tag, _ in page.tags}
    assert not any(key.startswith("on") for _, attrs in page.tags for key in attrs)
    assert all(source.startswith("data:") for source in page.sources())
    assert page.text.count("<script>alert('x')</script>") >= 5


def test_without_target_clips_dashes_are_explained(tmp_path: Path) -> None:
    page = page_of(small(make_scores(domains=("source",))), tmp_path)
    hmean, source, target, _ = page.row("knn-feature served")
    assert target == DASH and DASH not in (hmean, source)
    assert "A dash means that" in page.text
    assert "in the target domain;" not in page.text and "in the source domain;" in page.text


def test_clips_without_domains_are_not_called_source_in_words(tmp_path: Path) -> None:
    page = page_of(small(make_scores(domains=("none",))), tmp_path)
    assert re.search(r"higher score \d+% of the time; guessing", page.text)
    assert "These clips have no domain: they count as source." in page.text


def test_a_blind_test_set_claims_no_quality(tmp_path: Path) -> None:
    scores = make_scores(domains=("none",), conditions=("unknown",))
    page = page_of(small(scores, examples=[replace(make_example(), condition="unknown")]), tmp_path)
    flagged = int((scores["knn-feature"] > 1.25).sum())
    assert f"condition of 20 clips is unknown: the threshold flags {flagged} of them" in page.text
    assert "This test set does not have both" in page.text and "condition unknown" in page.text
    assert "AUC source" not in page.text and "guessing" not in page.text and "50 is chance" not in page.text
    assert page.row("none") == ["unknown", "20", str(flagged), f"{100 * flagged / 20:.0f}%"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"history": [{"step": 100, "stage": 1, "total": 3.0}]}, "Mean of each loss"),
        ({"history": [{"step": 100, "stage": 2, "total": float("nan")}]}, "This model has no training history"),
        ({"notes": []}, "This model has no training history."),
    ],
)
def test_any_history_makes_a_page(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    scores = make_scores(conditions=("unknown",))
    assert said in page_of(small(scores, **change), tmp_path).text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda scores: scores[scores["condition"] == "normal"],
            "At its threshold it raises a false alarm on",
        ),
        (lambda scores: scores.assign(**{"knn-feature": 0.5}), "flags 0 of 40"),
        (lambda scores: scores.assign(**{"knn-feature": scores["knn-feature"] * 1e9}), "flags 40 of 40"),
        (lambda scores: scores.replace({"section": "00"}, "01"), "served"),
    ],
    ids=["only normal clips", "constant scores", "huge scores", "another section"],
)
def test_any_scores_make_a_page(tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame], said: str) -> None:
    assert said in page_of(small(change(make_scores())), tmp_path).text


@pytest.mark.parametrize(
    "change",
    [
        {"segments": ()},
        {"segments": (Segment(0.0, 3.0, 1.0),)},
        {"log_mel": np.full((94, 128), -120.0, np.float32)},
        {"log_mel": np.zeros((5000, 128), np.float32), "unusual": np.full((5000, 128), 9.0, np.float32)},
        {"log_mel": np.zeros((2, 128), np.float32), "unusual": np.zeros((2, 128), np.float32)},
    ],
    ids=["no segments", "one window", "silence", "long", "two frames"],
)
@pytest.mark.filterwarnings("error")
def test_any_clip_makes_a_figure(change: dict[str, Any]) -> None:
    assert clip_figure(replace(make_example(), **change)).count("</svg>") == 1


def test_only_what_normal_clips_do_not_show_is_unusual() -> None:
    """A band that is reconstructed poorly in every clip is usual; a tone or a knock in another band is not."""
    rng = np.random.default_rng(3)

    def residual() -> np.ndarray[Any, np.dtype[np.float32]]:
        noise = np.abs(rng.normal(size=(120, 64))).astype(np.float32)
        noise[:, 20] *= 5.0
        return noise

    usual = UsualResidual.fit([residual() for _ in range(12)])
    normal, odd = residual(), residual()
    odd[:, 40] += 2.0
    odd[60:64, 50:53] += 3.0
    assert (usual.excess(normal) > UNUSUAL_LEVEL).mean() < 0.005
    marked = usual.excess(odd) > UNUSUAL_LEVEL
    assert marked[:, 40].mean() > 0.9 and marked[60:64, 51].all()
    assert marked[:, :38].mean() < 0.005


def test_silence_everywhere_is_nothing_unusual() -> None:
    usual = UsualResidual.fit([np.zeros((5, 8), np.float32)])
    assert not usual.excess(np.zeros((3, 8), np.float32)).any()


def test_a_tone_lies_on_its_frequency_on_the_mel_axis() -> None:
    """The axis against what LogMel does: the loudest band of a tone is the one nearest to its mark."""
    for hz in (500.0, 1000.0, 2000.0, 4000.0):
        tone = np.sin(2 * np.pi * hz * np.arange(16_000) / 16_000).astype(np.float32)
        loudest = int(LogMel(AudioSettings(), 0.0)(tone).mean(axis=0).argmax())
        assert abs(loudest - mel_band(hz, 128, 16_000)) <= 1.0
