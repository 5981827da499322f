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
  container=$("$DOCKER" create "masd/$target:$version")
  rm -rf "$WORK/environment"
  mkdir "$WORK/environment"
  "$DOCKER" cp "$container:/opt/masd" - | tar -x -C "$WORK/environment" --wildcards \
    'masd/pyvenv.cfg' 'masd/bin/python*' '*.dist-info/*'
  "$DOCKER" rm "$container" > /dev/null
  # The environment is one of files now: its interpreter is this machine's, its packages are the image's.
  ln -sf "$(command -v python3.11)" "$WORK/environment/masd/bin/python"
  "$WORK/tools/bin/cyclonedx-py" environment --output-reproducible --outfile "$out/sbom-$target.json" \
    "$WORK/environment/masd/bin/python"
  rm -rf "$WORK/environment"
  echo "$out/sbom-$target.json: $(grep -c '"bom-ref"' "$out/sbom-$target.json") components"
done
