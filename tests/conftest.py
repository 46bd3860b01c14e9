"""What all tests share: a quiet TensorFlow on the CPU, and the folder of reference data."""

import os
from pathlib import Path

# Before TensorFlow is imported anywhere: it reads these once. The tests compare with LiteRT on
# the CPU, so a GPU that happens to be there must not change the numbers.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


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
