"""Model repositories for OpenVINO Model Server: config.json, NAME/1/model.xml and .bin, NAME/1/labels.txt."""

from __future__ import annotations

from pathlib import Path

from ...common.json_files import write_json
from ...model_io.spec import InputSpec
from .base import Deployment, Exported, check_name, write_labels

_CONFIG = "config.json"


def _check(name: str, spec: InputSpec) -> None:
    check_name(name, spec)
    if name == _CONFIG:
        raise ValueError(f"{name!r} is the name of the server's own file in the folder: choose another one.")


def _complete(exported: Exported, runtime: Path | None) -> None:
    write_labels(exported.folder / exported.name / "1", exported.spec)
    # Relative to the file, so that the folder may lie anywhere.
    config = {"model_config_list": [{"config": {"name": exported.name, "base_path": exported.name}}]}
    write_json(exported.folder / _CONFIG, config)


_MODEL = "{name}/1/model.xml"
_FILES = (_MODEL, "{name}/1/model.bin", "{name}/1/labels.txt", _CONFIG)
OVMS = Deployment("openvino", _MODEL, _FILES, _check, _complete)
