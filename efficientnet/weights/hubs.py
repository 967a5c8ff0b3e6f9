"""Repositories on hubs: weights, and the files beside them that describe the network, its pixels and its classes.

handle ── config.json: whose repository is it? ──> its files of configuration ──> its weights, last ──> a folder
"""

from __future__ import annotations

from pathlib import Path

from ..checkpoints.hub_folder import WEIGHTS, find_weights
from ..common.json_files import read_object
from . import download
from .addresses import HubFile

_CONFIG = "config.json"
_KERASHUB = ("image_converter.json", "preprocessor.json", "task.json", "task.weights.h5"), ("model.weights.h5",)
_OTHERS = ("preprocessor_config.json",), ("model.safetensors", "pytorch_model.bin")


def is_repository(place: HubFile) -> bool:
    """Return whether an address is that of a repository, or of the file of weights at its top."""
    return place.file == "" or place.file in WEIGHTS


def fetch(place: HubFile, file_hash: str | None = None) -> Path:
    """Return a folder with the weights of a repository and the files of configuration beside them.

    If the folder holds others than those asked for, which whoever opens it would prefer, it is the path of the file.

    The weights are fetched last, so that a folder of downloads with them is complete and works offline.

    Args:
        place: Repository, or a file of weights in it.
        file_hash: Hash of the file of weights, as ``download.fetch`` takes it.

    Raises:
        DownloadError: A file cannot be downloaded, or the repository has no weights.
        ValueError: Its ``config.json`` is damaged.
    """
    address = f"{place.scheme}://{place.repository}"
    folder = download.cache_dir() / place.folder
    complete = [folder / place.file] if place.file else find_weights(folder)
    if complete and complete[0].is_file() and (file_hash is None or download.is_intact(complete[0], file_hash)):
        return _folder_of(complete[0])
    config = download.fetch_if_there(f"{address}/{_CONFIG}", folder=place.folder)
    is_kerashub = config is not None and read_object(config).get("class_name") == "EfficientNetBackbone"
    beside, weights = _KERASHUB if is_kerashub else _OTHERS
    for name in beside:
        download.fetch_if_there(f"{address}/{name}", folder=place.folder)
    candidates = [place.file] if place.file else weights
    for name in candidates:
        if path := download.fetch_if_there(f"{address}/{name}", file_hash=file_hash, folder=place.folder):
            return _folder_of(path)
    # Whose error says what to do.
    return _folder_of(download.fetch(f"{address}/{candidates[0]}", file_hash=file_hash, folder=place.folder))


def _folder_of(weights: Path) -> Path:
    """Return the folder of weights if these are what is read from it, and otherwise their own path."""
    return weights.parent if find_weights(weights.parent)[:1] == [weights] else weights
