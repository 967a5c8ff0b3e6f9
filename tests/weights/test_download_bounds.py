"""No download is endless, and nothing is not a file."""

from __future__ import annotations

import socket
import threading

import pytest
from flaky_server import FlakyServer

from efficientnet.errors import DownloadError
from efficientnet.weights import download
from efficientnet.weights.download import fetch

pytestmark = pytest.mark.usefixtures("home")


def test_an_empty_file_is_not_kept(home):
    with FlakyServer({"/net.h5": b""}) as server:
        url = f"{server.url}/net.h5"
        with pytest.raises(DownloadError, match="sent nothing, 0 bytes"):
            fetch(url, file_hash=None)
        assert not list(home.glob("*.h5")) and not list(home.glob("*.part"))
        server.files = {"/net.h5": b"weights"}
        path = fetch(url, file_hash=None)
        assert path.read_bytes() == b"weights"
        path.write_bytes(b"")  # as releases before this one left it
        assert fetch(url, file_hash=None).read_bytes() == b"weights"


def test_a_file_that_is_too_large_is_not_begun(home, monkeypatch):
    monkeypatch.setattr(download, "MOST_BYTES", 1000)
    with FlakyServer({"/net.h5": bytes(2000)}) as server:
        with pytest.raises(DownloadError, match="would send 2,000 bytes, and 1,000 are more than enough"):
            fetch(f"{server.url}/net.h5", file_hash=None)
        assert len(server.requests) == 1
    assert not list(home.glob("*.h5"))


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ("Transfer-Encoding: chunked\r\n", "sends more than 1,000,000 bytes"),
        ("Content-Encoding: gzip\r\nContent-Length: 100\r\n", "the server packs it"),
    ],
)
def test_what_never_ends_is_given_up(headers, message, home, monkeypatch):
    monkeypatch.setattr(download, "MOST_BYTES", 1_000_000)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        connection, _ = listener.accept()
        with connection:
            try:
                connection.sendall(f"HTTP/1.1 200 OK\r\n{headers}\r\n".encode())
                while True:
                    connection.sendall(b"10000\r\n" + bytes(65536) + b"\r\n")
            except OSError:  # the client has had enough
                pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with pytest.raises(DownloadError, match=message):
        fetch(f"http://127.0.0.1:{listener.getsockname()[1]}/net.h5", file_hash=None)
    thread.join(30)
    listener.close()
    assert not thread.is_alive()
    assert sum(path.stat().st_size for path in home.rglob("*")) < 1_100_000
