#!/usr/bin/env bash
# Runs this commit as a service on every worker of an existing TPU VM:
#   TPU=v2meow ZONE=us-central2-b bash launch/tpu_vm/train.sh [FLAG...]
MODEL_DIR=${MODEL_DIR:-gs://my-bucket/runs/semantic}  # EDIT: not of a machine
STAGE=${STAGE:-stages/semantic.gin}                   # EDIT: below gin/
set -euo pipefail
cd "$(dirname "$0")/../.."
: "${TPU:?name of the TPU VM}" "${ZONE:?its zone}"

folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
git archive --output="$folder/v2meow.tar.gz" HEAD
# systemd restarts the trainer on 75, and stops it when the machine shuts down.
printf -v train '%q ' --gin_file=runs/train.gin --gin_file="$STAGE" \
  --gin.MODEL_DIR="'$MODEL_DIR'" "$@"
printf -v data '%q' "${V2MEOW_DATA_DIR:-${MODEL_DIR%/runs/*}/data}"
cat >"$folder/v2meow_worker.sh" <<END
set -euo pipefail
mkdir -p ~/v2meow && cd ~/v2meow && tar xzf ~/v2meow.tar.gz
sudo apt-get -qq update
sudo apt-get -qq install gcc python3.11-dev python3.11-venv
source launch/venv.sh && install_venv '[train,buckets]'
.venv/bin/python -m pip install --quiet -c requirements.lock 'jax[tpu]'
sudo systemd-run --unit=v2meow --collect --uid="\$USER" \
  --property=RestartForceExitStatus=75 --property=TimeoutStopSec=300 \
  --working-directory="\$PWD" --setenv=V2MEOW_DATA_DIR=$data \
  --setenv=V2MEOW_COORDINATOR=auto "\$PWD/.venv/bin/v2meow" train $train
END
worker() { gcloud compute tpus tpu-vm "$@" --zone="$ZONE" --worker=all; }
worker scp "$folder/v2meow.tar.gz" "$folder/v2meow_worker.sh" "$TPU:"
worker ssh "$TPU" --command='bash ~/v2meow_worker.sh'
