"""Optional libraries: what to install where one is missing."""

import importlib.util


def require_pycocotools(what: str) -> None:
    """Raises an ImportError that says what to install where pycocotools is missing.

    Args:
        what: needs it, for the message.
    """
    if importlib.util.find_spec("pycocotools") is None:
        raise ImportError(
            f'{what} need pycocotools, which is not installed: pip install "mobilequant[detection]"'
        )
