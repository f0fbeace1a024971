# Fits, evaluates and exports: everything, with torch.
#
#   docker build -f deploy/container/fit.Dockerfile -t anomalib-lite-fit .
#   docker run --rm --network none -v "$PWD/photos:/photos:ro" -v "$PWD/models:/models" \
#       anomalib-lite-fit fit /photos/good --out /models/part.safetensors
#
# torch's default wheel for Linux brings CUDA. For its CPU build give the package index that
# PyTorch's start page names for it: --build-arg TORCH_INDEX=...
ARG PYTHON=3.13
FROM python:${PYTHON}-slim
ARG TORCH_INDEX=""
ENV PATH=/opt/anomalib-lite/bin:$PATH PYTHONDONTWRITEBYTECODE=1 ORT_DISABLE_TELEMETRY=1
# Before the sources: torch is the large part, and stays when only they change.
RUN python -m venv /opt/anomalib-lite \
 && pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY anomalib_lite ./anomalib_lite
RUN pip install --no-cache-dir -c constraints.txt ".[train,openvino]" \
 && useradd --uid 10001 --create-home --shell /usr/sbin/nologin fitter \
 && install -d -o fitter -g fitter /models
USER fitter
WORKDIR /models
STOPSIGNAL SIGTERM
ENTRYPOINT ["anomalib-lite"]
CMD ["--help"]
