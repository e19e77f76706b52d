#!/usr/bin/env bash
# A sweep under Slurm as one array job, a run each task; with --table, the table of what is there.
# Usage, from the project's folder (the first line says how many runs there are):
#   launch/slurm_sweep.sh --list
#   job=$(sbatch --parsable --array=0-11 launch/slurm_sweep.sh)
#   sbatch --array=0 --dependency=afterany:$job launch/slurm_sweep.sh --table
#SBATCH --job-name=darkjax-sweep
#SBATCH --array=0-11
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=08:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%A_%a.log
set -euo pipefail
SHARED=/shared    # a folder that all nodes see, with the records and the runs

# A task runs the cell of its SLURM_ARRAY_TASK_ID. Outside a job (--list) there is no srun.
${SLURM_JOB_ID:+srun} .venv/bin/python -m darkjax.tools.sweep \
  --config=configs/lift_arid.py:unfrozen --config.data.dir="$SHARED/records/arid" \
  --seeds=0,1,2 --grid=teacher.optim.lr=1e-4,3e-4 --grid=student.optim.lr=1e-4,3e-4 \
  --workdir="$SHARED/runs/lift_sweep" "$@"
