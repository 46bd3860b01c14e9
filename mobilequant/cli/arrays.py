"""Arrays of real values for models that do not take images: `--input`."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from mobilequant.cli import files
from mobilequant.cli.errors import UsageError

if TYPE_CHECKING:
    import numpy as np


def read(path: str | Path) -> np.ndarray | dict[str, np.ndarray]:
    """The array of a .npy file, or those of a .npz file by the names of the model's inputs.

    Raises:
        UsageError: There is no such file, or NumPy cannot read it.
    """
    import numpy as np

    path = files.check_input(path, ".npz" if Path(path).suffix == ".npz" else ".npy")
    try:
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found
        with found:
            return {name: found[name] for name in found.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path} is no array that NumPy can read: {error}") from error
