#!/usr/bin/env bash
# Trains the tiny system from scratch, on two cores in about three hours.
# Every step resumes, or is skipped when done: after a stop, run it again.
# usage: bash launch/train_tiny_system.sh [WORK_DIR [OUT]]
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/venv.sh
install_venv '[train]'
work=${1:-runs/tiny_system}
out=${2:-v2meow_jax/assets/tiny_system}
manifest=$work/world/manifest.jsonl
contrary=$work/contrary/manifest.jsonl
free=$work/free/manifest.jsonl
source launch/training.sh

# A world whose pictures match the genre, and one where only the style does.
"$v2meow" data synth "$work/world" --num 800 --seed 1 --seconds 12 --workers 2
"$v2meow" data synth "$work/contrary" --num 800 --seed 2 --seconds 12 \
  --surprise 1 --workers 2
# Music of any tempo, with plans of it: what a plan means, whatever the picture.
"$v2meow" data synth "$work/free" --num 900 --seed 5 --seconds 12 --workers 2 \
  --freedom 1 --sound_only
[ -f "$work/features.safetensors" ] ||
  "$v2meow" data fit "$manifest" -o "$work/features.safetensors" --num 160
# With both worlds, the style embedding cannot rely on tempo alone.
train style --gin_file=style.gin --gin.MANIFEST="['$manifest', '$contrary']" \
  --gin.FEATURES="'$work/features.safetensors'"
train codec --gin_file=codecs/tiny.gin --gin.MANIFEST="'$manifest'"
networks=(--features "$work/features.safetensors" --style "$work/style"
  --codec "$work/codec")
prepare() { # MANIFEST NAME FLAG...
  local from=$1 to=$work/data/$2
  shift 2
  [ -d "$to" ] || "$v2meow" data prepare "$from" "$to" "$@" \
    -- --direct_num_workers=2 --direct_running_mode=multi_processing
}
prepare "$manifest" synthetic "${networks[@]}"
prepare "$contrary" contrary "${networks[@]}"
prepare "$free" free --gin_file=prepare/planned.gin \
  --gin.FEATURES="'$work/features.safetensors'" \
  --gin.STYLE_WEIGHTS="'$work/style'"
train semantic --gin_file=stages/semantic.gin --gin_file=tiny.gin \
  --gin.TRAIN_STEPS=2500
# Goes on with a plan beside the picture.
train planned --gin_file=stages/semantic.gin --gin_file=tiny.gin \
  --gin_file=planned.gin --gin.WARM_START="'$work/semantic'"
train coarse --gin_file=stages/coarse_encoder.gin --gin_file=tiny.gin
train fine --gin_file=stages/fine_encoder.gin --gin_file=tiny.gin \
  --gin.TRAIN_STEPS=1500
"$v2meow" export "$out" --name tiny "${networks[@]}" \
  --licence 'Apache-2.0, trained by this repository on synthetic data' \
  --stages "$work/planned" "$work/coarse" "$work/fine" --temperature 0.7 0.4 0.4
