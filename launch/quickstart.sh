#!/usr/bin/env bash
# Makes a first soundtrack on a fresh machine: .venv, a synthetic clip, music.
#   bash launch/quickstart.sh [FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/venv.sh
install_venv ''

out=${1:-out/quickstart}
.venv/bin/v2meow data synth "$out/clip" --num 1 --seed 11 --seconds 10
clip=$(find "$out/clip" -name '*.mp4' | sort | head -n 1)
.venv/bin/v2meow generate "$clip" -o "$out/soundtrack.mp4" --seed 3

echo 'A clip with music that was composed for it by V2Meow:'
echo "$(cd "$out" && pwd)/soundtrack.mp4"
