"""No download is endless, and nothing is not a file."""

from __future__ import annotations

import os
import socket
import threading
import tracemalloc

import pytest
from downloads import CONTENT, NAME, SHA256, names_in, part_of
from flaky_server import FlakyServer, endless_redirect, raw_server

from efficientnet.errors import DownloadError
from efficientnet.weights import download
from efficientnet.weights.download import fetch

pytestmark = pytest.mark.usefixtures("home")


def test_an_empty_file_is_not_kept(home):
    with FlakyServer({"/net.h5": b""}) as server:
        url = f"{server.url}/net.h5"
        with pytest.raises(DownloadError, match="it is empty, 0 bytes"):
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


def test_the_body_of_a_redirect_is_not_read(home):
    tracemalloc.start()
    with raw_server(endless_redirect()) as url, pytest.raises(DownloadError, match=r"cannot download net\.h5"):
        fetch(f"{url}/net.h5", file_hash="0" * 64)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 20_000_000


OK, PARTIAL = b"HTTP/1.1 200 OK\r\nConnection: close\r\n", b"HTTP/1.1 206 Partial Content\r\nConnection: close\r\n"


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (OK + b"Content-Length: many", "does not say how long"),
        (OK + b"Content-Length: -5", "does not say how long"),
        (OK + b"Content-Length: \xb2", "does not say how long"),
        (OK + b"Content-Length: " + b"9" * 5000, "does not say how long"),
        (OK + b"Transfer-Encoding: gzip", "does not say how long"),
        (OK + b"Transfer-Encoding: gzip, chunked", "does not say how long"),
        (OK + b"Content-Length: 999\r\nContent-Type: Text/HTML", "sent a web page"),
        (OK + b"Content-Length: 999\r\nContent-Type: application/xhtml+xml", "sent a web page"),
        (PARTIAL + b"Content-Length: 999\r\nContent-Range: bytes 0-998/300000", "only 999 of 300,000 bytes"),
        (PARTIAL + b"Content-Length: 999\r\nContent-Range: bytes 0-998/*", "does not say how long"),
    ],
)
def test_without_a_hash_a_length_has_to_be_known(home, head, message):
    with raw_server(head + b"\r\n\r\n" + CONTENT[:999]) as url, pytest.raises(DownloadError, match=message):
        fetch(f"{url}/{NAME}", file_hash=None)
    assert not list(home.glob("*.h5"))


def test_a_server_that_sends_pieces(home):
    def piece(start):
        part = CONTENT[start : start + 100_000]
        span = f"Content-Range: bytes {start}-{start + len(part) - 1}/{len(CONTENT)}"
        return PARTIAL + f"{span}\r\nContent-Length: {len(part)}\r\n\r\n".encode() + part

    with raw_server(*map(piece, range(0, len(CONTENT), 100_000))) as url:
        assert fetch(f"{url}/{NAME}", file_hash=SHA256).read_bytes() == CONTENT
    assert names_in(home) == {NAME}


@pytest.mark.parametrize("header", [b"9" * 5000, b"Fri, 31 Dec 999999 23:59:59 GMT"])
def test_times_to_wait_that_make_no_sense(header):
    busy = b"HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 0\r\nRetry-After: " + header + b"\r\n\r\n"
    whole = OK + f"Content-Length: {len(CONTENT)}\r\n\r\n".encode() + CONTENT
    with raw_server(busy, whole) as url:
        assert fetch(f"{url}/{NAME}", file_hash=SHA256).read_bytes() == CONTENT


@pytest.mark.parametrize("address", [b"http://[::1/x", b"http://\xff/x", b"http://a..b/x", b"http://127.0.0.1:x/"])
def test_redirects_to_what_is_no_address(address):
    moved = b"HTTP/1.1 302 Found\r\nConnection: close\r\nContent-Length: 0\r\nLocation: " + address + b"\r\n\r\n"
    with raw_server(moved) as url, pytest.raises(DownloadError, match=f"cannot download {NAME}"):
        fetch(f"{url}/{NAME}", file_hash=SHA256)


def test_an_address_that_cannot_be_parsed():
    with pytest.raises(ValueError, match=r"cannot download 'http://\[::1/x': .*give https://"):
        fetch("http://[::1/x", file_hash=SHA256)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("REQUESTS_CA_BUNDLE", "/nowhere.pem", "cannot download .*invalid path: /nowhere.pem"),
        ("HTTPS_PROXY", "http://127.0.0.1:1", "cannot download .*proxy"),
        ("HTTPS_PROXY", "://", "cannot download "),
    ],
)
def test_an_environment_that_lets_nothing_through(monkeypatch, variable, value, message):
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv(variable, value)
    with pytest.raises(DownloadError, match=message):
        fetch("https://127.0.0.1:1/net.h5", file_hash=SHA256)


def test_a_proxy_that_needs_a_package_is_no_redirect(monkeypatch):
    pytest.importorskip("requests")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    with pytest.raises(DownloadError) as failure:
        fetch("http://127.0.0.1:1/net.h5", file_hash=SHA256)
    assert "redirect" not in str(failure.value)


@pytest.mark.parametrize("in_the_way", ["file", "part"])
@pytest.mark.parametrize("make", ["mkdir", "mkfifo"])
def test_what_is_no_file_stays(home, in_the_way, make):
    home.mkdir()
    place = home / NAME if in_the_way == "file" else part_of(home)
    getattr(os, make)(place)
    with FlakyServer({f"/{NAME}": CONTENT}) as server:
        with pytest.raises(DownloadError, match=f"{place.name} is not a file"):
            fetch(f"{server.url}/{NAME}", file_hash=SHA256)
        assert not server.requests
    assert place.exists()


def test_an_empty_file_of_a_mirror_is_refused(home, tmp_path, monkeypatch):
    monkeypatch.setenv("EFFICIENTNET_WEIGHTS_URL", str(tmp_path))
    (tmp_path / "net.h5").touch()
    with pytest.raises(DownloadError, match="it is empty, 0 bytes"):
        fetch("https://example.org/net.h5", file_hash=None, filename="net.h5")
    assert names_in(home) == set()
