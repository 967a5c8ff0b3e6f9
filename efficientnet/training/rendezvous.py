"""The addresses of a training's processes, and their meeting before it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

_HERE = b"\1"


@dataclass(frozen=True)
class Place:
    """The rank of this process and the addresses of all."""

    addresses: tuple[str, ...]
    rank: int


def find_place(addresses: Sequence[str], rank: int | None) -> Place | None:
    """Return the place that is given, or that ``TF_CONFIG`` has; None if there is neither.

    Raises:
        ValueError: Only a part of the place is given, or the rank is not among the addresses.
    """
    if not addresses and rank is None:
        if "TF_CONFIG" not in os.environ:
            return None
        config = json.loads(os.environ["TF_CONFIG"])
        addresses, rank = config["cluster"]["worker"], int(config["task"]["index"])
    if rank is None or not 0 <= rank < len(addresses):
        raise ValueError(
            f"rank={rank} among {len(addresses)} addresses ({', '.join(addresses)}): expected the address of every "
            "process, and this one's place among them, from 0."
        )
    return Place(tuple(addresses), rank)


def meet(place: Place, timeout: float) -> None:
    """Wait until all processes are there, at the first one's address; engines alone wait for ever, or crash.

    Raises:
        ConnectionError: Processes are missing after ``timeout`` seconds; the message says which.
    """
    deadline = time.monotonic() + timeout
    if place.rank == 0:
        _wait_for_others(place, deadline)
        return
    while not _greet(place, deadline):
        if time.monotonic() > deadline:
            raise ConnectionError(
                f"Process {place.rank} has waited {timeout} s for the first one, at {place.addresses[0]}, and for all "
                "others: start each of them, with the same addresses and a different rank."
            )
        time.sleep(0.2)


def _wait_for_others(place: Place, deadline: float) -> None:
    port = int(place.addresses[0].rpartition(":")[2])
    others: dict[int, socket.socket] = {}
    with contextlib.ExitStack() as connections, socket.create_server(("", port)) as door:
        while missing := set(range(1, len(place.addresses))) - others.keys():
            try:
                door.settimeout(_left(deadline))
                other = connections.enter_context(door.accept()[0])
                other.settimeout(_left(deadline))
                others[int.from_bytes(other.recv(4), "big")] = other
            except TimeoutError:
                absent = ", ".join(f"process {rank} ({place.addresses[rank]})" for rank in sorted(missing))
                raise ConnectionError(
                    f"Nobody has come to {place.addresses[0]} for {absent}: start it, with the same addresses and that "
                    "rank."
                ) from None
        door.close()
        for other in others.values():
            other.sendall(_HERE)
        for other in others.values():
            other.recv(1)  # they hang up first, which leaves the port free for the engine


def _greet(place: Place, deadline: float) -> bool:
    """Return whether the first process is there and reports that all others are."""
    host, _, port = place.addresses[0].rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=_left(deadline)) as first:
            first.sendall(place.rank.to_bytes(4, "big"))
            return first.recv(1) == _HERE
    except OSError:
        return False


def _left(deadline: float) -> float:
    return max(0.01, deadline - time.monotonic())
