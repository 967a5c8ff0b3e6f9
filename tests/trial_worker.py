"""Works on a study that does nothing but sleep, for tests to kill: python trial_worker.py FOLDER TRIALS SECONDS."""

import os
import sys
import time
from pathlib import Path

from efficientnet.design.trials import Study

folder, trials, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])


def log(event, number):
    with (folder / "log.txt").open("a") as file:
        file.write(f"{event} {number} {os.getpid()}\n")


def objective(trial):
    number = trial.suggest_int("number", 0, trials)
    log("start", number)
    time.sleep(seconds)
    log("end", number)
    return float(number)


Study(folder, {"trials": trials}, trials, [{"number": number} for number in range(trials)]).run(
    objective, lambda study: None
)
