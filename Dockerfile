# syntax=docker/dockerfile:1.7
# Two images that serve a bundle: `cpu` answers from an .onnx file by ONNX Runtime and holds no torch; `cuda` answers
# from a bundle's folder by torch, on NVIDIA GPUs (or a CPU). docs/container.md says how to build and run them.

ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
# A user of its own without a home, a shell or a password; the number is fixed so that mounts can be given to it.
RUN groupadd --system --gid 10001 veriscope \
    && useradd --system --uid 10001 --gid veriscope --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin veriscope

FROM base AS source
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY src ./src

# compileall says 1 of a file for a newer Python, as torch holds one; such a file is never imported.
FROM base AS build-cpu
COPY requirements-onnx.lock /tmp/requirements.lock
RUN python -m venv /opt/veriscope \
    && /opt/veriscope/bin/pip install --require-hashes -r /tmp/requirements.lock
COPY --from=source /source /source
RUN /opt/veriscope/bin/pip install --no-deps /source \
    && { /opt/veriscope/bin/python -m compileall -q /opt/veriscope/lib || true; }

FROM base AS build-cuda
COPY requirements.lock /tmp/requirements.lock
RUN python -m venv /opt/veriscope \
    && /opt/veriscope/bin/pip install --require-hashes -r /tmp/requirements.lock
COPY --from=source /source /source
RUN /opt/veriscope/bin/pip install --no-deps /source \
    && { /opt/veriscope/bin/python -m compileall -q /opt/veriscope/lib || true; }

FROM base AS run
ENV PATH=/opt/veriscope/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000
# Alive: the process answers. Whether it is ready to judge is /readyz, for whoever sends it work.
HEALTHCHECK --interval=15s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["veriscope"]

FROM run AS cuda
COPY --from=build-cuda /opt/veriscope /opt/veriscope
CMD ["serve", "/bundle", "--host", "0.0.0.0", "--port", "8000"]

FROM run AS cpu
COPY --from=build-cpu /opt/veriscope /opt/veriscope
CMD ["serve", "/bundle/model.onnx", "--host", "0.0.0.0", "--port", "8000"]
