#!/usr/bin/env bash
# Train on the GPUs of one machine, or of several without SLURM; from the project's folder:
#
#   experiments/cluster/torchrun.sh lpi_celeba --data.root /data/celeba
#
# Several machines: the same line on each, with its number in NODE; all must see the same run folder and reach FIRST:PORT.
#
#   NODES=2 NODE=0 FIRST=gpu01 experiments/cluster/torchrun.sh lpi_celeba --data.root /data/celeba --run_dir /shared/runs/lpi
#   NODES=2 NODE=1 FIRST=gpu01 experiments/cluster/torchrun.sh lpi_celeba --data.root /data/celeba --run_dir /shared/runs/lpi
#
# The same line goes on with a run that was stopped.
set -euo pipefail

: "${NODES:=1}"              # machines
: "${NODE:=0}"               # this one's number, from 0
: "${FIRST:=127.0.0.1}"      # name or address of number 0
: "${PORT:=29400}"           # free on number 0
: "${GPUS:=gpu}"             # processes on each machine; `gpu`: as many as it has
: "${THREADS:=8}"            # CPU threads of each process, without its loaders
: "${LOGS:=}"                # a folder for a log of each process; its lines on the screen then begin with its number
experiment=${1:?name an experiment, then settings of fit}
shift

source .venv/bin/activate    # change: how Python is found
export OMP_NUM_THREADS=$THREADS
if [[ $NODES -gt 1 ]]; then
    together=(--nnodes="$NODES" --node-rank="$NODE" --master-addr="$FIRST" --master-port="$PORT")
else
    together=(--standalone)
fi
exec torchrun "${together[@]}" ${LOGS:+--log-dir="$LOGS" --tee=3} --nproc-per-node="$GPUS" -m lit_inpaint.fit --experiment "$experiment" "$@"
