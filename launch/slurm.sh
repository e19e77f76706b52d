#!/usr/bin/env bash
# Train under Slurm with one process per GPU.
# Usage, from the project's folder: sbatch launch/slurm.sh [extra flags, e.g. --config.seed=1]
#SBATCH --job-name=darkjax
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.log
set -euo pipefail
SHARED=/shared    # a folder that all nodes see, with the records and the runs

# argument-free --distributed: JAX reads Slurm's variables and gives the process with local
# number i the GPU i, so every process must see all GPUs of its node (--gpu-bind=none).
srun --gpu-bind=none .venv/bin/python -m darkjax.main \
  --config=configs/lift_arid.py:unfrozen --config.data.dir="$SHARED/records/arid" \
  --workdir="$SHARED/runs/lift_arid" --distributed "$@"
