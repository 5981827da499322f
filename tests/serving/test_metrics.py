"""What a worker's counts become, through TorchServe's own metrics cache."""

import logging
import re
from dataclasses import replace
from pathlib import Path

import pytest
from clip_score import SCORE
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl

from serving.worker.metrics import BatchMetrics, declarations


@pytest.fixture
def told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> "list[str]":
    """Tells one batch; the lines TorchServe would read, without host and time."""
    (tmp_path / "metrics.yaml").write_text(declarations(), encoding="utf-8")
    cache = MetricsCacheYamlImpl(str(tmp_path / "metrics.yaml"))
    cache.initialize_cache()
    cache.model_name, cache.request_ids = "fan", {0: "request"}
    metrics = BatchMetrics()
    with metrics.stage("decode"):
        pass
    metrics.scored([SCORE, replace(SCORE, score=0.2), replace(SCORE, score=0.7, threshold=-1.0)])
    metrics.rejected("undecodable")
    metrics.log(0, 123)
    with caplog.at_level(logging.INFO):
        metrics.tell(cache)
    lines = [record.getMessage() for record in caplog.records if "[METRICS]" in record.getMessage()]
    assert all(" " not in line for line in lines), "an error of the cache is a sentence"
    return [re.sub(r"\|#hostname.*", "", line) for line in lines]


def test_counters_are_summed_over_the_batch_and_nothing_is_said_of_zero(told: list[str]) -> None:
    labels = "ModelName:fan,Level:Model|#type:COUNTER"
    assert {line for line in told if "COUNTER" in line} == {
        f"[METRICS]masd_clips_total.Count:2|#ModelVersion:3,Decision:anomalous,{labels}",
        f"[METRICS]masd_clips_total.Count:1|#ModelVersion:3,Decision:normal,{labels}",
        f"[METRICS]masd_clip_seconds_total.Count:30.0|#ModelVersion:3,{labels}",
        f"[METRICS]masd_rejects_total.Count:1|#Reason:undecodable,{labels}",
    }


def test_a_score_is_told_as_a_multiple_of_its_threshold(told: list[str]) -> None:
    ratios = [float(line.split(":")[1].split("|")[0]) for line in told if "masd_score_to_threshold" in line]
    assert ratios == pytest.approx([1.25, 0.5])  # no score is a multiple of a negative threshold
    assert next(line for line in told if "masd_stage_seconds" in line).endswith(
        "|#Stage:decode,ModelName:fan,Level:Model|#type:HISTOGRAM"
    )
    assert "[METRICS]masd_log_waiting_bytes.Count:123|#ModelName:fan,Level:Model|#type:GAUGE" in told
