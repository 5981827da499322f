"""``masd agent``: the model agent, and the shipping of the inference log, beside a TorchServe somebody else started."""

import threading
from contextlib import ExitStack
from pathlib import Path

from masd.registry.registry import Registry
from masd.storage.opening import open_store
from serving.agent import PROBE_SECONDS, ModelAgent
from serving.background import in_background, set_by_signals
from serving.client import ScoringClient
from serving.front.proxy import Front, listening
from serving.log_shipper import FINAL_SECONDS, LogShipper, check_writable
from serving.torchserve.management import Management


def run_agent(
    registry: Registry,
    model_store: Path,
    *,
    management_url: str,
    inference_url: str,
    probe_host: str = "127.0.0.1",
    probe_port: int = 0,
    poll_seconds: float = 10.0,
    log_folder: Path | None = None,
    log_url: str | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Follow the production pointers until SIGTERM, SIGINT or ``stop``.

    ``model_store`` is a folder that TorchServe reads too; its model API has to be enabled. ``GET /ready`` at the probe
    address answers 200 while every machine in production has a version that has scored a clip.

    :raises MasdError: a port or an address that cannot be used, or a folder of the log that cannot be written.
    """
    check_writable(log_folder, log_url)
    stop = stop or threading.Event()
    with ExitStack() as running:
        running.enter_context(set_by_signals(stop))
        management = Management(management_url)
        client = ScoringClient(inference_url, PROBE_SECONDS, retries=0)
        running.callback(management.close)
        running.callback(client.close)
        agent = ModelAgent(registry, management, client, model_store)
        running.enter_context(listening(Front(agent.status), probe_host, probe_port, "--probe-port"))
        if log_url is not None and log_folder is not None:
            running.enter_context(in_background(LogShipper(log_folder, open_store(log_url)).run, FINAL_SECONDS))
        agent.run(poll_seconds, stop)
