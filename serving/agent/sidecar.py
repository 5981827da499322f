"""``masd agent``: the model agent, and the shipping of the inference log, beside a TorchServe somebody else started."""

import threading
from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path

from masd.registry.registry import Registry
from masd.storage.opening import open_store
from serving.agent.follower import Plant
from serving.agent.model_agent import ModelAgent
from serving.background import Loops, in_background, set_by_signals
from serving.client import ScoringClient
from serving.front.proxy import Front, listening
from serving.health.status import Health
from serving.health.watch import PROBE_SECONDS, Watch
from serving.log_shipper import FINAL_SECONDS, LogShipper, check_writable
from serving.torchserve.management import KeyFile, Management

LOOP_SECONDS = 0.2
"""For the step that a loop is taking, at the end."""

LOAD_PROBE_SECONDS = 30.0
"""For the first clip of a version that was just loaded."""


def run_agent(
    registry: Registry,
    model_store: Path,
    *,
    management_url: str,
    inference_url: str,
    key_file: Path | None = None,
    probe_host: str = "127.0.0.1",
    probe_port: int = 0,
    machines: Collection[str] | None = None,
    poll_seconds: float = 10.0,
    log_folder: Path | None = None,
    log_url: str | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Follow the production pointers until SIGTERM, SIGINT or ``stop``.

    ``model_store`` is a folder that TorchServe reads too; its model API has to be enabled. ``GET /ready`` at the probe
    address answers 200 while every machine that is served answers. ``machines`` names those of the registry that are, None means all. ``key_file`` has TorchServe's keys, where it asks.

    :raises MasdError: a port or an address that cannot be used, or a folder of the log that cannot be written.
    """
    check_writable(log_folder, log_url)
    stop, health = stop or threading.Event(), Health(Loops(), started=True)
    with ExitStack() as running:
        running.enter_context(set_by_signals(stop))
        keys = KeyFile(key_file, management_url) if key_file is not None else None
        management = Management(management_url, keys.management if keys else None)
        key = keys.inference if keys else None
        client = ScoringClient(inference_url, LOAD_PROBE_SECONDS, token=key, retries=0)
        probing = ScoringClient(inference_url, PROBE_SECONDS, token=key, retries=0)
        for opened in (management, client, probing):
            running.callback(opened.close)
        agent = ModelAgent(Plant(registry, management, client, model_store), health.loops, poll_seconds, machines)
        health.agent = agent
        health.watch = Watch(management, probing, lambda: agent.serving, health.loops)
        running.enter_context(listening(Front(health.status), probe_host, probe_port, "--probe-port"))
        if log_url is not None and log_folder is not None:
            shipping = LogShipper(log_folder, open_store(log_url)).loop()
            health.shipping = running.enter_context(in_background(shipping, health.loops, FINAL_SECONDS))
        running.enter_context(in_background(agent.pointers, health.loops, LOOP_SECONDS))
        running.enter_context(in_background(health.watch.loop(), health.loops, LOOP_SECONDS))
        running.callback(health.stop)
        agent.begin()
        stop.wait()
