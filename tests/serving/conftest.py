"""A server of a classifier of the mean color."""

import keras
import pytest
from color_models import CORNERS, color_model

from efficientnet.inference import compile


@pytest.fixture(scope="module")
def model():
    return color_model(keras, *CORNERS)


@pytest.fixture(scope="module")
def predictor(model):
    with compile(model, class_names=["red", "green"], preprocessing="none", cache=False) as predictor:
        yield predictor


@pytest.fixture(scope="module")
def client(predictor):
    from starlette.testclient import TestClient

    from efficientnet.serving import Limits, create_app

    limits = Limits(waiting=64, body_bytes=100_000, images=4, seconds=5)
    draw = {"colors": lambda content: b"map of " + content[:4]}
    with TestClient(create_app({"colors": predictor, "again": predictor}, limits, explain=draw)) as client:
        yield client
