#!/usr/bin/env bash
#SBATCH --job-name=wae-jax
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
# Trains on a SLURM cluster, one process for each GPU; workdir and data are on a disk of all nodes:
#
#   sbatch launch/slurm.sh --config=configs/resnet50.py --workdir=/shared/runs/resnet50
#
# Options of sbatch go before the script: sbatch --nodes=4 launch/slurm.sh ... On CPU nodes take one
# task for each: --ntasks-per-node=1 --gpus-per-node=0.
#
# JAX finds the other processes from what srun says. Two minutes before the time limit each gets
# SIGTERM: they save and end. A job that is preempted, or whose node fails, is queued again
# (--requeue). For runs longer than the limit submit it several times with --dependency=singleton:
# each job goes on where the one before it stopped.
set -euo pipefail
# Where one process ends with an error the others have nothing to wait for.
exec srun --kill-on-bad-exit=1 "${PYTHON:-python}" train.py "$@"
