"""Downloading from the Hugging Face hub: its addresses, its digests, its package and its offline mode."""

from __future__ import annotations

import sys
import types
from collections.abc import Mapping
from importlib import util
from pathlib import Path
from typing import Any

import pytest
from downloads import CONTENT, FILES, NAME, SHA256, fetch_from, names_in, start_child
from flaky_server import Fault, FlakyServer, Request

from efficientnet.errors import DownloadError
from efficientnet.weights.download import fetch, resolve

pytestmark = pytest.mark.usefixtures("home")


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


@pytest.mark.slow
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
