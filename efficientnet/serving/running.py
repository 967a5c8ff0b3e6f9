"""The HTTP server: uvicorn, with the limit of time that it lacks."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable

import h11
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..common.text import plain
from .requests import TIMEOUT

_LAST_REQUESTS = 1.0  # seconds, after SIGTERM, for requests that are on their way


def create_server(
    app: Starlette, host: str, port: int, seconds: float, started: Callable[[int], None]
) -> uvicorn.Server:
    """Create a server, whose ``run`` serves until SIGTERM or SIGINT, and then until each request has its response.

    Args:
        app: Application, as ``create_app`` returns it.
        host: Address to listen on.
        port: Port to listen on; 0 for a free one.
        seconds: Time that a connection has to send the head of a request.
        started: Function that is called with the port once connections are accepted.
    """

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            await asyncio.sleep(0)  # accepts who has connected already
            for server in self.servers:
                server.close()
            # uvicorn closes a connection between two requests at once, also where the next one has been sent: that one
            # still gets a response, which says that it is the last.
            self.server_state.default_headers.append((b"connection", b"close"))
            end = time.monotonic() + _LAST_REQUESTS
            while self.server_state.connections and not self.force_exit and time.monotonic() < end:
                await asyncio.sleep(0.05)
            await super().shutdown(sockets)

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                started(self.servers[0].sockets[0].getsockname()[1])

    return Server(
        uvicorn.Config(app, host, port, http=_timed(seconds), ws="none", log_level="warning", access_log=False)
    )


def check_address(host: str, port: int) -> None:
    """Check that an address can be listened on, before models are loaded for it.

    Raises:
        OSError: It is not this machine's, another program listens there, or listening is not allowed.
    """
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            with socket.socket(family, kind, protocol) as trial:
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
                trial.bind(address)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error  # a UnicodeError: DNS cannot have such a name
        raise OSError(
            f"Cannot listen on {plain(host)}, port {port}: {reason}. Choose an address of this machine (--host), such "
            "as 127.0.0.1 or 0.0.0.0, and a free port (--port; 0 takes any)."
        ) from None


def _timed(seconds: float) -> type[asyncio.Protocol]:
    """Return uvicorn's protocol with limits of time for clients that send or read slowly; uvicorn waits without end.

    One is for all that a client sends while no request is under way: the head of the next request, or what is left of a
    body that already has its response. The other is for a response that the client does not read. The time of a body is
    ``read_body``'s.
    """

    class TimedProtocol(H11Protocol):
        deadline: asyncio.TimerHandle | None = None
        unread: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.watch()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            for timer in (self.deadline, self.unread):
                if timer is not None:
                    timer.cancel()

        def pause_writing(self) -> None:
            super().pause_writing()
            self.unread = self.loop.call_later(seconds, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            if self.unread is not None:
                self.unread.cancel()

        def watch(self) -> None:
            is_waiting = self.cycle is None or self.cycle.response_complete
            if is_waiting and self.deadline is None:
                self.deadline = self.loop.call_later(seconds, self.give_up)
            elif not is_waiting and self.deadline is not None:
                self.deadline.cancel()
                self.deadline = None

        def give_up(self) -> None:
            if self.conn.our_state is h11.IDLE and self.conn.trailing_data[0]:
                body = json.dumps({"error": f"The headers took longer than {seconds:g} seconds."}).encode()
                headers = [("content-type", "application/json"), ("content-length", str(len(body)))]
                response = h11.Response(status_code=TIMEOUT, headers=[*headers, ("connection", "close")])
                for event in (response, h11.Data(data=body), h11.EndOfMessage()):
                    self.transport.write(self.conn.send(event) or b"")
            self.transport.close()

    return TimedProtocol
