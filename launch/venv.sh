# shellcheck shell=bash
# Sourced by the other scripts, from the repository root:
#   install_venv ''       .venv with the packages that generation needs
#   install_venv '[dev]'  .venv with every extra
# Installs only when requirements.lock or pyproject.toml changed.

# Prints the path of the Python on PATH that environments are made with: the oldest
# version of those that are supported, and of its builds the fastest. With one that a
# version manager compiled without profile-guided optimisation, tests took a tenth
# longer than with that of a distribution.
fastest_python() {
  local name python timed='
import ensurepip, sys, timeit
if not (3, 11) <= sys.version_info < (3, 14):
  sys.exit(1)
work = "for i in range(9999): {str(i): [i, j] for j in range(3)}"
seconds = min(timeit.repeat(work, number=1, repeat=30))
print(sys.version_info[1], seconds, sys.executable)'
  for name in python3.11 python3.12 python3.13 python3; do
    type -ap "$name" || true
  done | while read -r python; do
    "$python" -c "$timed" 2>/dev/null || true
  done | sort -k 1,1n -k 2,2g | sed -n '1s/^[^ ]* [^ ]* //p'
}

install_venv() {
  local extras=$1 python sum
  if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    python=$(fastest_python)
    if [ -z "$python" ]; then
      echo 'No Python 3.11, 3.12 or 3.13 that can make environments on PATH;' \
        'install one of them (on Debian, python3-venv).' >&2
      exit 1
    fi
    "$python" -m venv --clear .venv
  fi
  # Detects changes only, so a checksum is enough.
  sum=$(cat requirements.lock pyproject.toml setup.py | cksum)
  case "$(cat .venv/installed 2>/dev/null)" in
    "$sum $extras" | "$sum [dev]") return ;;
  esac
  echo "Installing into .venv (a few minutes the first time) ..."
  rm -f .venv/installed
  # uv installs in a fifth of the time that pip takes. Where it cannot be had,
  # or cannot do it, pip does.
  local wanted=(-c requirements.lock -e ".$extras")
  local uv=(.venv/bin/uv pip install --quiet --python .venv/bin/python)
  local pip=(.venv/bin/python -m pip install --quiet --disable-pip-version-check)
  if ! "${pip[@]}" -c requirements.lock uv ||
    ! UV_FIND_LINKS=${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}} \
      "${uv[@]}" "${wanted[@]}"; then
    "${pip[@]}" --no-compile "${wanted[@]}"
  fi
  echo "$sum $extras" >.venv/installed
}
