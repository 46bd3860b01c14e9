"""What `compare` found: figures of outputs and inner tensors of two files, and limits to them."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from tflite_tools.agreement import Agreement, FloatAgreement
from tflite_tools.figures import Figures, mean, share
from tflite_tools.tables import table
from tflite_tools.verification_report import first_difference_text


@dataclasses.dataclass(frozen=True)
class FileComparison:
    """How well one file agrees with another.

    Attributes:
        first: The file that is measured against.
        second: The other one.
        images: Number of images compared.
        kernels: "default" or "builtin".
        outputs: Figures of each output: an `Agreement` where both files give the same integers for
            the same values, a `FloatAgreement` of real values where they do not.
        layers: Figures of the inner tensors that both have by one name, where asked for; or None.
    """

    first: str
    second: str
    images: int
    kernels: str
    outputs: list[Figures]
    layers: list[Figures] | None = None

    @property
    def equal(self) -> float:
        """Share of output elements that are equal; real values, to 1/10000 of the largest."""
        return mean(self.outputs)

    @property
    def max_steps(self) -> int | None:
        """Largest difference in steps; None unless all outputs have steps in common."""
        steps = [output.max_steps for output in self.outputs if isinstance(output, Agreement)]
        return max(steps) if steps and len(steps) == len(self.outputs) else None

    @property
    def max_error(self) -> float | None:
        """Largest difference of real values; None where all outputs are compared in steps."""
        errors = [o.largest_error for o in self.outputs if isinstance(o, FloatAgreement)]
        return max(errors, default=None)

    @property
    def top1_agreement(self) -> float | None:
        """Share of images (or pixels) with the same top-1 class, by the first output."""
        return self.outputs[0].top1_agreement

    @property
    def first_difference(self) -> Figures | None:
        """The first inner tensor where the files part (`layers=True`), or None."""
        return next((layer for layer in self.layers or () if layer.differs), None)

    def breach(
        self,
        *,
        max_steps: int | None = None,
        max_error: float | None = None,
        min_equal: float | None = None,
        min_top1: float | None = None,
    ) -> str | None:
        """What lies beyond a limit, in words; None where all are kept.

        Args:
            max_steps: Most steps that an output may differ by.
            max_error: Most that the real values of an output may differ by.
            min_equal: Least share of output elements that must be equal.
            min_top1: Least share of images of which the top-1 class must be the same.

        Raises:
            ValueError: What a limit is set to cannot be told of these files.
        """
        checks = [
            ("steps", self.max_steps, max_steps, lambda x, y: x > y, str),
            ("error", self.max_error, max_error, lambda x, y: x > y, "{:.4g}".format),
            ("equal", self.equal, min_equal, lambda x, y: x < y, share),
            ("top-1", self.top1_agreement, min_top1, lambda x, y: x < y, share),
        ]
        for name, value, limit, breaks, text in checks:
            if limit is None:
                continue
            if value is None:
                raise ValueError(f"{self.first} and {self.second}: {_UNKNOWN[name]}")
            if breaks(value, limit):
                return _BROKEN[name].format(text(value), text(limit))
        return None

    def to_dict(self) -> dict:
        """All figures, ready for JSON."""
        first = self.first_difference
        return {
            "first": self.first,
            "second": self.second,
            "images": self.images,
            "kernels": self.kernels,
            "equal": self.equal,
            "max_steps": self.max_steps,
            "max_error": None if self.max_error in (None, float("inf")) else self.max_error,
            "top1_agreement": self.top1_agreement,
            "first_difference": first and first.to_dict(),
            "outputs": [output.to_dict() for output in self.outputs],
            "layers": self.layers and [layer.to_dict() for layer in self.layers],
        }

    def __str__(self):
        rows = [figures.row() for figures in [*self.outputs, *(self.layers or [])]]
        lines = [
            f"{self.second} against {self.first} on {self.images} images, {self.kernels} kernels",
            table(Figures.HEADER, rows),
            *(_in_real_values(o) for o in self.outputs if isinstance(o, FloatAgreement)),
        ]
        if self.layers:
            lines.append(first_difference_text(self.first_difference))
        elif self.layers is not None:
            lines.append("no inner tensor has the same name and shape in both files")
        return "\n".join(lines)

    def plot(self, path: str | os.PathLike | None = None):
        """Draws a bar for each tensor: the integers it takes, and where it differs by how much.

        Args:
            path: File to write, `.png`, `.svg` or `.pdf`; by default nothing is written.

        Returns:
            A `matplotlib.figure.Figure`, which notebooks show.

        Raises:
            ImportError: matplotlib is missing; the message says what to install.
            ValueError: The path cannot be written.
        """
        names = f"{Path(self.second).name} against {Path(self.first).name}"
        title = f"{names}, {self.images} images"
        from tflite_tools import agreement_plot  # it imports what drawing needs

        return agreement_plot.draw(self.layers or self.outputs, title, path)


#: For people, by the names of the limits.
_BROKEN = {
    "steps": "an output differs by {} steps, {} allowed",
    "error": "the real values of an output differ by {}, {} allowed",
    "equal": "{} of the output elements are equal, {} asked for",
    "top-1": "{} of the images have the same top-1 class, {} asked for",
}
_UNKNOWN = {
    "steps": "their outputs have no quantization step in common; set a limit to the error, to "
    "what is equal or to the top-1 agreement instead of steps",
    "error": "their outputs are compared in steps, not in real values; set a limit to the steps",
    "top-1": "an output of one element has no top-1 class",
}


def _in_real_values(figures: FloatAgreement) -> str:
    ratio = figures.signal_to_noise
    noise = "" if ratio is None else f", {ratio:.1f} dB signal to noise"
    return (
        f"{figures.name}: real values up to {figures.largest:.4g}, {figures.largest_error:.4g} "
        f"apart at most{noise}"
    )
