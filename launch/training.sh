# shellcheck shell=bash
# Sourced by the scripts that train a system, from the repository root, once
# `work`, the folder of all that is made, is known.
v2meow=.venv/bin/v2meow
export V2MEOW_DATA_DIR=${work:?}/data

train() { # NAME FLAG...
  local name=$1
  shift
  "$v2meow" train --gin_file=runs/train.gin "$@" \
    --gin.MODEL_DIR="'$work/$name'" --gin.loop.train.save_every=250
}
