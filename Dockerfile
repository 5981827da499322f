# Two images from one file:
#   docker build --target pipeline -t masd/pipeline .   training and every other step of a pipeline; CUDA
#   docker build --target serve    -t masd/serve    .   TorchServe with its Java and the model agent; CPU
# Add --build-arg REVISION=$(git rev-parse HEAD): what the image registers then names it. `make images` does.
# TORCH_INDEX is the index that PyTorch comes from beside the default one: empty for PyPI's CUDA build, PyTorch's own
# for the CPU build. Each target has its usual one; --build-arg TORCH_INDEX=... changes it.
ARG PYTHON_IMAGE=python:3.11-slim

# A virtual environment without pip: what installs into it stays behind in this stage.
FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN python3 -m venv --without-pip /opt/masd
# Dependencies follow from these two files alone, so that a change of code does not install them again.
COPY pyproject.toml constraints.txt ./
RUN mkdir masd components pipelines serving && touch README.md LICENSE

FROM build AS pipeline-dependencies
ARG TORCH_INDEX=
RUN python3 -m pip --python /opt/masd/bin/python install -c constraints.txt \
      ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} torch torchaudio
RUN python3 -m pip --python /opt/masd/bin/python install -c constraints.txt \
      torch-model-archiver ".[pipelines,monitoring,s3]" \
 && python3 -m pip --python /opt/masd/bin/python uninstall --yes masd

FROM build AS serve-dependencies
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN python3 -m pip --python /opt/masd/bin/python install -c constraints.txt \
      ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} torch torchaudio
RUN python3 -m pip --python /opt/masd/bin/python install -c constraints.txt ".[serving,s3]" \
 && python3 -m pip --python /opt/masd/bin/python uninstall --yes masd

FROM build AS code
COPY . .
RUN python3 -m pip --python /opt/masd/bin/python install --no-deps --prefix /code .

FROM ${PYTHON_IMAGE} AS run
# A number, because Kubernetes cannot see that a name is not root. The home of any user is the one writable folder.
ENV PATH=/opt/masd/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MPLCONFIGDIR=/tmp/matplotlib \
    DO_NOT_TRACK=1 \
    ORT_DISABLE_TELEMETRY=1
USER 65532:65532
WORKDIR /tmp
LABEL org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.vendor="masd"

FROM run AS pipeline
LABEL org.opencontainers.image.title="masd pipeline" \
      org.opencontainers.image.description="Trains, judges and packages models for machine anomalous sound detection"
COPY --from=pipeline-dependencies /opt/masd /opt/masd
COPY --from=code /code /opt/masd
ARG REVISION=unknown
ENV MASD_REVISION=${REVISION}
LABEL org.opencontainers.image.revision="${REVISION}"
# A step runs and ends: its exit status is its health. No entry point, because Kubeflow brings the whole command.
HEALTHCHECK NONE
CMD ["masd", "--help"]

FROM run AS serve
LABEL org.opencontainers.image.title="masd serve" \
      org.opencontainers.image.description="Serves models for machine anomalous sound detection with TorchServe"
COPY --from=serve-dependencies /opt/masd /opt/masd
COPY --from=code /code /opt/masd
ARG REVISION=unknown
ENV MASD_REVISION=${REVISION}
LABEL org.opencontainers.image.revision="${REVISION}"
EXPOSE 8080
# As the probes of a cluster do: /ready is answered without the token.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
  CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/ready', timeout=4)"]
ENTRYPOINT ["masd"]
CMD ["serve", "--registry", "/registry", "--host", "0.0.0.0", "--auth", "static"]
