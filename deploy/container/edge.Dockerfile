# Judges frames: the base install (numpy, OpenCV, ONNX Runtime), no torch, no compiler, no pip.
#
#   docker build -f deploy/container/edge.Dockerfile -t anomalib-lite .
#   docker run --rm --network none --read-only --tmpfs /tmp \
#       -v "$PWD/part.onnx:/part.onnx:ro" -v "$PWD/frames:/frames:ro" -v "$PWD/today:/results" \
#       anomalib-lite score /part.onnx /frames --out /results --report
#
# With OpenVINO as well: --build-arg EXTRAS=[openvino]
ARG PYTHON=3.13
FROM python:${PYTHON}-slim AS build
ARG EXTRAS=""
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY anomalib_lite ./anomalib_lite
RUN python -m venv --without-pip /opt/anomalib-lite \
 && pip --python /opt/anomalib-lite/bin/python install --no-cache-dir -c constraints.txt ".${EXTRAS}"

FROM python:${PYTHON}-slim
COPY --from=build /opt/anomalib-lite /opt/anomalib-lite
ENV PATH=/opt/anomalib-lite/bin:$PATH PYTHONDONTWRITEBYTECODE=1 ORT_DISABLE_TELEMETRY=1
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin judge \
 && install -d -o judge -g judge /results
USER judge
STOPSIGNAL SIGTERM
ENTRYPOINT ["anomalib-lite"]
CMD ["--help"]
