#!/usr/bin/env bash
# Trains the embedded default from scratch, on two cores in under three hours.
# Every step resumes, or is skipped when done: after a stop, run it again.
# usage: bash launch/train_tiny_system.sh [WORK_DIR [OUT]]
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/venv.sh
install_venv '[train]'
work=${1:-runs/tiny_system}
out=${2:-v2meow_jax/assets/tiny_system}
v2meow=.venv/bin/v2meow
manifest=$work/world/manifest.jsonl
contrary=$work/contrary/manifest.jsonl
export V2MEOW_DATA_DIR=$work/data

train() { # NAME FLAG...
  local name=$1
  shift
  "$v2meow" train --gin_file=runs/train.gin "$@" \
    --gin.MODEL_DIR="'$work/$name'" --gin.loop.train.save_every=250
}

# A world whose pictures match the genre, and one where only the style does.
"$v2meow" data synth "$work/world" --num 800 --seed 1 --seconds 12 --workers 2
"$v2meow" data synth "$work/contrary" --num 800 --seed 2 --seconds 12 \
  --surprise 1 --workers 2
[ -f "$work/features.safetensors" ] ||
  "$v2meow" data fit "$manifest" -o "$work/features.safetensors" --num 160
# With both worlds, the style embedding cannot rely on tempo alone.
train style --gin_file=style.gin --gin.MANIFEST="['$manifest', '$contrary']" \
  --gin.FEATURES="'$work/features.safetensors'"
train codec --gin_file=codecs/tiny.gin --gin.MANIFEST="'$manifest'"
networks=(--features "$work/features.safetensors" --style "$work/style"
  --codec "$work/codec")
prepare() { # MANIFEST NAME
  [ -d "$work/data/$2" ] ||
    "$v2meow" data prepare "$1" "$work/data/$2" "${networks[@]}" \
      -- --direct_num_workers=2 --direct_running_mode=multi_processing
}
prepare "$manifest" synthetic
prepare "$contrary" contrary
train semantic --gin_file=stages/semantic.gin --gin_file=tiny.gin \
  --gin.TRAIN_STEPS=2500
train coarse --gin_file=stages/coarse_encoder.gin --gin_file=tiny.gin
train fine --gin_file=stages/fine_encoder.gin --gin_file=tiny.gin \
  --gin.TRAIN_STEPS=1500
"$v2meow" export "$out" --name tiny "${networks[@]}" \
  --stages "$work/semantic" "$work/coarse" "$work/fine"
