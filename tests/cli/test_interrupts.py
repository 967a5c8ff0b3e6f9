"""Servers and files that never end: Ctrl-C works, there are deadlines, and what was predicted is printed."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

from efficientnet.cli.main import main
from efficientnet.errors import DownloadError, UnreadableImageError
from efficientnet.images.loading import load_image
from efficientnet.inference import compile
from efficientnet.weights.download import fetch

pytest.importorskip("keras")
pytest.importorskip("openvino")

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\nContent-Type: image/png\r\n\r\n"


@contextlib.contextmanager
def dripping(head):
    """A server that sends this, and then a byte every tenth of a second, for ever."""
    listener = socket.create_server(("127.0.0.1", 0))
    done = threading.Event()

    def serve():
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                connection.sendall(head)
                while not done.wait(0.1):
                    connection.sendall(b"X")

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/image.png"
    finally:
        done.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@pytest.fixture(scope="module")
def model(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.keras"
    tiny(weights=None, classes=5, input_shape=(32, 32, 3)).save(path)
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for name in "abcdefg":
        Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(folder / f"{name}.png")
    return [str(path) for path in sorted(folder.iterdir())]


@pytest.mark.parametrize("head", [HEAD, b"HTTP/1.1 200 OK\r\nX-Slow: "], ids=["body", "header"])
def test_a_download_has_a_deadline_for_all_of_it(head):
    with dripping(head) as url, pytest.raises(UnreadableImageError, match=r"longer than 0\.5 seconds.*--timeout"):
        load_image(url, timeout=0.5)


@pytest.mark.slow
def test_a_slow_image_keeps_nobody_waiting_and_ctrl_c_ends_it(model, images):
    command = [sys.executable, "-m", "efficientnet", "predict", "--model", model, "--preprocessing", "torch", "--top=1"]
    with dripping(HEAD) as url:
        process = subprocess.Popen(
            [*command, *images[:5], url, *images[5:]], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )  # fmt: skip
        with process:
            try:
                printed = [process.stdout.readline().strip() for _ in range(10)]  # waits for five answers
                assert printed[::2] == images[:5]
                begin = time.monotonic()
                process.send_signal(signal.SIGINT)
                assert process.wait(60) == 130
                print(f"ended after {time.monotonic() - begin:.2f} s")
                assert "Traceback" not in process.stderr.read()
            finally:
                process.kill()


# Stops a process where a module is first imported, until a signal comes.
STOPPING = """
import importlib.abc, sys, time

class Stopping:
    def __del__(self):  # which raises nothing, as the callbacks of imports
        stop()

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            {stop}()

def stop_natively():  # as modules of C++
    try:
        stop()
    except KeyboardInterrupt as error:
        raise ImportError("initialization failed") from error

def stop():
    print("here", flush=True)
    time.sleep(60)

sys.meta_path.insert(0, Finder())
from efficientnet.cli.main import command
command()
"""


@pytest.mark.parametrize("stop", ["stop", "stop_natively", "Stopping"])
@pytest.mark.parametrize("module", ["efficientnet.cli.convert", "numpy", "efficientnet.export.convert"])
def test_ctrl_c_while_modules_are_imported_ends_without_a_traceback(model, tmp_path, module, stop):
    program = STOPPING.format(module=module, stop=stop)
    with subprocess.Popen(
        [sys.executable, "-c", program, "convert", model, tmp_path / "out.h5"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.getcwd()},
    ) as process:  # fmt: skip
        try:
            assert process.stdout.readline() == "here\n"
            process.send_signal(signal.SIGINT)
            assert (process.wait(30), process.stderr.read()) == (130, "")
        finally:
            process.kill()
    assert not list(tmp_path.iterdir())


def test_pipes_devices_and_odd_names_cost_one_line_each(model, images, tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe.png")
    bytes_of_name = os.fsencode(tmp_path) + b"/caf\xe9.png"
    with open(images[0], "rb") as source, open(bytes_of_name, "wb") as target:
        target.write(source.read())
    bad = [str(tmp_path / "pipe.png"), "/dev/zero", "n" * 300 + ".png", "", "http://[bad"]
    names = [*bad, os.fsdecode(bytes_of_name), images[1]]
    assert main(["predict", "--model", str(model), "--preprocessing", "torch", "--top=1", *names]) == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[::2] == [f"{tmp_path}/caf\\xe9.png", images[1]]
    told = [line for line in err.splitlines() if line.startswith("efficientnet: ")]
    assert len(told) == len(bad)
    for line, part in zip(told, ("is a pipe", "is a device", "too long", "is empty", "[bad"), strict=True):
        assert part in line


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_fork_is_refused_instead_of_hanging(model, tmp_path):
    predictor = compile(model, preprocessing="torch")
    image = np.zeros((1, 32, 32, 3), np.uint8)
    predictor(image)
    child = os.fork()
    if not child:
        said = []
        for ask in (lambda: predictor(image), lambda: compile(model, "openvino", preprocessing="torch", cache=False)):
            try:
                ask()
            except RuntimeError as error:
                said.append(str(error))
        (tmp_path / "said").write_text("\n".join(said))
        os._exit(0)
    deadline = time.monotonic() + 120
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            pytest.fail("the child hangs")
        time.sleep(0.01)
    first, second = (tmp_path / "said").read_text().splitlines()
    assert "Compile the model in each process after the fork" in first
    assert "OpenVINO was loaded in process" in second


@pytest.mark.parametrize("head", [HEAD, b"HTTP/1.1 200 OK\r\nX-Header: "])
def test_a_download_of_weights_that_drips_ends(tmp_path, monkeypatch, head):
    monkeypatch.setenv("EFFICIENTNET_HOME", str(tmp_path))
    monkeypatch.setenv("EFFICIENTNET_DOWNLOAD_TIMEOUT", "0.5")
    with dripping(head) as url, pytest.raises(DownloadError, match=r"longer than 0\.5 seconds"):
        fetch(url, file_hash=None)


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "soon"])
def test_a_time_limit_that_is_none_is_refused(tmp_path, monkeypatch, value):
    monkeypatch.setenv("EFFICIENTNET_HOME", str(tmp_path))
    monkeypatch.setenv("EFFICIENTNET_DOWNLOAD_TIMEOUT", value)
    with pytest.raises(DownloadError, match=rf"EFFICIENTNET_DOWNLOAD_TIMEOUT: '{value}' is not a number of seconds"):
        fetch("http://127.0.0.1:1/weights.h5", file_hash=None)
