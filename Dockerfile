# wae-jax in a container, for CPU:
#     docker build -t wae-jax .
# for NVIDIA GPUs (drivers with CUDA 13, NVIDIA Container Toolkit):
#     docker build -t wae-jax:cuda --build-arg REQUIREMENTS=requirements-cuda.txt .
FROM python:3.12-slim-bookworm
ARG REQUIREMENTS=requirements.txt
ENV PYTHONUNBUFFERED=1

WORKDIR /source
COPY requirements.txt requirements-cuda.txt ./
RUN pip install --no-cache-dir --require-hashes -r "$REQUIREMENTS"
COPY pyproject.toml README.md LICENSE ./
COPY wae_jax wae_jax
RUN pip install --no-cache-dir --no-deps .

# A folder that any user may write to: `docker run --user` keeps the files of a mounted one yours.
RUN useradd --no-create-home --home-dir /wae --uid 1000 wae && install -d -o wae -m 1777 /wae
ENV HOME=/wae
WORKDIR /wae
COPY configs configs
USER 1000
ENTRYPOINT ["wae-jax"]
CMD ["--help"]
