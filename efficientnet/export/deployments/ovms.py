"""Model repositories for OpenVINO Model Server: config.json, NAME/1/model.xml and .bin, NAME/1/labels.txt."""

from __future__ import annotations

import json
from pathlib import Path

from .base import Deployment, Exported, check_name, write_labels


def _complete(exported: Exported, runtime: Path | None) -> None:
    write_labels(exported.folder / exported.name / "1", exported.spec)
    # Relative to the file, so that the folder may lie anywhere.
    config = {"model_config_list": [{"config": {"name": exported.name, "base_path": exported.name}}]}
    (exported.folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


OVMS = Deployment("openvino", "{name}/1/model.xml", "config.json", check_name, _complete)
