#!/usr/bin/env bash
# run.sh: everything about containers that needs a Docker engine. WORK keeps the engine, the base image and the tools
# for a next run. MASD_RECORDINGS=DIR runs the pipelines on recorded machines. Both images get the CPU build of PyTorch;
# TORCH_INDEX= takes it from where pip finds it by itself.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
export WORK=${WORK:-${TMPDIR:-/tmp}/masd-containers} DO_NOT_TRACK=1
python=${PYTHON:-.venv/bin/python}
# shellcheck source=tests/containers/engine.sh
. "$here/engine.sh"
trap stop_engine EXIT
mkdir -p "$WORK"
start=$SECONDS
step() { echo "== $((SECONDS - start)) s: $*"; }

step "lint the Dockerfile"
"$(dirname "$python")/hadolint" Dockerfile
step "manifests"
"$python" -m pytest -q tests/k8s/test_manifests.py
step "a Docker engine"
start_engine
step "build both images"
TORCH_INDEX=${TORCH_INDEX-https://download.pytorch.org/whl/cpu} "$here/images.sh"
step "bills of materials"
"$here/sbom.sh" "$WORK/sbom"
step "run them"
"$python" -m pytest -q -s "$here/checks.py"
step "done"
