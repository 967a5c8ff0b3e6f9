"""The end of a server: a request that has been sent gets its response."""

import contextlib
import http.client
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import keras
import pytest
from color_models import CORNERS, color_model
from test_serving import png

pytest.importorskip("uvicorn", reason="needs pip install 'efficientnet[serve]>=2'")

from efficientnet.inference import compile
from efficientnet.serving import create_app
from efficientnet.serving.running import create_server

CLIENTS = 24


@pytest.fixture
def running():
    ports = []
    with compile(color_model(keras, *CORNERS), preprocessing="none", cache=False) as predictor:
        server = create_server(create_app({"colors": predictor}), "127.0.0.1", 0, 5, ports.append)
        thread = threading.Thread(target=server.run)
        thread.start()
        while not ports:
            time.sleep(0.01)
        yield server, ports[0], thread
        server.should_exit = True
        thread.join()


def test_each_connection_is_told_which_response_is_its_last(running):
    server, port, thread = running
    statuses = []

    def ask(number):
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
            is_last = False
            while not is_last:
                connection.request("POST", "/predict", png((number, 1, 1)))
                response = connection.getresponse()
                response.read()
                statuses.append(response.status)
                is_last = response.getheader("connection") == "close"

    with ThreadPoolExecutor(CLIENTS) as threads:
        clients = [threads.submit(ask, number) for number in range(CLIENTS)]
        while len(statuses) < 4 * CLIENTS:
            time.sleep(0.01)
        server.should_exit = True
        failures = [client.exception() for client in clients]
    assert failures == [None] * CLIENTS
    assert set(statuses) == {200}
    thread.join(20)
    assert not thread.is_alive()


def test_connections_that_send_nothing_do_not_keep_it(running):
    server, port, thread = running
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.connect()
        time.sleep(0.1)
        server.should_exit = True
        thread.join(5)
        assert not thread.is_alive()
