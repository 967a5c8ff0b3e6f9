"""The file for Kubernetes starts the server that there is: its arguments parse, and its probes' routes exist."""

from pathlib import Path

import keras
import pytest
from color_models import CORNERS, color_model

pytest.importorskip("yaml", reason="needs PyYAML, which comes with MkDocs and Ray")
pytest.importorskip("starlette", reason="needs pip install 'efficientnet[serve]>=2'")

import yaml

from efficientnet.cli.main import _parser
from efficientnet.inference import compile
from efficientnet.serving import create_app

FILE = Path(__file__).resolve().parents[2] / "misc" / "kubernetes-serving.yaml"


def test_the_deployment():
    service, deployment, budget = yaml.safe_load_all(FILE.read_text())
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    (port,) = container["ports"]
    arguments = _parser().parse_args(container["args"])
    assert (arguments.host, arguments.port) == ("0.0.0.0", port["containerPort"])
    assert service["spec"]["ports"][0]["targetPort"] == port["name"]
    labels = pod["metadata"]["labels"]
    assert service["spec"]["selector"] == labels == budget["spec"]["selector"]["matchLabels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels

    waits = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["spec"]["terminationGracePeriodSeconds"] > waits + arguments.seconds

    with compile(color_model(keras, *CORNERS), preprocessing="none", cache=False) as predictor:
        routes = {route.path for route in create_app({"colors": predictor}).routes}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container[probe]["httpGet"]
        assert asked["path"] in routes
        assert asked["port"] == port["name"]
