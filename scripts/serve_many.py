"""Serves a model by HTTP from replicas on one machine or many, with Ray Serve.

    python scripts/serve_many.py lite0 --replicas 2
    python scripts/serve_many.py runs/flowers/model.keras --replicas 8 --address auto --host 0.0.0.0

The routes are those of ``efficientnet serve``. This process takes the requests and prepares their images, and the
replicas predict. A replica that dies is replaced, and its unfinished images are predicted by the others, so that no
accepted request is lost.

On many machines: ``ray start --head`` on the first, ``ray start --address=FIRST:6379`` on the others, then this with
``--address auto`` on the first. All of them need this package, and see the model under the same path.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from efficientnet.checkpoints import Facts
from efficientnet.cli.model_options import find_source
from efficientnet.cli.number_types import positive
from efficientnet.cli.serve import named
from efficientnet.common.text import get_logger
from efficientnet.inference import InputSpec, compile
from efficientnet.preprocessing import MODES
from efficientnet.serving import Limits, create_app
from efficientnet.serving.running import create_server

REFUSED = 2
PAUSE = 0.2  # seconds before images of a dead replica go to another


class Replica:
    """An actor of Ray: a compiled model."""

    def __init__(self, model: str, weights: str | None, preprocessing: str | None, threads: int) -> None:
        self.predictor = compile(find_source(model, weights, Facts(preprocessing=preprocessing)), threads=threads)
        self.predictor.warm_up()

    def spec(self) -> InputSpec:
        """Return how images are prepared for the model."""
        return self.predictor.spec

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return the outputs for prepared images."""
        outputs: np.ndarray = self.predictor.predict_prepared(images)
        return outputs


class Replicas:
    """What the server takes for a predictor: whichever replica has the least to do."""

    def __init__(self, handle: Any, seconds: float) -> None:
        self.handle, self.seconds = handle, seconds
        self.spec: InputSpec = handle.spec.remote().result()

    def predict_prepared(self, images: np.ndarray) -> np.ndarray:
        """Predict images, and again if their replica dies: a prediction has no effect that could double."""
        from ray.exceptions import RayActorError

        deadline = time.monotonic() + self.seconds
        while True:
            try:
                outputs: np.ndarray = self.handle.predict.remote(images).result()
                return outputs
            except RayActorError as error:
                if time.monotonic() > deadline:
                    raise
                get_logger().warning("A replica died; %d images go to another: %s", len(images), type(error).__name__)
                time.sleep(PAUSE)


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("model", metavar="MODEL", help="variant, or a saved or exported model; NAME=MODEL gives it a name")
    add("--weights", help="published set or file of weights (default: the variant's first set)")
    add("--preprocessing", choices=MODES, help="of a saved model that has none inside")
    add("--replicas", type=positive, default=2, metavar="N", help="processes that predict (default: %(default)s)")
    add("--threads", type=positive, default=1, metavar="N", help="processors of each replica (default: %(default)s)")
    add("--gpus", type=float, default=0, metavar="N", help="GPUs of each replica (default: %(default)s)")
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", type=int, default=8000, help="port to listen on (default: %(default)s)")
    add("--address", help="of a Ray cluster, or auto for the one that this machine is part of (default: none)")
    return parser.parse_args(argv)


def serve_many(options: argparse.Namespace) -> None:
    """Do what the command line says, until SIGTERM."""
    if find_spec("ray") is None or find_spec("fastapi") is None:
        raise ImportError("serve_many.py needs Ray Serve: pip install 'ray[serve]'.")
    import ray
    from ray import serve

    ray.init(
        options.address,
        include_dashboard=None if options.address else False,
        logging_level="error",
        log_to_driver=False,
    )
    try:
        serve.start(http_options={"location": "NoServer"})  # this process is the server
        deployment = serve.deployment(
            Replica,
            num_replicas=options.replicas,
            max_ongoing_requests=2,  # one that predicts, and one that waits
            ray_actor_options={"num_cpus": options.threads, "num_gpus": options.gpus},
            health_check_period_s=2,
        )
        name, model = named(options.model)
        bound = deployment.bind(model, options.weights, options.preprocessing, options.threads)
        limits = Limits()
        replicas = Replicas(serve.run(bound, name="efficientnet", route_prefix=None), limits.seconds)
        app = create_app({name: replicas}, limits, threads=2 * options.replicas)

        def started(port: int) -> None:
            print(f"http://{options.host}:{port}/ serves {name} from {options.replicas} replicas", flush=True)

        create_server(app, options.host, options.port, limits.seconds, started).run()
    finally:
        serve.shutdown()
        ray.shutdown()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; return its exit status: 0, or 2 where it cannot start."""
    try:
        serve_many(parse_options(argv))
    except (ValueError, ImportError, OSError, RuntimeError) as error:
        print(f"serve_many.py: error: {error}", file=sys.stderr)
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
