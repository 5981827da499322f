"""The summary of several machines: its numbers against an independent computation, its files, its refusals."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from html_page import CONTROLS, Page

from masd.config import ALL_SYSTEMS
from masd.errors import MasdError
from masd.evaluation.pages.html import DASH
from masd.evaluation.pages.summary import write_summary

AREAS = ("auc_source", "auc_target", "pauc")


def make_metrics(machine: str, seed: int, *, target: bool = True) -> dict[str, Any]:
    rng = np.random.default_rng(seed)

    def values() -> dict[str, float | None]:
        areas: dict[str, float | None] = {area: float(rng.uniform(0.4, 0.9)) for area in AREAS}
        if not target:
            areas["auc_target"] = None
        known = [area for area in areas.values() if area is not None]
        return areas | {"hmean": len(known) / sum(1 / area for area in known), "threshold": 1.0}

    return {
        "machine_type": machine,
        "section": "00",
        "systems": {name: values() for name in ALL_SYSTEMS},
        "controls": {name: values() for name in CONTROLS},
        "seed": 0,
    }


def make_evaluation(folder: Path, metrics: dict[str, Any], *, report: bool = True) -> Path:
    (folder / "knn-feature").mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "knn-feature" / "scores.csv").write_text("a.wav,1\n")
    if report:
        (folder / "report.html").write_text("<p>the machine's own report</p>")
    return folder


def make_verdict(file: Path, machine: str, *, passed: bool) -> Path:
    check = {"name": "mel-statistics", "passed": passed, "candidate": 0.7, "reference": 0.6, "margin": 0.05}
    verdict = {
        "machine_type": machine,
        "passed": passed,
        "decision": "promote" if passed else "refuse",
        "sentence": f"{machine} {'passes' if passed else 'is refused'} <for a reason>",
        "system": "fused",
        "checks": [check],
    }
    file.write_text(json.dumps(verdict))
    return file


@pytest.fixture
def metrics() -> dict[str, dict[str, Any]]:
    return {
        "fan": make_metrics("fan", 0),
        "valve": make_metrics("valve", 1, target=False),
        "ToyCar": make_metrics("ToyCar", 2),
    }


@pytest.fixture
def summary(tmp_path: Path, metrics: dict[str, dict[str, Any]]) -> Path:
    evaluations = [
        make_evaluation(tmp_path / f"evaluation-{machine}", values, report=machine != "ToyCar")
        for machine, values in metrics.items()
    ]
    verdicts = [
        make_verdict(tmp_path / "a.json", "valve", passed=False),
        make_verdict(tmp_path / "b.json", "fan", passed=True),
    ]
    write_summary(evaluations, verdicts, tmp_path / "out")
    return tmp_path / "out"


def test_the_official_score_is_the_harmonic_mean_of_all_areas_that_exist(
    summary: Path, metrics: dict[str, dict[str, Any]]
) -> None:
    official = json.loads((summary / "summary.json").read_text())["official"]
    for group, names in (("systems", ALL_SYSTEMS), ("controls", CONTROLS)):
        assert list(official[group]) == list(names)
        for name in names:
            areas = [values[group][name][area] for values in metrics.values() for area in AREAS]
            known = [area for area in areas if area is not None]
            assert len(known) == 8
            assert official[group][name]["score"] == pytest.approx(len(known) / sum(1 / area for area in known))
            assert official[group][name]["machines"] == 3


def test_summary_json_has_every_machines_verdict_and_headline(
    summary: Path, metrics: dict[str, dict[str, Any]]
) -> None:
    machines = json.loads((summary / "summary.json").read_text())["machines"]
    assert list(machines) == ["fan", "ToyCar", "valve"]
    assert machines["fan"]["verdict"]["passed"] and not machines["valve"]["verdict"]["passed"]
    assert machines["ToyCar"]["verdict"] is None
    for machine, values in metrics.items():
        for name in ALL_SYSTEMS:
            found = machines[machine]["systems"][name]
            assert found == {key: values["systems"][name][key] for key in ("hmean", *AREAS)}


def test_each_machine_has_its_folder(summary: Path) -> None:
    assert sorted(path.name for path in summary.iterdir()) == [
        "ToyCar",
        "fan",
        "report.html",
        "summary.json",
        "valve",
    ]
    assert (summary / "fan" / "knn-feature" / "scores.csv").read_text() == "a.wav,1\n"
    assert json.loads((summary / "fan" / "verdict.json").read_text())["passed"] is True
    assert not (summary / "ToyCar" / "verdict.json").exists()


def test_the_page_has_a_row_a_machine(summary: Path, metrics: dict[str, dict[str, Any]]) -> None:
    page = Page(summary / "report.html")
    assert "1 of 3 passed the gate: fan." in page.text
    assert "valve is refused <for a reason>" in page.text
    assert "ToyCar no verdict" in page.text
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    assert links == ["fan/report.html", "valve/report.html"]
    assert all((summary / (link or "")).is_file() for link in links)
    widths = [attrs["style"] for tag, attrs in page.tags if (attrs.get("class") or "").startswith("fill")]
    assert len(widths) == 3 * 8
    for name in ("fused", "knn-feature"):
        assert f"width: {100 * metrics['fan']['systems'][name]['hmean']:.1f}%" in widths
    official = json.loads((summary / "summary.json").read_text())["official"]
    assert page.row("mel-statistics") == [f"{100 * official['controls']['mel-statistics']['score']:.1f}", "3"]
    assert all(source.startswith("data:") for source in page.sources())


def test_a_blind_machine_counts_in_no_score(tmp_path: Path) -> None:
    blind, seen = make_metrics("fan", 3), make_metrics("valve", 4)
    for values in (*blind["systems"].values(), *blind["controls"].values()):
        values.update(dict.fromkeys((*AREAS, "hmean")))
    folders = [make_evaluation(tmp_path / values["machine_type"], values) for values in (blind, seen)]
    write_summary(folders, [], tmp_path / "out")
    official = json.loads((tmp_path / "out" / "summary.json").read_text())["official"]["systems"]["lof-score"]
    assert official["score"] == pytest.approx(seen["systems"]["lof-score"]["hmean"])
    assert official["machines"] == 1
    write_summary(folders[:1], [], tmp_path / "blind")
    assert Page(tmp_path / "blind" / "report.html").row("lof-score") == [DASH, "0"]


def test_writing_again_replaces(tmp_path: Path, metrics: dict[str, dict[str, Any]]) -> None:
    folder = make_evaluation(tmp_path / "evaluation", metrics["fan"])
    write_summary([folder], [make_verdict(tmp_path / "v.json", "fan", passed=True)], tmp_path / "out")
    (folder / "knn-feature" / "scores.csv").unlink()
    write_summary([folder], [], tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out" / "fan").iterdir()) == [
        "knn-feature",
        "metrics.json",
        "report.html",
    ]
    write_summary([tmp_path / "out" / "fan"], [], tmp_path / "out")  # from its own copy
    assert (tmp_path / "out" / "fan" / "metrics.json").is_file()


def _refused(evaluations: list[Path], verdicts: list[Path], out: Path) -> str:
    with pytest.raises(MasdError) as raised:
        write_summary(evaluations, verdicts, out)
    assert "\n" not in str(raised.value)
    assert not (out / "summary.json").exists()
    return str(raised.value)


def test_what_does_not_fit_together_is_refused_in_one_line(tmp_path: Path) -> None:
    out, fan = tmp_path / "out", make_evaluation(tmp_path / "fan", make_metrics("fan", 0))
    again = make_evaluation(tmp_path / "again", make_metrics("fan", 1))
    assert "no evaluation to summarise" in _refused([], [], out)
    assert "both evaluations of fan" in _refused([fan, again], [], out)
    assert "cannot read" in _refused([tmp_path / "nowhere"], [], out)
    assert "is inside the evaluation" in _refused([fan], [], fan / "summary")
    stray = make_verdict(tmp_path / "v.json", "valve", passed=True)
    assert "a verdict on valve, but there is no evaluation of this machine" in _refused([fan], [stray], out)
    (tmp_path / "v.json").write_text('{"machine_type": "fan"}')
    assert "has no passed, decision, sentence" in _refused([fan], [stray], out)
    (tmp_path / "v.json").write_text("[]")
    assert "is not a JSON object" in _refused([fan], [stray], out)


@pytest.mark.parametrize("name", ["../up", "a/b", "", "..", ".hidden", 7])
def test_a_machine_name_that_leaves_the_folder_is_refused(tmp_path: Path, name: object) -> None:
    metrics = make_metrics("fan", 0) | {"machine_type": name}
    folder = make_evaluation(tmp_path / "evaluation", metrics)
    assert "cannot name a folder" in _refused([folder], [], tmp_path / "out")
