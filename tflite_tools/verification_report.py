"""What `verify` found: figures of outputs and inner tensors, and whether they keep the promise."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from tflite_tools.agreement import FLOAT_TOLERANCE, Agreement
from tflite_tools.figures import Figures, mean, share, short
from tflite_tools.tables import table

#: How far a QUANTIZE behind float kernels may lie from Keras', in steps: the next integer, where
#: a value lies next to a tie.
STEPS_BEHIND_FLOAT = 1


@dataclasses.dataclass(frozen=True)
class Verification:
    """How well a file agrees with the model that it was made from.

    Attributes:
        path: The file.
        images: Number of images compared.
        kernels: "default" or "builtin".
        outputs: Figures of each output; `FloatAgreement`s of those that float layers give.
        logits: Figures of the tensor before the softmax, where the first output is one; or None.
        layers: Figures of every tensor in the order of computation, where asked for; or None.
        borders: Of a mixed file, figures of what each QUANTIZE behind a float layer gives; None
            of an integer file. In a mixed file these, `logits`, `layers` and `behind` tell how
            far the file lies from Keras where Keras goes on from the file's integers behind each
            float layer, `outputs` how far they are apart in the end.
        behind: Figures of the outputs that lie behind a border, part by part.
        detections: Of a file that ends in TFLite_Detection_PostProcess, how many boxes that gave;
            the figures are those of the integers before it. None of other files.
    """

    path: str
    images: int
    kernels: str
    outputs: list[Figures]
    logits: Figures | None = None
    layers: list[Figures] | None = None
    borders: list[Agreement] | None = None
    behind: list[Figures] = dataclasses.field(default_factory=list)
    detections: int | None = None

    @property
    def equal(self) -> float:
        """Share of output elements that are the same integer in Keras and in the file.

        Of a float output, of those within 1/10000 of its largest value.
        """
        return mean(self.outputs)

    @property
    def within_one_step(self) -> float:
        """Share of output elements that are the same integer or its neighbour.

        Of float outputs it is not told; 1 where there are no others.
        """
        return mean(self._integer_outputs, "within_one_step")

    @property
    def max_steps(self) -> int:
        """Largest difference of an output element; 0 where all outputs are float."""
        return max((output.max_steps for output in self._integer_outputs), default=0)

    @property
    def breach(self) -> Figures | None:
        """The first tensor that lies further from Keras than is promised, or None."""
        checked = [
            *(self.layers or []),
            *(self.borders or []),
            *([self.logits] if self.logits else []),
            *self.behind,
            *self.outputs,
        ]
        return next((figures for figures in checked if figures.breaks), None)

    @property
    def promise(self) -> str | None:
        """What is promised of a mixed file, and how often its exception was met."""
        if self.borders is None:
            return None
        most = max((border.max_steps for border in self.borders), default=0)
        return (
            f"behind float layers: up to {STEPS_BEHIND_FLOAT} step, float outputs to "
            f"{FLOAT_TOLERANCE:g} of their largest value; {share(mean(self.borders))} of the "
            f"integers that come from float equal, {most} steps at most; all integer layers equal "
            "from there on"
        )

    @property
    def top1_agreement(self) -> float | None:
        """Share of images (or pixels) with the same top-1 class, by the first output."""
        return self.outputs[0].top1_agreement

    @property
    def span(self) -> int | None:
        """Integers from the smallest to the largest of the first output; None of a float one."""
        return getattr(self.outputs[0], "span", None)

    @property
    def first_difference(self) -> Figures | None:
        """The first tensor where Keras and file part (`layers=True`), or None.

        In a mixed file not one where float kernels come to the next integer.
        """
        borders = {border.name for border in self.borders or ()}
        return next(
            (
                layer
                for layer in self.layers or ()
                if (layer.breaks if layer.name in borders else layer.differs)
            ),
            None,
        )

    def to_dict(self) -> dict:
        """All figures, ready for JSON."""
        return {
            "path": self.path,
            "images": self.images,
            "kernels": self.kernels,
            "equal": self.equal,
            "within_one_step": self.within_one_step,
            "max_steps": self.max_steps,
            "top1_agreement": self.top1_agreement,
            "first_difference": self.first_difference and self.first_difference.to_dict(),
            "outputs": [output.to_dict() for output in self.outputs],
            "logits": self.logits and self.logits.to_dict(),
            "layers": self.layers and [layer.to_dict() for layer in self.layers],
            "borders": self.borders and [border.to_dict() for border in self.borders],
            "behind": [output.to_dict() for output in self.behind],
            "promise": self.promise,
            "detections": self.detections,
        }

    def __str__(self):
        rows = [*self.outputs, *([self.logits] if self.logits else []), *(self.layers or [])]
        lines = [
            f"{self.path} against Keras on {self.images} images, {self.kernels} kernels",
            table(Figures.HEADER, [figures.row() for figures in rows]),
        ]
        if self.promise is not None and self.breach is None:
            lines.append(self.promise)
        if self.detections is not None:
            lines.append(
                f"behind them TFLite_Detection_PostProcess gave {self.detections} boxes, which are "
                "not compared"
            )
        if self.layers is not None:
            lines.append(first_difference_text(self.first_difference))
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
        title = f"{Path(self.path).name} against Keras, {self.images} images"
        figures = self.layers or [*([self.logits] if self.logits else []), *self.outputs]
        from tflite_tools import agreement_plot  # it imports what drawing needs

        return agreement_plot.draw(figures, title, path)

    @property
    def _integer_outputs(self):
        return [output for output in self.outputs if isinstance(output, Agreement)]


def first_difference_text(first: Figures | None) -> str:
    """One line about the first tensor that differs, or about there being none."""
    if first is None:
        return "every tensor agrees"
    return (
        f"first difference: {short(first.name, 80)} ({first.kind}), up to {first.distance}, "
        f"{share(first.equal)} of its {first.elements:,} elements equal"
    )
