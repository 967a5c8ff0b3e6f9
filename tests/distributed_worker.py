"""One process of a small training, for tests to run and to kill: python distributed_worker.py OUT [ADDRESSES RANK]."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from pathlib import Path

import numpy as np

from efficientnet import get_variant
from efficientnet.datasets.data import Data
from efficientnet.datasets.targets import Classes
from efficientnet.family.variants import V1_BLOCKS
from efficientnet.training import FINETUNE, Interrupted, Task, train
from efficientnet.training.distributed import connect

out, addresses, rank = Path(sys.argv[1]), sys.argv[2:3], sys.argv[3:4]
pause = float(os.environ.get("PAUSE", 0))

rng = np.random.default_rng(0)
pixels = rng.integers(0, 256, (40, 32, 32, 3), np.uint8)
data = Data("noise", pixels, Classes(list("abcd"), np.arange(40) % 4), np.arange(32), np.arange(32, 40))
variant = dataclasses.replace(get_variant("b0"), name="small", width=0.5, resolution=32, blocks=V1_BLOCKS[:1])
recipe = dataclasses.replace(
    FINETUNE, head_epochs=1, head_steps=0, epoch_steps=0, epochs=2, batch_size=8, freeze_batch_norm=False,
    average=0.9, drop_connect=0.0, dropout=(0.0, 0.0), patience=None, optimizer="rmsprop",
)  # fmt: skip

processes = None
if addresses:
    try:
        processes = connect(addresses[0].split(",") if addresses[0] else (), int(rank[0]) if rank else None, timeout=20)
    except ConnectionError as error:
        sys.exit(str(error))
    step = processes.step

    def slow_step(network, batch):
        time.sleep(pause)
        logs = step(network, batch)
        print(f"step {logs}", flush=True)
        return logs

    processes.step = slow_step
try:
    task = Task(variant, None, data, recipe, 32)
    best = train(task, out, processes=processes, resume="RESUME" in os.environ, trackers=())
except (ConnectionError, Interrupted, ValueError) as error:
    sys.exit(f"{type(error).__name__}: {error}")
print("done", best, flush=True)
