# Sourced: sets DOCKER_HOST and DOCKER so that a Docker engine with BuildKit answers, and starts one where none does.
# WORK is the folder of an engine of our own; stop_engine ends it, and keeps its images for the next run.

engine_pid=

start_engine() {
  DOCKER=docker
  # A client on the PATH may lack BuildKit; the distribution's own has it.
  if ! docker buildx version > /dev/null 2>&1 && [ -x /usr/bin/docker ]; then DOCKER=/usr/bin/docker; fi
  export DOCKER DOCKER_BUILDKIT=1
  if "$DOCKER" version > /dev/null 2>&1; then return; fi
  command -v dockerd > /dev/null || { echo "no Docker engine answers and there is no dockerd to start" >&2; return 1; }
  mkdir -p "$WORK/engine"
  export DOCKER_HOST=unix://$WORK/engine/docker.sock
  dockerd --host "$DOCKER_HOST" --data-root "$WORK/engine/data" --exec-root "$WORK/engine/exec" \
    --pidfile "$WORK/engine/docker.pid" > "$WORK/engine/log" 2>&1 &
  engine_pid=$!
  for _ in $(seq 60); do
    if "$DOCKER" version > /dev/null 2>&1; then return; fi
    kill -0 "$engine_pid" 2> /dev/null || break
    sleep 1
  done
  echo "dockerd did not start; the end of $WORK/engine/log:" >&2
  tail -5 "$WORK/engine/log" >&2
  return 1
}

stop_engine() {
  if [ -n "$engine_pid" ]; then kill "$engine_pid" && wait "$engine_pid" || true; fi
}
