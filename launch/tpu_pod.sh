#!/usr/bin/env bash
# Train on a TPU pod slice from your own machine; every host of the slice runs the same command.
# Usage: launch/tpu_pod.sh [extra flags, e.g. --config.seed=1]   Change the next five lines.
set -euo pipefail
TPU=darkjax                          # name of an existing TPU VM slice
ZONE=us-central2-b
SHARED=/mnt/shared                   # records and runs, the same folder on every host,
MOUNT="sudo mount 10.0.0.2:/share"   # mounted there by this (here: Filestore)
CONFIG="--config=configs/lift_arid.py:unfrozen --config.data.dir=$SHARED/records/arid"

cd "$(dirname "${BASH_SOURCE[0]}")/.."
git archive --format=tar.gz --output=/tmp/darkjax.tar.gz HEAD

gcloud compute tpus tpu-vm scp /tmp/darkjax.tar.gz "$TPU:" --zone="$ZONE" --worker=all

gcloud compute tpus tpu-vm ssh "$TPU" --zone="$ZONE" --worker=all --command="
  set -e
  mkdir -p darkjax && tar -xzf darkjax.tar.gz -C darkjax && cd darkjax
  python3 -m venv .venv && .venv/bin/python -m pip install -q -e '.[tpu,tensorboard]'
  sudo mkdir -p $SHARED && (mountpoint -q $SHARED || $MOUNT $SHARED)"

# argument-free --distributed: JAX asks the TPU's metadata server who is who
gcloud compute tpus tpu-vm ssh "$TPU" --zone="$ZONE" --worker=all --command="
  cd darkjax && .venv/bin/python -m darkjax.main \
    $CONFIG --workdir=$SHARED/runs/lift_arid --distributed $*"
