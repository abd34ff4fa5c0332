#!/usr/bin/env bash
# Renders the clips that README.md links to: bash launch/hear.sh OUT
set -euo pipefail
out=$(realpath -m "${1:?usage: bash launch/hear.sh OUT}")
cd "$(dirname "$0")/.."
source launch/venv.sh
install_venv ''
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"
.venv/bin/v2meow data synth "$work" --num 4 --seed 9 --seconds 10
.venv/bin/v2meow generate "$work/clips/000000.mp4" -o "$out/waltz.mp4" \
  --prompt 'an elegant waltz'
.venv/bin/v2meow generate "$work/clips/000003.mp4" -o "$out/rock.mp4" \
  --prompt 'a loud rock song'
rm "$out"/{waltz,rock}.mp4.json
