"""Package metadata and dependencies; the tools' settings are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

README = Path(__file__).parent / "README.md"

MATPLOTLIB = "matplotlib>=3.9,<4"
TENSORBOARD = "tensorboard>=2.20,<3"
SAFETENSORS = "safetensors>=0.5,<1"
HUB = "huggingface_hub>=0.30,<2"
TFMOT = ["tensorflow-model-optimization>=0.8,<0.9", "tf_keras>=2.21,<2.22"]
MEDIAPIPE = "mediapipe>=1.2,<2"
PYCOCOTOOLS = "pycocotools>=2.0.8,<3"
# Material 10 and MkDocs 2 may read another mkdocs.yml. MathML is made by latex2mathml.
DOCS = [
    "mkdocs>=1.6.1,<2",
    "mkdocs-material>=9.7,<10",
    "mkdocstrings[python]>=1.0,<2",
    "latex2mathml>=3.78,<4",
]
# What executes a notebook: without the pages that JupyterLab shows it in.
NOTEBOOKS = ["nbclient>=0.10,<1", "ipykernel>=6.29,<8"]

setup(
    name="mobilequant",
    version="0.1.0",
    description="Quantize Keras 3 models for phones and Edge TPUs, and verify the .tflite file.",
    long_description=README.read_text(encoding="utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.14",
    packages=find_packages(
        include=["mobilequant", "mobilequant.*", "tflite_tools", "tflite_tools.*"]
    ),
    package_data={
        "mobilequant": ["**/*.json"],
        "tflite_tools": ["**/*.json", "**/*.fbs", "reporting/templates/*"],
    },
    # TensorFlow, Keras and LiteRT are held to the minor releases whose integer arithmetic and
    # whose converter the tests have checked: another one may round differently.
    install_requires=[
        "tensorflow>=2.21,<2.22",
        "keras>=3.15,<3.16",
        "ai-edge-litert>=2.3,<2.4",
        "flatbuffers>=25.9.23,<26",
        "numpy>=2.0,<3",
        "pillow>=10.1",
        "tensorflow-datasets>=4.9.9,<5",
        # TFDS imports it when it downloads or writes a data set, and does not ask for it.
        "importlib_resources>=6",
        # The digits that ship inside scikit-learn are the data set that needs no download.
        "scikit-learn>=1.5,<2",
        "rich>=13,<16",
        # Fills in the page of `mobilequant report` and escapes what names in a file may hold. It
        # is small and pure Python, so that the command works without an extra.
        "jinja2>=3.1,<4",
        # Completion scripts for bash, zsh and fish, from the parsers.
        "shtab>=1.13,<2",
    ],
    extras_require={
        "test": [
            "pytest>=8.3",
            "pytest-xdist>=3.6,<4",
            "hypothesis>=6.120",
            # One minor release: another may format differently, and `make test` would fail.
            "ruff>=0.17.5,<0.18",
            "jax>=0.5",
            MATPLOTLIB,
            TENSORBOARD,
            SAFETENSORS,
            HUB,
            *TFMOT,
            PYCOCOTOOLS,
            # Drives the Chromium that is installed, to look at the page of `mobilequant report`.
            "playwright>=1.49,<2",
            *DOCS,
            *NOTEBOOKS,
        ],
        "docs": DOCS,
        "jax": ["jax>=0.5"],
        # Weights of timm and torchvision for `mobilequant.models`: from a file, from the hub.
        "safetensors": [SAFETENSORS],
        "hub": [SAFETENSORS, HUB],
        # COCO's mean average precision, and masks from COCO's polygons.
        "detection": [PYCOCOTOOLS],
        # For `QuantizationMonitor`: its plot, and its logs, which TensorFlow writes by TensorBoard.
        "plots": [MATPLOTLIB, TENSORBOARD],
        "notebooks": [MATPLOTLIB, "jupyterlab>=4,<5", "nbconvert>=7,<8", SAFETENSORS, PYCOCOTOOLS],
        # Opens the files that carry metadata; writing them needs nothing. Not beside "tfmot", which
        # wants an older absl-py: the tests have it in an environment of its own.
        "mediapipe": [MEDIAPIPE],
        # For `from_tfmot`. TFMOT needs Keras 2 (tf_keras), which goes beside Keras 3.
        "tfmot": TFMOT,
    },
    entry_points={"console_scripts": ["mobilequant = mobilequant.cli:main"]},
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
