"""A small network to export, and the files to export it as."""

from tiny_blocks import tiny_blocks

NAMES = {"onnx": "tiny.onnx", "openvino": "tiny.xml", "litert": "tiny.tflite", "saved_model": "tiny"}
RUNTIMES = {
    "onnx": "onnxruntime",
    "openvino": "openvino",
    "litert": "ai_edge_litert",
    "saved_model": "tensorflow",
}


def build(**options):
    import keras

    import efficientnet.keras as efn

    keras.utils.set_random_seed(0)
    arguments = {"weights": None, "blocks_args": tiny_blocks("b0"), "model_name": "tiny", **options}
    return efn.EfficientNet(0.5, 1.0, 64, **arguments)


def contents(folder):
    return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
