#!/usr/bin/env bash
# Train on the GPUs of one machine, or of several machines without SLURM. Run from the project's folder:
#
#   experiments/cluster/torchrun.sh lpi_celeba --data.root /data/celeba
#
# Several machines: run the same command on each, with its number in NODE. All must see the same run directory and reach FIRST:PORT.
#
#   NODES=2 NODE=0 FIRST=gpu01 experiments/cluster/torchrun.sh lpi_celeba --data.root /data/celeba --run_dir /shared/runs/lpi
#   NODES=2 NODE=1 FIRST=gpu01 experiments/cluster/torchrun.sh lpi_celeba --data.root /data/celeba --run_dir /shared/runs/lpi
#
# The same command resumes a run that was stopped.
set -euo pipefail

: "${NODES:=1}"              # number of machines
: "${NODE:=0}"               # number of this machine, from 0
: "${FIRST:=127.0.0.1}"      # name or address of machine 0
: "${PORT:=29400}"           # free port on machine 0
: "${GPUS:=gpu}"             # processes per machine; `gpu`: one for each GPU
: "${THREADS:=8}"            # CPU threads per process, without its loader processes
: "${LOGS:=}"                # folder for one log per process; lines on the terminal then begin with the process number
experiment=${1:?name an experiment, then settings of fit}
shift

source .venv/bin/activate    # adapt: how to find Python
export OMP_NUM_THREADS=$THREADS
if [[ $NODES -gt 1 ]]; then
    rendezvous=(--nnodes="$NODES" --node-rank="$NODE" --master-addr="$FIRST" --master-port="$PORT")
else
    rendezvous=(--standalone)
fi
exec torchrun "${rendezvous[@]}" ${LOGS:+--log-dir="$LOGS" --tee=3} --nproc-per-node="$GPUS" -m lit_inpaint.fit --experiment "$experiment" "$@"
