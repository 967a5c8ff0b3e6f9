"""A web server on loopback that misbehaves as told, for the tests of downloading."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import struct
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one answer."""

    status: int | None = None  # answer with this status and no file
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None  # send only so many bytes of the body, then close the connection
    reset: bool = False  # close with a TCP reset, not an orderly end
    delay: float = 0.0  # seconds of silence before the answer
    stall: bool = False  # after `cut`, keep the connection open and silent instead of closing it
    corrupt: bool = False  # invert the first byte of the body
    ignore_range: bool = False  # send the whole file whatever was asked for
    content_range: str | None = None  # claim this range in a 206


@dataclass(frozen=True)
class Request:
    path: str
    range: str | None


class FlakyServer:
    """Serves `files` (path -> content), each request with the next of `faults`, then with `then`.

    `requests` lists what was asked for. Use it as a context manager.
    """

    def __init__(
        self,
        files: Mapping[str, bytes],
        faults: list[Fault] | None = None,
        then: Fault | None = None,
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        self.files = files
        self.faults = list(faults or [])
        self.then = then or Fault()
        self.requests: list[Request] = []
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        flaky = self

        class Handler(_Handler):
            server_state = flaky

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
            scheme = "https"
        self.url = f"{scheme}://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> FlakyServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stopping.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def next_fault(self, request: Request) -> Fault:
        with self._lock:
            self.requests.append(request)
            return self.faults.pop(0) if self.faults else self.then


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server_state: FlakyServer

    def do_GET(self) -> None:
        range_header = self.headers.get("Range")
        fault = self.server_state.next_fault(Request(self.path, range_header))
        self.server_state.stopping.wait(fault.delay)
        content = self.server_state.files.get(self.path)
        if fault.status is not None or content is None:
            self._send(fault.status or 404, b"<html>no file here</html>", fault)
            return
        asked = re.fullmatch(r"bytes=(\d+)-", range_header or "")
        if asked is None or fault.ignore_range:
            self._send(200, content, fault)
            return
        start, last = int(asked[1]), len(content) - 1
        if start > last:
            self._send(416, b"", fault, {"Content-Range": f"bytes */{len(content)}"})
            return
        claimed = fault.content_range or f"bytes {start}-{last}/{len(content)}"
        self._send(206, content[start:], fault, {"Content-Range": claimed})

    def _send(self, status: int, body: bytes, fault: Fault, headers: Mapping[str, str] | None = None) -> None:
        if fault.corrupt:
            body = bytes([body[0] ^ 0xFF]) + body[1:]
        self.send_response(status)
        for name, value in {**(headers or {}), **fault.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body[: fault.cut])
        except ConnectionError:  # the client gave up first
            self.close_connection = True
            return
        if fault.stall:
            self.server_state.stopping.wait(60)
        if fault.cut is not None:
            self.close_connection = True
            if fault.reset:
                linger = struct.pack("ii", 1, 0)  # on, for 0 s: close() then resets
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.connection.close()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: what was asked for is in `requests`."""


@contextlib.contextmanager
def raw_server(*answers: bytes | Iterable[bytes]) -> Iterator[str]:
    """Send each request the next of the answers, which need not be HTTP, or the last one again; yields the address."""
    remaining = list(answers)

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # the end
                return
            with connection, contextlib.suppress(OSError):  # the client has had enough
                connection.recv(65536)
                answer = remaining.pop(0) if len(remaining) > 1 else remaining[0]
                for piece in [answer] if isinstance(answer, bytes) else answer:
                    connection.sendall(piece)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def endless_redirect() -> Iterator[bytes]:
    """A redirect to where it came from, with a body of a gigabyte."""
    yield b"HTTP/1.1 302 Found\r\nLocation: /net.h5\r\nTransfer-Encoding: chunked\r\n\r\n"
    for _ in range(16_000):
        yield b"10000\r\n" + bytes(65536) + b"\r\n"
