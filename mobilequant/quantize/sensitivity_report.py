"""What `sensitivity` found: a table, a drawing, and what to do about the worst layers."""

from __future__ import annotations

import dataclasses
import glob
import math

from mobilequant import drawing
from mobilequant.layers import FoldedLayer, QuantizedInput
from mobilequant.layers.base import describe
from mobilequant.quantize import recipe as recipes
from mobilequant.quantize.sensitivity_plot import draw


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """What was measured with one layer quantized, or left in float.

    Attributes:
        name: Of the layer.
        kind: What it is: "Conv2D", "Add", ….
        weights: Scheme of its weights, in words; "" if it has none, or they were left in float.
        activations: The same for what it gives, or, below 8 bits, for what it takes.
        error: Power of the outputs' error divided by the power of the outputs.
        metric: The metric's figure, or None.
        is_input: Whether it is an input of the model.
    """

    name: str
    kind: str
    weights: str
    activations: str
    error: float
    metric: float | None = None
    is_input: bool = False

    @property
    def snr(self) -> float:
        """Signal-to-noise ratio of the outputs in dB; infinite where nothing changed."""
        return decibels(self.error)

    @classmethod
    def of(cls, layer, parts, error, metric) -> LayerCost:
        """The cost of a quantized layer, of which these parts were quantized."""
        weights = activations = ""
        if "weights" in parts and isinstance(layer, FoldedLayer):
            scheme = layer.weight_scheme
            weights = describe(scheme) if scheme.quantized or scheme.sparsity else ""
        if "activations" in parts:
            schemes = [q.scheme for q in layer.quantizers if q.quantizing]
            # Of several, that of the input, which is the one that a recipe asks for.
            activations = describe(schemes[-1]) if schemes else ""
        return cls(
            name=layer.name,
            kind=type(layer).__name__.removeprefix("Quantized"),
            weights=weights,
            activations=activations,
            error=error,
            metric=metric,
            is_input=isinstance(layer, QuantizedInput),
        )


@dataclasses.dataclass(frozen=True, repr=False)
class Sensitivity:
    """What quantizing each layer of a model costs, worst first.

    Attributes:
        model: Name of the model.
        mode: "only": each layer was quantized alone; "except": left in float alone.
        part: "all", "weights" or "activations": what was quantized.
        images: How many images it was measured on.
        layers: A `LayerCost` for each layer, worst first.
        whole_error: Error with everything quantized, as `LayerCost.error`.
        metric_float, metric_whole: The metric in float, and with everything quantized; or None.
    """

    model: str
    mode: str
    part: str
    images: int
    layers: tuple[LayerCost, ...]
    whole_error: float
    metric_float: float | None = None
    metric_whole: float | None = None

    @property
    def whole_snr(self) -> float:
        """Signal-to-noise ratio in dB with everything quantized."""
        return decibels(self.whole_error)

    def __str__(self):
        return self.table()

    def table(self, count: int | None = None) -> str:
        """The layers in lines, worst first.

        Args:
            count: Only so many; all by default.
        """
        measured = self.metric_float is not None
        header = ["", "layer", "kind", "weights", "activations", "SNR, dB"]
        rows = [
            [
                str(place),
                row.name,
                row.kind,
                row.weights.split(",")[0] or "-",
                row.activations.split(",")[0] or "-",
                _db(row.snr),
                *([f"{row.metric:.4g}"] if measured else []),
            ]
            for place, row in enumerate(self.layers[:count], 1)
        ]
        header += ["metric"] if measured else []
        lines = [self._title(), "", *_aligned(header, rows, left=(1, 2, 3, 4))]
        left_out = len(self.layers) - len(rows)
        if left_out:
            lines.append(f"… and {left_out} more")
        lines += ["", f"everything quantized: {_db(self.whole_snr)} dB"]
        if measured:
            lines[-1] += f", metric {self.metric_whole:.4g} (in float {self.metric_float:.4g})"
        return "\n".join(lines)

    def __repr__(self):
        worst = self.layers[0]
        return (
            f"<Sensitivity of {self.model!r}: {len(self.layers)} layers, worst {worst.name!r} "
            f"({_db(worst.snr)} dB)>"
        )

    def to_dict(self) -> dict:
        """All of it as plain values; an infinite signal-to-noise ratio is None."""
        layers = [{**dataclasses.asdict(row), "snr": _finite(row.snr)} for row in self.layers]
        return {
            **dataclasses.asdict(self),
            "whole_snr": _finite(self.whole_snr),
            "layers": layers,
        }

    def plot(self, path=None):
        """Draws a bar for each layer, the worst on top.

        Args:
            path: File (".png", ".pdf" or ".svg") to write, whole or not at all; none by default.

        Returns:
            A `matplotlib.figure.Figure`; notebooks show it.

        Raises:
            ValueError: The path cannot be written.
            ImportError: matplotlib is missing.
        """
        if path is not None:
            path = drawing.check_path(path)
        figure = draw(self)
        if path is not None:
            drawing.save(figure, path)
        return figure

    def recipe(self, base, count: int = 3, precision="w8a8") -> recipes.Recipe:
        """A recipe that gives the worst layers more bits; hand it to `quantize`.

        Args:
            base: The recipe that the model was quantized by, or its name.
            count: How many layers get more.
            precision: Recipe, or its name, whose weights and activations they get.

        Raises:
            ValueError: No layer has less than that. (`leave_float` is for those at 8 bits.)
        """
        base, precision = recipes.get(base), recipes.get(precision)
        wanted = (describe(precision.weights), describe(precision.activations))
        names = [
            row.name
            for row in self.layers
            if row.weights and (_bits(row.weights) < _bits(wanted[0]) or _lacks(row, wanted[1]))
        ]
        if not names:
            raise ValueError(
                f"No layer of {self.model!r} has less than {precision.name!r}: more bits are not "
                "to be had. Train the model quantized, try another calibration, or leave the "
                f"worst in float: quantize(…, leave_float={self.leave_float(count)})."
            )
        more = {glob.escape(name): precision for name in names[:count]}
        return dataclasses.replace(
            base,
            overrides={**base.overrides, **more},
            name=f"{base.name}, {len(more)} at {precision.name}",
        )

    def leave_float(self, count: int = 3) -> list[str]:
        """Names of the worst layers, for `quantize(leave_float=…)`.

        Such a model trains and evaluates in Keras, and is no integer file.
        """
        names = [row.name for row in self.layers if not row.is_input]
        return [glob.escape(name) for name in names[:count]]

    def _title(self):
        how = {
            "only": "each layer quantized alone, everything else in float",
            "except": "each layer left in float alone, everything else quantized",
        }[self.mode]
        part = "" if self.part == "all" else f" ({self.part} only)"
        images = f"{self.images} image{'s' if self.images != 1 else ''}"
        return f"{self.model}: {how}{part}; outputs against float on {images}, worst first"


def decibels(error: float) -> float:
    """−10·log10(error), infinite for 0."""
    if math.isnan(error):
        return math.nan
    return -10 * math.log10(error) if error > 0 else math.inf


def _lacks(row, activations):
    return bool(row.activations) and _bits(row.activations) < _bits(activations)


def _bits(description):
    """Bits of a scheme in words, see `describe`."""
    first = description.split(",")[0].split()[0]
    return {"float": 32.0, "ternary": 1.5}.get(first) or float(first)


def _db(value):
    return "exact" if math.isinf(value) else f"{value:.1f}"


def _finite(value):
    return value if math.isfinite(value) else None


def _aligned(header, rows, left):
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells):
        parts = [
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(parts).rstrip()

    return [line(header), "  ".join("-" * width for width in widths), *map(line, rows)]
