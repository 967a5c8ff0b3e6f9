"""Requests that mean harm: each gets a clear 4xx or a closed connection, soon, and the server goes on."""

import contextlib
import io
import json
import random
import re
import select
import socket
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import keras
import pytest
from color_models import CORNERS, color_model
from PIL import Image
from test_serving import png

pytest.importorskip("uvicorn", reason="needs pip install 'efficientnet[serve]>=2'")

from efficientnet.inference import compile
from efficientnet.serving import Limits, create_app
from efficientnet.serving.running import create_server

SECONDS = 0.5  # of the server's patience
BOUND = 6.0  # within which each connection ends; several of them share a processor
CLOSED = 0  # in place of a status


@pytest.fixture(scope="module")
def port():
    ports = []
    with compile(color_model(keras, *CORNERS), preprocessing="none", cache=False) as predictor:
        app = create_app({"colors": predictor}, Limits(body_bytes=1_000_000, seconds=SECONDS))
        server = create_server(app, "127.0.0.1", 0, SECONDS, ports.append)
        server.config.timeout_keep_alive = 1
        thread = threading.Thread(target=server.run)
        thread.start()
        while not ports:
            time.sleep(0.01)
        yield ports[0]
        server.should_exit = True
        thread.join()


def sent(port, pieces, pause=0.0):
    """The status that comes back and how long the connection lasts, for pieces that are sent with pauses."""
    started, received = time.monotonic(), b""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        with contextlib.suppress(ConnectionError):  # it may be closed before all is sent; then the response is there
            for piece in pieces:
                connection.sendall(piece)
                if pause and select.select([connection], [], [], pause)[0]:
                    break
        connection.settimeout(BOUND)
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(1 << 16):
                received += piece
    status = int(received.split()[1]) if received.startswith(b"HTTP/1.1 ") else CLOSED
    if status >= 400:
        assert re.search(rb'"error"|Invalid HTTP|Not Found|Method Not Allowed', received)
        assert b"Traceback" not in received
    return status, time.monotonic() - started


def request(path="/predict", body=b"", headers=(), method="POST"):
    head = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def drip(content, size=1):
    return [content[start : start + size] for start in range(0, len(content), size)]


def progressive(scans):
    """A JPEG file of few bytes that a decoder passes over many times."""
    buffer = io.BytesIO()
    Image.new("L", (4000, 4000), 90).save(buffer, "JPEG", progressive=True)
    content = buffer.getvalue()
    return content[:-2] + content[content.rindex(b"\xff\xda") : -2] * scans + content[-2:]


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def bombs():
    start, end = b"\x89PNG\r\n\x1a\n", chunk(b"IEND", b"")
    for side in (20_000, 2**20, 2**31 - 1):
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        yield start + header + chunk(b"IDAT", zlib.compress(bytes(100))) + end
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(80_000_000), 9))
    yield start + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)) + text * 3 + end
    yield b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b"," + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0)
    yield b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 2**31 - 1, 2**31 - 1, 1, 24, 0, 0, 0, 0, 0, 0)
    yield b"P6 1000000 1000000 255\n"
    yield progressive(2000)


IMAGE = png((1, 2, 3))
JSON = ("Content-Type: application/json",)
FORM = ("Content-Type: multipart/form-data; boundary=x",)
INFER = "/v2/models/colors/infer"
PART = b'--x\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n'


def truncated():
    """Bodies that end before they should: images, forms, JSON; and connections that end within them."""
    yield from ((request(body=IMAGE[:length]),) for length in range(1, len(IMAGE) - 20))
    yield from (
        (request(INFER, body=b'{"inputs": [{"shape": [1, 16'[:length], headers=JSON),) for length in range(1, 28, 3)
    )
    yield from ((request(body=(PART + IMAGE)[:length], headers=FORM),) for length in range(1, 100, 9))


def wrong_lengths():
    for length in ("-1", "+5", "1e3", "0x5", "5, 6", "", "five", "1_0", "٣"):
        yield (f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode() + IMAGE,)
    for size in ("-1", "0x5", "zz", "fffffffffffffffffffff", ""):
        head = b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        yield (head + size.encode() + b"\r\n" + IMAGE + b"\r\n0\r\n\r\n",)
    for others in (
        "Content-Length: 3\r\nContent-Length: 4",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: x, chunked",
    ):
        yield (f"POST /predict HTTP/1.1\r\nHost: x\r\n{others}\r\n\r\nabcd".encode(),)
    yield (request(body=b"x" * 1_000_001),)
    yield (
        b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"10000\r\n"
        + b"x" * 65536
        + b"\r\n",
    ) * 30


def bad_heads():
    host = b" HTTP/1.1\r\nHost: x\r\n"
    for line in (b"GET", b"GET /", b"\0\1\2", b"\x16\x03\x01\x02\0\x01", b"GET  / HTTP/1.1", b"POST / HTTP/1.1"):
        yield (line + b"\r\n\r\n",)
    for line in (b": x", b"a : x", b" folded: \0", b"Host: y", b"a\0: x", b"a: \r\rx", b"a: \r\n\tb\0"):
        yield (b"GET /" + host + line + b"\r\n\r\n",)
    for start in (b"GET /\xff", b"CONNECT x:1", b"GET /" + b"a" * 1_000_000, b"TRACE /", b"\xffGET /"):
        yield (start + host + b"\r\n",)
    yield (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",)
    yield (b"GET /" + host + b"".join(b"h%d: x\r\n" % number for number in range(20_000)) + b"\r\n",)
    yield (b"GET /" + host + b"Cookie: " + b"a" * 1_000_000 + b"\r\n\r\n",)


PATHS = """
/../etc/passwd /..%2f..%2fetc/passwd /%2e%2e/%2e%2e/etc/passwd //etc/passwd /./models/../x /%00 /predict/..
/static/../../x /v2/models/../../x /v2/models/..%2f..%2fx/infer /\\..\\x /%c0%ae%c0%ae/x http://127.0.0.1:1/x
http://[::1 * /v2/models/%00/ready
"""


def paths():
    yield from ((request(path, method="GET"),) for path in [*PATHS.split(), f"/v2/models/{'a' * 9000}"])
    yield (request("/", method="PUT"),)
    for query in (
        "model=../x",
        "model=%00",
        f"model={'a' * 9000}",
        "top=-1",
        f"top={'x' * 9000}",
        "top=NaN",
        "top=%ff",
    ):
        yield (request(f"/predict?{query}", IMAGE),)


def huge_json():
    tensor = '{"name": "images", "shape": [1, 16, 16, 3], "datatype": "FP32", "data": %s}'
    nested, listed = (
        ("[" * 400_000, "[" * 20_000 + "]" * 20_000, '{"a":' * 100_000),
        ("0", '"\\ud800"', "[]", "{}", "null"),
    )
    lists = [f"[{','.join([item] * 90_000)}]" for item in listed]
    for data in (*nested, *lists, f"[{'9' * 900_000}]", "[1e999]", f'"{"a" * 900_000}"'):
        yield (request(INFER, f'{{"inputs": [{tensor % data}]}}'.encode(), JSON),)
        yield (request("/predict", data.encode(), JSON),)
    for shape in ([10**9] * 4, [-1], [1, 16, 16, 2**40], [[[[1]]]], [1.5], [True], "x", None, {}, [0]):
        body = {"inputs": [{"name": "images", "shape": shape, "datatype": "FP32", "data": [0]}]}
        yield (request(INFER, json.dumps(body).encode(), JSON),)


def forms():
    yield (request(body=PART * 9000, headers=FORM),)
    yield (request(body=b"\r\n" * 400_000 + PART, headers=FORM),)
    yield (request(body=b"--x\r\n" + b"a: b\r\n" * 100_000 + b"\r\n\r\n--x--", headers=FORM),)
    yield (request(body=b"--x\r\nContent-Disposition: " + b"a" * 900_000 + b"\r\n\r\n--x--", headers=FORM),)
    yield (request(body=PART + b"\r\n--" * 200_000, headers=FORM),)
    for boundary in ("", "=", '"', "a" * 9000, "\t", "x; boundary=y"):
        yield (request(body=PART, headers=(f"Content-Type: multipart/form-data; boundary={boundary}",)),)


def noise():
    yield from ((random.Random(seed).randbytes(2000),) for seed in range(16))


KINDS = {
    "truncated": truncated, "wrong lengths": wrong_lengths, "bad heads": bad_heads, "paths": paths,
    "huge JSON": huge_json, "forms": forms, "noise": noise,
    "bombs": lambda: ((request(body=bomb),) for bomb in bombs()),
}  # fmt: skip
GET, POST = b"GET /nothing HTTP/1.1\r\nHost: x\r\n", b"POST /predict HTTP/1.1\r\nHost: x\r\n"
SLOW = {
    "headers": (drip(GET + b"a: b\r\n" * 999), 408),
    "a first line": (drip(b"GET /" + b"a" * 9999), 408),
    "nothing": ([], CLOSED),
    "one byte": ([b"G"], 408),
    "no end of headers": ([GET], 408),
    "a body": ([POST + b"Content-Length: 500\r\n\r\n", *drip(b"x" * 500)], 408),
    "no body": ([POST + b"Content-Length: 500\r\n\r\n"], 408),
    "a chunked body": ([POST + b"Transfer-Encoding: chunked\r\n\r\n", *[b"1\r\nx\r\n"] * 500], 408),
    "a second request": ([GET + b"\r\n", *drip(GET + b"a: b\r\n" * 999)], 404),
    "a body after the response": ([POST + b"Content-Length: 9999999\r\n\r\n", *[b"x"] * 999], 413),
}


def test_there_are_200():
    assert sum(len(list(kind())) for kind in KINDS.values()) + len(SLOW) >= 200


@pytest.mark.parametrize("kind", KINDS)
def test_each_gets_a_clear_response(port, kind):
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda pieces: sent(port, pieces), KINDS[kind]()))
    statuses = [status for status, _ in found]
    assert all(400 <= status < 500 for status in statuses), statuses
    assert max(took for _, took in found) < BOUND
    assert sent(port, [request(body=IMAGE)])[0] == 200


def test_slow_senders(port):
    with ThreadPoolExecutor(len(SLOW)) as threads:
        found = list(threads.map(lambda case: sent(port, case[0], pause=0.05), SLOW.values()))
    assert dict(zip(SLOW, [status for status, _ in found], strict=True)) == {
        name: status for name, (_, status) in SLOW.items()
    }
    assert max(took for _, took in found) < BOUND


def test_a_client_that_does_not_read(port):
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), BOUND) as connection, pytest.raises(ConnectionError):
        while time.monotonic() < started + BOUND:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 99)
