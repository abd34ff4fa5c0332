# shellcheck shell=bash
# Sourced by the other scripts, from the repository root:
#   install_venv ''       .venv with the packages that generation needs
#   install_venv '[dev]'  .venv with every extra
# Installs only when requirements.lock or pyproject.toml changed.
install_venv() {
  local extras=$1 candidate python='' sum
  local supported='import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'
  if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    for candidate in python3.11 python3 python3.12 python3.13; do
      if "$candidate" -c "$supported" >/dev/null 2>&1; then
        python=$candidate
        break
      fi
    done
    if [ -z "$python" ]; then
      echo 'No Python 3.11, 3.12 or 3.13 on PATH; install one of them.' >&2
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
  .venv/bin/python -m pip install --quiet --disable-pip-version-check \
    -c requirements.lock uv &&
    UV_FIND_LINKS=${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}} \
      .venv/bin/uv pip install --quiet --python .venv/bin/python "${wanted[@]}" ||
    .venv/bin/python -m pip install --quiet --disable-pip-version-check \
      --no-compile "${wanted[@]}"
  echo "$sum $extras" >.venv/installed
}
