#!/usr/bin/env bash
# Trains on GPU nodes under Slurm, a process for each GPU. From the repository:
#   sbatch launch/slurm/train.sh [FLAG of v2meow train...]
#   DRY=1 bash launch/slurm/train.sh FLAG...    two processes on this machine
#SBATCH --job-name=v2meow --output=v2meow-%j.log --open-mode=append --requeue
#SBATCH --nodes=2 --ntasks-per-node=8 --gpus-per-node=8 --cpus-per-task=8
# Five minutes before the end the trainer gets SIGTERM, not this shell or srun,
# which would kill its tasks.
#SBATCH --time=24:00:00 --signal=TERM@300
MODEL_DIR=${MODEL_DIR:-runs/semantic}  # EDIT: a shared folder, or gs://...
STAGE=${STAGE:-stages/semantic.gin}    # EDIT: what to train, below gin/
set -uo pipefail
cd "${SLURM_SUBMIT_DIR:-$(dirname "$0")/../..}" || exit
export PATH=$PATH:$PWD/.venv/bin

if [ -n "${DRY:-}" ]; then
  source launch/slurm/dry.sh
fi
# All tasks exit with 75 together; the first must not end the others.
srun --kill-on-bad-exit=0 --wait=120 \
  --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" \
  v2meow train --gin_file=runs/train.gin --gin_file="$STAGE" \
  --gin.MODEL_DIR="'$MODEL_DIR'" "$@"
code=$?
if [ "$code" = 75 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
