#!/usr/bin/env bash
# images.sh: build masd/pipeline and masd/serve with the tag of the version, and say how large they are.
# TORCH_INDEX, where set, goes to both builds (see the Dockerfile). WORK keeps what is made on the way.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
WORK=${WORK:-${TMPDIR:-/tmp}/masd-containers}
mkdir -p "$WORK"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
revision=$(git rev-parse HEAD 2> /dev/null || echo unknown)
options=(--build-arg "REVISION=$revision")
if [ -n "${TORCH_INDEX+set}" ]; then options+=(--build-arg "TORCH_INDEX=$TORCH_INDEX"); fi

if [ -z "${DOCKER:-}" ]; then # called by itself: with an engine for as long as this takes
  # shellcheck source=tests/containers/engine.sh
  . "$here/engine.sh"
  trap 'stop_engine; [ -z "${wheels_pid:-}" ] || kill "$wheels_pid"' EXIT
  start_engine
else
  trap '[ -z "${wheels_pid:-}" ] || kill "$wheels_pid"' EXIT
fi

if ! "$DOCKER" image inspect python:3.11-slim > /dev/null 2>&1 && ! "$DOCKER" pull --quiet python:3.11-slim; then
  echo "== python:3.11-slim cannot be pulled: making it from Debian's packages"
  "$here/base_image.sh" "$WORK/base" 18765
fi
if "$DOCKER" image inspect debian-python:bookworm > /dev/null 2>&1; then
  # Our own base: builds find what pip on this machine finds.
  python3 "$here/local_wheels.py" --serve 18765 &
  wheels_pid=$!
  options+=(--network host)
fi
for target in pipeline serve; do
  echo "== $target"
  "$DOCKER" build --target "$target" --tag "masd/$target:$version" "${options[@]}" .
  "$DOCKER" history --format '{{.Size}}\t{{.CreatedBy}}' "masd/$target:$version" | grep -v '^0B' | cut -c1-100
done
"$DOCKER" images --format '{{.Repository}}:{{.Tag}}\t{{.Size}}' | grep '^masd/'
