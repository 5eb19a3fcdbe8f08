#!/usr/bin/env bash
# Measure lit_inpaint on a GPU, in order of importance, within a time budget; see measure.py for the options.
#
#   tests/gpu/run.sh --output DIR [--public DIR]          on a machine with one NVIDIA GPU, in less than eight minutes
#   tests/gpu/run.sh --device cpu --quick                 to try the script where there is none
set -u
cd "$(dirname "$0")/../.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 WANDB_MODE=disabled
exec "${PYTHON:-python3}" tests/gpu/measure.py "$@"
