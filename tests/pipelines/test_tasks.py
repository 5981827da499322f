"""Tasks as forks: a component's own variables, threads, output and exit code."""

import json
from pathlib import Path

import pytest

from pipelines.local.tasks import EXECUTOR, run_task

SOURCE = """
import os, sys
def work() -> None:
    import torch
    from threadpoolctl import threadpool_info
    pools = {pool["num_threads"] for pool in threadpool_info()}
    print("threads", torch.get_num_threads(), pools, os.environ["OF_THE_TASK"], file=sys.stderr)
    if os.environ["OF_THE_TASK"] == "fails":
        raise SystemExit(5)
"""


@pytest.mark.slow
def test_it_has_its_own_environment_threads_and_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = json.dumps({"inputs": {}, "outputs": {"outputFile": str(tmp_path / "outputs.json")}})
    command = ["sh", "-ec", f"python3 -m {EXECUTOR} ...", SOURCE, "--executor_input", given]
    command += ["--function_to_execute", "work"]
    for threads, kind, code in (("3", "works", 0), ("1", "fails", 5)):
        assert run_task(command, {"OMP_NUM_THREADS": threads, "OF_THE_TASK": kind}) == code
        said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("threads")]
        assert said == [f"threads {threads} {{{threads}}} {kind}"]
