#!/usr/bin/env bash
# Trains on a Cloud TPU slice: the same command on each of its hosts.
#
#   TPU=my-v5e-256 ZONE=us-west4-a launch/tpu.sh --config=configs/resnet50.py \
#     --workdir=/mnt/shared/runs/resnet50
#
# Each host has this repository in ~/wae-jax (or $FOLDER) with requirements-tpu.txt installed;
# workdir and data are on a disk of all hosts (Filestore, say). JAX finds the other hosts by itself.
# The same command again goes on from the last checkpoint.
set -euo pipefail
: "${TPU:?usage: TPU=NAME ZONE=ZONE launch/tpu.sh --config=... --workdir=...}"
: "${ZONE:?usage: TPU=NAME ZONE=ZONE launch/tpu.sh --config=... --workdir=...}"
command="cd ${FOLDER:-wae-jax} && python3 train.py$(printf ' %q' "$@")"
exec gcloud compute tpus tpu-vm ssh "$TPU" --zone="$ZONE" --worker=all --command="$command"
