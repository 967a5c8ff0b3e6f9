"""From files to predictions: a folder of JPEGs, and the contenders that read it. Contenders as in contenders.py."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .contenders import ForBatch, Measure, Open, Settings, compiled_from_cache, keras_network, timm_network
from .measuring import timed


def per_file(settings: Settings, predict: Callable[[list[Path], int], int]) -> ForBatch:
    """Return the seconds per file of a function of files and a batch size that returns how many it predicted."""

    def for_batch(batch: int) -> Measure:
        paths = sorted(Path(settings.photographs).glob("*.jpg"))

        def check() -> None:
            if (predicted := predict(paths, batch)) != len(paths):
                raise RuntimeError(f"predicted {predicted} of {len(paths)} files")

        measure = timed(check)
        return lambda: measure() / len(paths)

    return for_batch


def this_package(settings: Settings) -> ForBatch:
    predictor = compiled_from_cache("auto", "f32", settings)
    return per_file(settings, lambda paths, batch: len(list(predictor.stream(paths))))


def keras_applications(settings: Settings) -> ForBatch:
    model = keras_network(settings)
    import keras

    def predict(paths: list[Path], batch: int) -> int:
        dataset = keras.utils.image_dataset_from_directory(
            settings.photographs,
            labels=None,
            batch_size=batch,
            image_size=(settings.resolution, settings.resolution),
            shuffle=False,
            verbose=False,
        )
        return len(model.predict(dataset, verbose=0))

    return per_file(settings, predict)


def timm_loader(settings: Settings) -> ForBatch:
    network = timm_network(settings).network
    import torch
    from PIL import Image

    data: Any = importlib.import_module("timm.data")
    input_size = (3, settings.resolution, settings.resolution)
    transform = data.create_transform(**{**data.resolve_data_config(model=network), "input_size": input_size})

    class Files(torch.utils.data.Dataset[Any]):
        def __init__(self, paths: list[Path]) -> None:
            self.paths = paths

        def __len__(self) -> int:
            return len(self.paths)

        def __getitem__(self, index: int) -> Any:
            with Image.open(self.paths[index]) as photograph:
                return transform(photograph.convert("RGB"))

    def predict(paths: list[Path], batch: int) -> int:
        loader = torch.utils.data.DataLoader(Files(paths), batch_size=batch, num_workers=settings.threads)
        with torch.inference_mode():
            return sum(len(network(images).softmax(1).numpy()) for images in loader)

    return per_file(settings, predict)


FILE_REFERENCE = "files: keras.applications, image_dataset_from_directory"
FILE_CONTENDERS: dict[str, Open] = {
    "files: this package, stream": this_package,
    FILE_REFERENCE: keras_applications,
    "files: timm, DataLoader": timm_loader,
}
