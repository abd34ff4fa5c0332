#!/usr/bin/env bash
# Makes soundtracks for a list of videos, a part of it in each task of an array.
# From the repository:
#   sbatch --array=0-31 launch/slurm/batch.sh [OPTION of v2meow batch...]
#SBATCH --job-name=v2meow-batch --output=v2meow-batch-%A-%a.log
#SBATCH --open-mode=append --requeue
#SBATCH --ntasks=1 --gpus=1 --cpus-per-task=8
# Five minutes before the end the batch gets SIGTERM, not this shell.
#SBATCH --time=24:00:00 --signal=TERM@300
MANIFEST=${MANIFEST:-clips.jsonl}  # EDIT: .jsonl, .csv or folder of videos
OUT=${OUT:-music}                  # EDIT: a shared folder, or gs://...
set -uo pipefail
cd "${SLURM_SUBMIT_DIR:-$(dirname "$0")/../..}" || exit
export PATH=$PATH:$PWD/.venv/bin

srun --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" \
  v2meow batch "$MANIFEST" -o "$OUT" "$@"
code=$?
if [ "$code" = 75 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
