"""What all tests share: a quiet TensorFlow on the CPU, reference data, long files first."""

import os
from pathlib import Path

# Before TensorFlow is imported anywhere: it reads these once. The tests compare with LiteRT on
# the CPU, so a GPU that happens to be there must not change the numbers.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

#: The files that take longest, longest first. `make test` hands out whole files: a long one that
#: starts last keeps one process busy alone.
LONG_FILES = (
    "test_notebooks.py",
    "mobilequant/quantize/test_garden.py",
    "mobilequant/quantize/test_operators.py",
    "mobilequant/backends/test_jax.py",
    "mobilequant/models/test_segmentation.py",
    "mobilequant/quantize/test_low_precision.py",
    "mobilequant/quantizers/test_denoising.py",
    "mobilequant/quantize/test_quantize.py",
    "mobilequant/tfmot/test_from_tfmot.py",
    "test_docs_code.py",
    "benchmarks/test_lowbit.py",
    "mobilequant/backends/test_devices.py",
    "mobilequant/quantize/test_graphs.py",
    "mobilequant/quantize/test_user_networks.py",
    "mobilequant/cli/test_command.py",
)


def pytest_collection_modifyitems(config, items):
    """Long files first where several processes share the files (pytest-xdist)."""
    if not hasattr(config, "workerinput"):
        return
    ranks = {REPOSITORY / "tests" / path: rank for rank, path in enumerate(LONG_FILES)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of data sets and reference figures beside the checkout.

    `MOBILEQUANT_SHARED` names another place. Where the folder is missing the test is skipped,
    but in continuous integration (`CI=true`) it fails: there the folder always exists.
    """
    default = REPOSITORY.parent / "shared"
    folder = Path(os.environ.get("MOBILEQUANT_SHARED", default)).resolve()
    if not (folder / "reference").is_dir():
        reason = (
            f"the reference data is not at {folder}; set MOBILEQUANT_SHARED to the folder "
            "that holds data/ and reference/"
        )
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder
