"""The command serve, in a process of its own."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import types
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import requests
from color_models import CORNERS, color_model, save_with_names

from efficientnet.cli.main import main
from efficientnet.cli.serve import named

pytest.importorskip("uvicorn", reason="needs pip install 'efficientnet[serve]>=2'")


@contextlib.contextmanager
def killed(process):
    """Where a test fails, its process does not stay, and is not waited for."""
    try:
        yield
    finally:
        process.kill()


@pytest.mark.slow
def test_a_server_from_start_to_sigterm(tmp_path):
    """All requests that it accepted before the signal get their response."""
    model = save_with_names(color_model(keras, *CORNERS), tmp_path, ("red", "green"))
    command = [
        sys.executable,
        "-m",
        "efficientnet",
        "serve",
        f"colors={model}",
        "--port",
        "0",
        "--preprocessing",
        "none",
    ]
    environment = {**os.environ, "EFFICIENTNET_TOKEN": "secret"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server, killed(server):
        line = server.stdout.readline()
        address = line.split()[0]
        assert "serves colors" in line
        pixels = {"name": "images", "shape": [1, 16, 16, 3], "datatype": "UINT8", "data": [200, 0, 0] * 256}
        headers = {"Authorization": "Bearer secret"}
        url = f"{address}v2/models/colors/infer"
        assert requests.post(url, json={"inputs": [pixels]}, timeout=20).status_code == 401

        def ask(number):
            try:
                return requests.post(url, json={"inputs": [pixels]}, headers=headers, timeout=20).status_code
            except requests.ConnectionError as error:
                # Refused, or closed without a word, before the request was accepted; never cut short.
                return "Connection refused" in str(error) or "Connection aborted" in str(error)

        with ThreadPoolExecutor(8) as threads:
            found = []
            asked = [threads.submit(ask, number) for number in range(300)]
            for number, future in enumerate(asked):
                found.append(future.result())
                if number == 100:
                    server.send_signal(signal.SIGTERM)
        assert set(found) <= {200, True}
        assert found[:100] == [200] * 100
        assert server.wait(20) in (0, -signal.SIGTERM)


def test_what_many_images_need_is_compiled_before_the_start(tmp_path, monkeypatch):
    served = {}
    monkeypatch.setattr("efficientnet.serving.create_app", lambda models, *limits, **options: served.update(models))
    monkeypatch.setattr(
        "efficientnet.serving.running.create_server", lambda *options: types.SimpleNamespace(run=lambda: None)
    )
    model = save_with_names(color_model(keras, *CORNERS), tmp_path, ("red", "green"))
    assert main(["serve", f"colors={model}", "--port", "0", "--preprocessing", "none"]) == 0
    predictor = served["colors"]

    def late():
        raise AssertionError("compiled when images came")

    predictor._engine = predictor._engine._replace(bulk=late)
    assert predictor.predict_prepared(np.zeros((64, 16, 16, 3), np.float32)).shape == (64, 2)


def test_a_model_has_a_name_that_addresses_can_have(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "flowers").mkdir(parents=True)
    assert named("lite0") == ("lite0", "lite0")
    assert named("runs/flowers/") == ("flowers", "runs/flowers/")
    assert named("runs/flowers/model.keras") == ("model", "runs/flowers/model.keras")
    assert named("roses=runs/flowers") == ("roses", "runs/flowers")


def test_an_empty_token_is_no_open_server(monkeypatch, capsys):
    monkeypatch.setenv("EFFICIENTNET_TOKEN", "")
    assert main(["serve", "lite0"]) == 2
    assert "The token is empty" in capsys.readouterr().err


def test_an_address_that_cannot_be_listened_on_is_named_before_a_model_is_loaded(monkeypatch, capsys):
    monkeypatch.setattr("efficientnet.cli.model_options.model_source", None)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        used = str(other.getsockname()[1])
        for host, port in (("127.0.0.1", used), ("203.0.113.5", "0"), ("a" * 99, "0")):
            assert main(["serve", "lite0", "--host", host, "--port", port]) == 2
            assert f"Cannot listen on {host}, port {port}: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["=lite0"], "A model is called ''"),
        (["a/b=lite0"], "A model is called 'a/b'"),
        (["lite0", "lite0"], "Two models are called lite0"),
        (["lite0", "none.keras"], "No model at none.keras"),
        (["lite0", "--port", "65536"], "is not a port"),
        (["lite0", "--seconds", "0"], "not a number of seconds"),
    ],
)
def test_wrong_calls_are_refused_before_a_model_is_loaded(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr("efficientnet.cli.model_options.open_predictor", None)
    try:
        status = main(["serve", "--port", "0", *arguments])
    except SystemExit as error:
        status = error.code
    assert status == 2
    assert message in capsys.readouterr().err
