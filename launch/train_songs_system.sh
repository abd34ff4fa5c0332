#!/usr/bin/env bash
# Trains `songs`, the system that plays plans, on two cores in about two and a half
# hours. Every step resumes, or is skipped when done: after a stop,
# run it again. Wants a bank of instruments (docs/songs.md).
# usage: bash launch/train_songs_system.sh [WORK_DIR [OUT]]
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/venv.sh
install_venv '[train]'
work=${1:-runs/songs_system}
out=${2:-v2meow_jax/assets/songs_system}
songs=$work/songs/manifest.jsonl
source launch/training.sh

"$v2meow" data synth "$work/songs" --world songs --num 1200 --seconds 60 \
  --seed 1 --workers 2
# Pictures are none of this system's: they are fitted for the sake of the file.
"$v2meow" data synth "$work/world" --num 200 --seconds 10 --seed 0 --workers 2
[ -f "$work/features.safetensors" ] ||
  "$v2meow" data fit "$work/world/manifest.jsonl" --sounds "$songs" \
    -o "$work/features.safetensors" --num 120
train style --gin_file=style.gin --gin.MANIFEST="'$songs'" \
  --gin.FEATURES="'$work/features.safetensors'"
train sines --gin_file=codecs/sines.gin --gin.MANIFEST="'$songs'"
networks=(--gin_file=prepare/muvi_songs.gin
  --gin.LATENT_WEIGHTS="'$work/sines'"
  --gin.FEATURES="'$work/features.safetensors'")
[ -d "$work/data/muvi_songs" ] ||
  "$v2meow" data prepare "$songs" "$work/data/muvi_songs" "${networks[@]}" \
    --gin.STYLE_WEIGHTS="'$work/style'" \
    -- --direct_num_workers=2 --direct_running_mode=multi_processing
train music --gin_file=systems/muvi/songs.gin
# Prompts in words that no caption has, for the styles that the music has learnt.
train style_synonyms --gin_file=style_synonyms.gin \
  --gin.STYLE_WEIGHTS="'$work/style'"
"$v2meow" export "$out" --name songs --stages "$work/music" "${networks[@]}" \
  --licence 'Apache-2.0, trained by this repository on synthetic data' \
  --gin.STYLE_WEIGHTS="'$work/style_synonyms'" --gin.SYNONYMS=True
