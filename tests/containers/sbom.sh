#!/usr/bin/env bash
# sbom.sh OUT: a CycloneDX bill of materials of each image's Python environment, OUT/sbom-<target>.json.
# Read from the image by a tool that is not in it, so that the image needs none.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$1
cd "$here/../.."
WORK=${WORK:-${TMPDIR:-/tmp}/masd-containers}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
if [ -z "${DOCKER:-}" ]; then
  # shellcheck source=tests/containers/engine.sh
  . "$here/engine.sh"
  trap stop_engine EXIT
  start_engine
fi
mkdir -p "$out" "$WORK"
if [ ! -x "$WORK/tools/bin/cyclonedx-py" ]; then
  python3.11 -m venv "$WORK/tools"
  "$WORK/tools/bin/pip" install --quiet 'cyclonedx-bom>=7,<8'
fi
for target in pipeline serve; do
  rm -rf "$WORK/environment"
  mkdir -p "$WORK/environment/bin"
  # What packages say of themselves, below an interpreter of this machine: an environment for the tool to read.
  "$DOCKER" run --rm --network none --entrypoint sh "masd/$target:$version" -c \
    'cd /opt/masd && tar -cf - pyvenv.cfg lib/python3.11/site-packages/*.dist-info' | tar -x -C "$WORK/environment"
  ln -s "$(readlink -f "$WORK/tools/bin/python")" "$WORK/environment/bin/python"
  "$WORK/tools/bin/cyclonedx-py" environment --output-reproducible --output-file "$out/sbom-$target.json" \
    "$WORK/environment/bin/python"
  rm -rf "$WORK/environment"
  echo "$out/sbom-$target.json: $(grep -c '"bom-ref"' "$out/sbom-$target.json") components"
done
