"""What follows from a verdict follows from its fields: the same happens when every sentence of the gate is reworded."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_bundle import write_fake_bundle

from masd.config import GateSettings, Settings
from masd.data.data_sets import fingerprint
from masd.detection.controls import CONTROLS
from masd.evaluation.comparison import Contender
from masd.evaluation.gate import GateVerdict, decide
from masd.evaluation.gate_texts import GATE_TEXTS
from masd.lifecycle import retraining
from masd.lifecycle.retraining import HELD_BACK, HeldBack, worth_training
from masd.registry.registry import Registry
from pipelines.cluster.submit import verdicts
from serving.package import package

EVENTS = {"good": "promote", "good, but a person has to approve": "ask", "bad": "refuse", "broken": "refuse"}


@pytest.fixture
def reworded(monkeypatch: pytest.MonkeyPatch) -> None:
    for number, name in enumerate(GATE_TEXTS):
        monkeypatch.setitem(GATE_TEXTS, name, f"<text {number}>")


def _judge(case: str) -> GateVerdict:
    rng = np.random.default_rng(0)
    groups = [(domain, condition) for domain in ("source", "target") for condition in ("normal", "anomaly")] * 20
    frame = pd.DataFrame(groups, columns=["domain", "condition"]).assign(section="00")
    frame["name"] = [f"clip-{number}" for number in range(len(frame))]
    noise, anomaly = rng.normal(size=len(frame)), frame["condition"] == "anomaly"
    frame = frame.assign(**dict.fromkeys(CONTROLS, noise))
    frame["fused"] = np.nan if case == "broken" else noise + (-2.0 if case == "bad" else 2.0) * anomaly
    champion = Contender(dict(zip(frame["name"], noise + 2.0 * anomaly, strict=True)), 1.3)
    settings = GateSettings(bootstrap_samples=20, approval="manual" if "approve" in case else "automatic")
    thresholds = dict.fromkeys(("fused", *CONTROLS), 1.3)
    return decide("fan", frame, "fused", settings, champion, "1", thresholds=thresholds)


@pytest.mark.usefixtures("reworded")
@pytest.mark.parametrize("case", EVENTS)
def test_no_word_of_the_gate_decides_anything(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retraining, "code_version", lambda: "")  # the bundles name no version of masd
    data, registry = tmp_path / "data", str(tmp_path / "registry")
    for name in ("train/a.wav", "test/b.wav"):
        (data / "fan" / name).parent.mkdir(parents=True)
        (data / "fan" / name).write_text("fan")
    models = Registry.open(registry)
    models.promote("fan", models.register(write_fake_bundle(tmp_path / "champion"), metrics={}), reason="first")
    challenger = write_fake_bundle(tmp_path / "challenger", recordings=fingerprint(str(data), ["fan"]))

    verdict = _judge(case)
    assert verdict.sentence.startswith("<text") and verdict.decision == EVENTS[case]
    kinds = [check.kind for check in verdict.checks]
    assert kinds == ([] if case == "broken" else ["chance", "specificity", "baseline", "control", "champion"])
    (tmp_path / "evaluation").mkdir()
    measured = {"machine_type": "fan", "systems": {"fused": {"hmean": 0.8}}}
    (tmp_path / "evaluation" / "metrics.json").write_text(json.dumps(measured))
    (tmp_path / "verdict.json").write_text(json.dumps(asdict(verdict)))
    for _ in range(2):  # the second time as a retried task
        version = package(challenger, tmp_path / "evaluation", tmp_path / "verdict.json", registry, run="run-7")

    promoted = EVENTS[case] == "promote"
    assert models.channel("fan", "production") == ("2" if promoted else "1") and version == "2"
    (record,) = verdicts(registry, ["fan"], "run-7")
    assert record["event"] == record["decision"] == EVENTS[case] and record["decision_reason"] == verdict.reason
    assert verdicts(registry, ["fan"], "run-8") == []
    assert len(models.audit("fan", "promote")) == (2 if promoted else 1)
    again = worth_training(["fan"], ["fan"], str(data), registry, Settings(), tmp_path / "drift")
    assert again == (["fan"] if promoted else [])
    if not promoted:
        held = HeldBack.read(tmp_path / "drift" / "fan" / HELD_BACK)
        assert held.refused is (EVENTS[case] == "refuse")
