#!/bin/bash
# A training on 2 machines with 4 GPUs each: sbatch misc/slurm.sh PICTURES RUN
# PICTURES and RUN lie where all machines see them. When its time is up, it saves and gets in line again.
#SBATCH --job-name=efficientnet
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=8
#SBATCH --distribution=block
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append

export KERAS_BACKEND=${KERAS_BACKEND:-torch}

addresses=$(
    for host in $(scontrol show hostnames "$SLURM_JOB_NODELIST"); do
        for task in $(seq 1 "$SLURM_NTASKS_PER_NODE"); do
            echo "$host:$((12340 + task))"
        done
    done
)
# One process for each task, that is for each GPU; it knows its rank only once it runs.
srun bash -c 'exec efficientnet train "$@" --rank "$SLURM_PROCID"' train \
    "$1" --out "$2" --recipe v1 --model b0 --weights none --resume --checkpoint-steps 500 \
    --distributed $addresses
status=$?

if [ "$status" = 143 ]; then # SIGTERM
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
