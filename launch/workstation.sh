#!/usr/bin/env bash
# Trains on all devices of one machine:
#   bash launch/workstation.sh [FLAG of v2meow train...]
MODEL_DIR=${MODEL_DIR:-runs/semantic}  # EDIT: a folder, or gs://...
STAGE=${STAGE:-stages/semantic.gin}    # EDIT: what to train, below gin/
set -uo pipefail
cd "$(dirname "$0")/.." || exit
export PATH=$PATH:$PWD/.venv/bin

# A signal to this script is passed on, once: the trainer saves and exits with 75.
# A trainer that was stopped by anything else is started again.
stopping=
trap 'stopping=yes; kill -TERM "$trainer"' INT TERM
code=75
while [ "$code" = 75 ] && [ -z "$stopping" ]; do
  v2meow train --gin_file=runs/train.gin --gin_file="$STAGE" \
    --gin.MODEL_DIR="'$MODEL_DIR'" "$@" &
  trainer=$!
  wait "$trainer"
  code=$?
  while kill -0 "$trainer" 2>/dev/null; do # The signal ended only the wait.
    wait "$trainer"
    code=$?
  done
done
exit "$code"
