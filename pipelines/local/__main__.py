"""The process that runs a pipeline on this computer: ``python -m pipelines.local ORDER``.

It is a separate process, because ``kfp.local`` changes global state - ``print``, the root logger, its own configuration
- and does not restore all of it when tasks run at the same time. The order is a JSON file, ``{"pipeline": "training" |
"monitoring", "runner": "subprocess" | "docker", "arguments": {...}}``; the outputs of the tasks go beside it.
"""

import json
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

from kfp import local
from kfp.local import docker_task_handler, subprocess_task_handler

from masd.config import Settings
from pipelines.local.containers import run_arguments, run_container
from pipelines.local.tasks import prepare, run_task
from pipelines.monitoring import monitoring_pipeline
from pipelines.placement import on_this_machine
from pipelines.training import training_pipeline


def main() -> int:
    order_file = Path(sys.argv[1]).resolve()
    order = json.loads(order_file.read_text(encoding="utf-8"))
    runner = _runner(order, order_file.parent)
    # kfp leaves a temporary folder behind per task: these go with the steps
    os.environ["TMPDIR"], tempfile.tempdir = str(order_file.parent / "tmp"), None
    warnings.filterwarnings("ignore", module=r"kfp\.local")  # that images and display names mean nothing here
    settings = Settings.from_yaml(order["arguments"]["config"], "config")
    make = {"training": training_pipeline, "monitoring": monitoring_pipeline}[order["pipeline"]]
    pipeline = make(settings, on_this_machine(len(order["arguments"]["machines"])))
    local.init(runner, pipeline_root=str(order_file.parent))
    try:
        pipeline(**order["arguments"])
    except RuntimeError as error:  # a task has failed and said why
        print(error)
        return 1
    return 0


def _runner(order: dict[str, Any], steps: Path) -> local.SubprocessRunner | local.DockerRunner:
    if order["runner"] == "subprocess":
        prepare()
        subprocess_task_handler.run_local_subprocess = run_task
        return local.SubprocessRunner(use_venv=False)
    docker_task_handler.run_docker_container = run_container
    return local.DockerRunner(**run_arguments(order["arguments"], steps))


if __name__ == "__main__":
    sys.exit(main())
