#!/usr/bin/env bash
# Checks format, lint, types and tests, on a fresh machine too.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/venv.sh
install_venv '[dev]'
export PATH="$PWD/.venv/bin:$PATH"
# Tests start hundreds of processes, each of which would compile its libraries.
unset PYTHONDONTWRITEBYTECODE
step() { printf '\n== %s\n' "$*"; }

step format
ruff format --check .
step lint
ruff check .
step 'nothing in the library runs code that it finds in data'
unsafe='(import|from) +(c?pickle|cloudpickle|dill|joblib|shelve|marshal)\b'
unsafe+='|torch\.load|yaml\.(unsafe_|full_)?load|allow_pickle *= *True'
unsafe+='|(^|[^._[:alnum:]])(eval|exec)\('
safe='torch\.load\(.*weights_only=True\)'  # Builds tensors and nothing else.
if grep -rnE --include='*.py' "$unsafe" v2meow_jax | grep -vE "$safe"; then
  echo 'Read data as data: safetensors, json, numpy without pickle.' >&2
  exit 1
fi
# Files in the order of tests/conftest.py, and not by their number of tests.
by_file=(pytest --dist loadfile --no-loadscope-reorder -n 2)
step 'unit tests'
"${by_file[@]}" -m 'not data and not slow and not torch and not t5x'
# Types take one core for minutes: beside the tests, whose files end unevenly.
types=$(mktemp)
trap 'rm -f "$types"' EXIT
pyright --level error >"$types" 2>&1 &
checked=$!
step 'the other tests'
"${by_file[@]}" --durations 40 -m 'data or slow or torch or t5x' || failed=1
step types
wait "$checked" || failed=1
cat "$types"
exit "${failed:-0}"
