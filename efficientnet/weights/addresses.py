"""Addresses of files: on the web, and on hubs, by handles that name an owner and a repository.

hf://OWNER/REPOSITORY[/FILE]
kaggle://OWNER/MODEL/FRAMEWORK/VARIATION/VERSION[/FILE]
"""

from __future__ import annotations

import os
import re
from hashlib import sha256
from pathlib import PurePosixPath
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

_HF = re.compile(r"(?P<scheme>hf)://(?P<repository>[^/]+/[^/]+)(?:/(?P<file>.+))?")
_KAGGLE = re.compile(r"(?P<scheme>kaggle)://(?P<repository>(?:[^/]+/){4}\d+)(?:/(?P<file>.+))?")
DEFAULT_FILE = "model.safetensors"
_KNOWN = (
    "https://…, http://…, hf://owner/repository[/file] or kaggle://owner/model/framework/variation/version[/file], "
    "such as kaggle://keras/efficientnet/keras/efficientnet_b0_ra_imagenet/2"
)


class HubFile(NamedTuple):
    """A file on a hub.

    Attributes:
        scheme: ``"hf"`` or ``"kaggle"``.
        repository: ``"google/efficientnet-b0"``.
        file: Path in the repository; empty if the address is that of the repository.
    """

    scheme: str
    repository: str
    file: str

    @property
    def folder(self) -> str:
        """Name of a folder for files of the repository."""
        return self.repository.replace("/", "--")


def is_address(text: str) -> bool:
    """Return whether a text is an address, and no path."""
    return re.match(r"(https?|hf|kaggle)://", text) is not None


def on_hub(address: str) -> HubFile | None:
    """Return the parts of an address on a hub; None for another address."""
    match = _HF.fullmatch(address) or _KAGGLE.fullmatch(address)
    return match and HubFile(match["scheme"], match["repository"], match["file"] or "")


def resolve(address: str) -> str:
    """Return the web address behind an address.

    Args:
        address: ``https://…`` and ``http://…`` stay unchanged; a file on a hub is ``model.safetensors`` unless named.
            $HF_ENDPOINT and $KAGGLE_API_ENDPOINT override the hubs' own.

    Raises:
        ValueError: The address is of another kind.
    """
    if re.match(r"https?://.", address):
        try:
            urlsplit(address)
        except ValueError as error:
            raise ValueError(f"cannot download {address!r}: {error}; give {_KNOWN}") from None
        return address
    if (place := on_hub(address)) is None:
        raise ValueError(f"cannot download {address!r}: give {_KNOWN}")
    file = quote(place.file or DEFAULT_FILE)
    if place.scheme == "hf":
        endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
        return f"{endpoint.rstrip('/')}/{place.repository}/resolve/main/{file}"
    endpoint = os.environ.get("KAGGLE_API_ENDPOINT") or "https://www.kaggle.com"
    return f"{endpoint.rstrip('/')}/api/v1/models/{place.repository}/download/{file}"


def default_name(address: str, *, hashed: bool) -> str:
    """Return the name of a file in a folder of downloads; without a hash with a digest of the address in front."""
    if place := on_hub(address):
        return f"{place.folder}--{place.file or DEFAULT_FILE}".replace("/", "--")
    name = unquote(PurePosixPath(urlsplit(address).path).name)
    if hashed or not name:
        return name
    return f"{sha256(address.encode()).hexdigest()[:8]}-{name}"
