#!/usr/bin/env bash
# Sourced by train.sh in Slurm's place: starts two processes on this machine with
# the variables that Slurm sets for the tasks of a step.
export SLURM_JOB_ID=$$ SLURM_NTASKS=2 SLURM_STEP_NUM_TASKS=2
export SLURM_STEP_NODELIST=localhost JAX_PLATFORMS=cpu
job=("$@")

srun() { # --OPTION... COMMAND...; returns the highest code of the tasks
  local first second
  while [[ $1 == --* ]]; do
    shift
  done
  SLURM_PROCID=1 SLURM_LOCALID=1 "$@" &
  SLURM_PROCID=0 SLURM_LOCALID=0 "$@"
  first=$?
  wait "$!"
  second=$?
  return $((first > second ? first : second))
}

scontrol() { # requeue: the same job from its beginning
  exec bash launch/slurm/train.sh "${job[@]}"
}
