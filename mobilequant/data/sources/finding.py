"""From the name that a loader was given to a data set: one of TensorFlow's, or a folder."""

from collections.abc import Callable
from pathlib import Path

from mobilequant.data.sources.source import Source


def find(
    name: str | Path,
    data_dir: str | Path | None,
    *,
    read_folder: Callable[[str | Path], Source],
    read_tfds: Callable[[str, str | Path | None], Source],
    possible: str,
) -> Source:
    """Reads the data set called `name`; a folder where no data set has that name.

    Args:
        name: of a TensorFlow data set, or a folder: certainly so where it is a `Path` or begins
            with `/`, `.` or `~`.
        data_dir: folder of prepared data sets; `None` for TFDS's own.
        read_folder: from a folder to its source.
        read_tfds: from the name and `data_dir` to the source.
        possible: for people, what `name` may be; `{similar}` stands for names like it.

    Raises:
        ValueError: nothing has that name, or `data_dir` is no folder.
    """
    text = str(name)
    if isinstance(name, Path) or text.startswith(("/", ".", "~")):
        return read_folder(name)
    # Imported where it is needed: it takes seconds, and folders do without.
    from mobilequant.data.sources import tfds

    if data_dir is not None and not Path(data_dir).expanduser().is_dir():
        raise ValueError(f"data_dir={str(data_dir)!r} is no folder; create it to download into it")
    if tfds.is_known(text, data_dir):
        return read_tfds(text, data_dir)
    if Path(text).is_dir():
        return read_folder(text)
    similar = ", ".join(f'"{other}"' for other in tfds.similar_names(text))
    raise ValueError(
        f'no data set is called "{text}"; give '
        f"{possible.format(similar=f' ({similar}?)' if similar else '')}"
    )
