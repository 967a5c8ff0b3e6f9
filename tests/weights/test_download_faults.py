"""Downloads over bad connections, from servers that do what networks do, and of wrong content."""

from __future__ import annotations

import hashlib
import inspect
import shutil
import socket
import subprocess
import threading
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from downloads import CONTENT, FILES, NAME, SHA256, fetch_from, names_in, part_of
from flaky_server import Fault, FlakyServer

from efficientnet.errors import DownloadError
from efficientnet.weights import download
from efficientnet.weights.download import fetch

pytestmark = pytest.mark.usefixtures("home")


# --- bad connections --------------------------------------------------------------------------


@pytest.mark.parametrize("reset", [False, True], ids=["truncated", "reset"])
def test_broken_connections_are_resumed(home: Path, reset: bool) -> None:
    # More breaks than attempts: what counts is that each brought something.
    faults = [Fault(cut=70_000, reset=reset)] * 3 + [Fault(cut=1_000, reset=reset)] * 3
    with FlakyServer(FILES, faults) as server:
        assert fetch_from(server).read_bytes() == CONTENT
    starts = [int(r.range.removeprefix("bytes=")[:-1]) for r in server.requests if r.range]
    assert len(starts) == 6
    assert starts == sorted(starts) and starts[0] > 0
    assert names_in(home) == {NAME}


def test_a_connection_that_always_breaks_is_given_up_and_the_part_kept(home: Path) -> None:
    with FlakyServer(FILES, [Fault(cut=100_000)], then=Fault(cut=0)) as server:
        with pytest.raises(DownloadError, match=f"tried {download.ATTEMPTS} times"):
            fetch_from(server)
        assert len(server.requests) == download.ATTEMPTS
        assert names_in(home) == {part_of(home).name}
        kept = part_of(home).read_bytes()
        assert kept and CONTENT.startswith(kept)
        server.then = Fault()
        assert fetch_from(server).read_bytes() == CONTENT
    assert server.requests[-1].range == f"bytes={len(kept)}-"
    assert names_in(home) == {NAME}


def test_without_a_hash_nothing_is_resumed() -> None:
    with FlakyServer(FILES, [Fault(cut=100_000)]) as server:
        path = fetch(f"{server.url}/{NAME}", file_hash=None)
    assert path.read_bytes() == CONTENT
    assert [request.range for request in server.requests] == [None, None]


def test_without_a_hash_a_short_file_is_noticed_where_urllib3_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    from urllib3.connection import HTTPConnection

    request = HTTPConnection.request
    if "enforce_content_length" not in inspect.signature(request).parameters:
        pytest.skip("this release of urllib3 does not count")

    def lenient(self: HTTPConnection, *args: Any, **kwargs: Any) -> None:
        request(self, *args, **{**kwargs, "enforce_content_length": False})

    monkeypatch.setattr(HTTPConnection, "request", lenient)
    with FlakyServer(FILES, [Fault(cut=100_000)]) as server:
        assert fetch(f"{server.url}/{NAME}", file_hash=None).read_bytes() == CONTENT
        assert len(server.requests) == 2
        assert fetch(f"{server.url}/{NAME}", file_hash=None, filename="other.h5").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("header", "message"),
    [("", "does not say how long the file is"), ("Content-Type: text/html; charset=utf-8\r\n", "sent a web page")],
)
def test_without_a_hash_what_cannot_be_whole_is_refused(home: Path, header: str, message: str) -> None:
    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(f"HTTP/1.1 200 OK\r\n{header}Connection: close\r\n\r\nsome of it".encode())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(DownloadError, match=message):
            fetch(f"http://127.0.0.1:{listener.getsockname()[1]}/{NAME}", file_hash=None)
        thread.join(5)
    assert names_in(home) == set()


def test_a_server_that_ignores_ranges_sends_it_all_again() -> None:
    faults = [Fault(cut=100_000), Fault(ignore_range=True)]
    with FlakyServer(FILES, faults) as server:
        assert fetch_from(server).read_bytes() == CONTENT
    assert server.requests[1].range is not None
    assert len(server.requests) == 2


def test_a_server_that_sends_another_range_is_not_believed() -> None:
    faults = [Fault(cut=100_000), Fault(content_range="bytes 7-299999/300000")]
    with FlakyServer(FILES, faults) as server:
        assert fetch_from(server).read_bytes() == CONTENT
    assert [request.range is None for request in server.requests] == [True, False, True]


def test_a_part_longer_than_the_file_starts_anew(home: Path) -> None:
    home.mkdir()
    part_of(home).write_bytes(CONTENT + b"more")
    with FlakyServer(FILES) as server:
        assert fetch_from(server).read_bytes() == CONTENT
    assert [r.range for r in server.requests] == [f"bytes={len(CONTENT) + 4}-", None]


def test_a_complete_part_needs_no_request(home: Path) -> None:
    home.mkdir()
    part_of(home).write_bytes(CONTENT)
    with FlakyServer(FILES) as server:
        assert fetch_from(server).read_bytes() == CONTENT
    assert server.requests == []
    assert names_in(home) == {NAME}


def test_a_part_with_other_bytes_never_becomes_the_file(home: Path) -> None:
    home.mkdir()
    part_of(home).write_bytes(b"\0" * 1000)
    with FlakyServer(FILES) as server:
        with pytest.raises(DownloadError, match="should be"):
            fetch_from(server)
        assert names_in(home) == set()
        assert fetch_from(server).read_bytes() == CONTENT


@pytest.mark.parametrize("fault", [Fault(delay=30), Fault(cut=100_000, stall=True)])
def test_a_silent_server_is_asked_again(fault: Fault) -> None:
    with FlakyServer(FILES, [fault]) as server:
        assert fetch_from(server).read_bytes() == CONTENT
        assert len(server.requests) == 2


def test_a_server_that_stays_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "ATTEMPTS", 2)
    with (
        FlakyServer(FILES, then=Fault(cut=0, stall=True)) as server,
        pytest.raises(DownloadError, match=r"(?s)timed out.*tried 2 times"),
    ):
        fetch_from(server)


# --- answers that are no file -----------------------------------------------------------------


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
def test_temporary_answers_are_asked_again(status: int) -> None:
    with FlakyServer(FILES, [Fault(status)] * 3) as server:
        assert fetch_from(server).read_bytes() == CONTENT
        assert len(server.requests) == 4


def test_an_answer_503_for_ever_is_given_up(home: Path) -> None:
    with FlakyServer(FILES, then=Fault(503)) as server:
        with pytest.raises(DownloadError, match="503 Service Unavailable"):
            fetch_from(server)
        assert len(server.requests) == download.ATTEMPTS
    assert names_in(home) == set()


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_final_answers_are_final(home: Path, status: int) -> None:
    with FlakyServer(FILES, then=Fault(status)) as server:
        with pytest.raises(DownloadError, match=f"the server answered {status}"):
            fetch_from(server)
        assert len(server.requests) == 1
    assert names_in(home) == set()


def in_seconds(seconds: int) -> str:
    return formatdate(time.time() + seconds, usegmt=True)


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [("7", 7, 7), (in_seconds(3600), 60, 60), ("86400", 60, 60),
     ("soon", 0, 1), (in_seconds(-9), 0, 1)],
    ids=["seconds", "date", "capped", "nonsense", "past"],
)  # fmt: skip
def test_retry_after_is_honoured_up_to_a_cap(
    monkeypatch: pytest.MonkeyPatch, header: str, least: float, most: float
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(download.time, "sleep", waits.append)
    with FlakyServer(FILES, [Fault(429, {"Retry-After": header})]) as server:
        fetch_from(server)
    assert len(waits) == 1
    assert least <= waits[0] <= most


def test_waiting_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(download.time, "sleep", waits.append)
    monkeypatch.setattr(download, "BACKOFF", 1.0)
    with FlakyServer(FILES, then=Fault(503)) as server, pytest.raises(DownloadError):
        fetch_from(server)
    assert len(waits) == download.ATTEMPTS - 1
    for attempt, wait in enumerate(waits):
        assert 0.5 * 2**attempt <= wait <= 1.5 * 2**attempt


# --- redirects --------------------------------------------------------------------------------


def test_redirects_are_followed(home: Path) -> None:
    moved = Fault(302, {"Location": f"/store/{NAME}"})
    with FlakyServer({f"/store/{NAME}": CONTENT}, [moved]) as server:
        assert fetch_from(server) == home / NAME
    assert [request.path for request in server.requests] == [f"/{NAME}", f"/store/{NAME}"]


def test_redirect_loops_end() -> None:
    with (
        FlakyServer(FILES, then=Fault(302, {"Location": f"/{NAME}"})) as server,
        pytest.raises(DownloadError, match="30 redirects"),
    ):
        fetch_from(server)


def test_redirects_to_other_kinds_of_address_are_refused() -> None:
    with (
        FlakyServer(FILES, then=Fault(302, {"Location": "file:///etc/hostname"})) as server,
        pytest.raises(DownloadError, match="redirects to an insecure or unknown"),
    ):
        fetch_from(server)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
def test_secure_addresses_stay_secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with FlakyServer(FILES) as plain, FlakyServer(FILES, certificate=(certificate, key)) as secure:
        assert fetch_from(secure).read_bytes() == CONTENT
        secure.then = Fault(302, {"Location": f"{plain.url}/{NAME}"})
        with pytest.raises(DownloadError, match="redirects to an insecure"):
            fetch(f"{secure.url}/{NAME}", file_hash=SHA256, filename="other.h5")
        assert plain.requests == []


# --- wrong content ----------------------------------------------------------------------------


def test_a_wrong_hash_deletes_and_says_so(home: Path) -> None:
    wrong = bytes([CONTENT[0] ^ 0xFF]) + CONTENT[1:]
    with FlakyServer(FILES, [Fault(corrupt=True)]) as server:
        with pytest.raises(DownloadError) as failure:
            fetch_from(server)
        assert names_in(home) == set()
        for piece in (SHA256, hashlib.sha256(wrong).hexdigest(), f"{server.url}/{NAME}", "deleted"):
            assert piece in str(failure.value)
        assert fetch_from(server).read_bytes() == CONTENT


@pytest.mark.parametrize("damage", [b"", CONTENT[:-1], b"\0" + CONTENT[1:], CONTENT + b"!"])
def test_a_damaged_file_is_downloaded_again(home: Path, damage: bytes) -> None:
    home.mkdir()
    (home / NAME).write_bytes(damage)
    with FlakyServer(FILES) as server:
        assert fetch_from(server).read_bytes() == CONTENT
        assert len(server.requests) == 1
    assert names_in(home) == {NAME}
