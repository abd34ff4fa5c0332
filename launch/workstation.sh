#!/usr/bin/env bash
# One machine and all of its devices:
#   bash launch/workstation.sh [FLAG of v2meow train...]
MODEL_DIR=${MODEL_DIR:-runs/semantic}  # EDIT: a folder, or gs://...
STAGE=${STAGE:-stages/semantic.gin}    # EDIT: what to train, below gin/
set -uo pipefail
cd "$(dirname "$0")/.." || exit
export PATH=$PATH:$PWD/.venv/bin

# Told to stop, this script passes it on, once: the trainer saves and ends with
# 75. A trainer that was told by somebody else is started again.
stopping=
trap 'stopping=yes; kill -TERM "$trainer"' INT TERM
code=75
while [ "$code" = 75 ] && [ -z "$stopping" ]; do
  v2meow train --gin_file=runs/train.gin --gin_file="$STAGE" \
    --gin.MODEL_DIR="'$MODEL_DIR'" "$@" &
  trainer=$!
  wait "$trainer"
  code=$?
  while kill -0 "$trainer" 2>/dev/null; do # The signal ended the wait alone.
    wait "$trainer"
    code=$?
  done
done
exit "$code"
