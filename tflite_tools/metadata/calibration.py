"""Score calibration: from a model's numbers to the scores that an app shows."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

#: Names of what is done to a number first, as the schema has them.
TRANSFORMATIONS = {"identity": "IDENTITY", "log": "LOG", "inverse_logistic": "INVERSE_LOGISTIC"}


@dataclasses.dataclass(frozen=True)
class ScoreCalibration:
    """A sigmoid for each class: score = scale / (1 + exp(−(slope · t(x) + offset))).

        ScoreCalibration((1.0, 1.0, 0.0))  # logits of independent classes to probabilities

    Source: ScoreCalibrationOptions in metadata_schema.fbs of MediaPipe Tasks.

    Attributes:
        parameters: (scale, slope, offset) for all classes, or a list with one for each; None in
            the list for a class that always gets `default_score`.
        transformation: t, "identity", "log" or "inverse_logistic".
        default_score: For classes without parameters.

    Raises:
        ValueError: A value is out of range.
    """

    parameters: Sequence
    transformation: str = "identity"
    default_score: float = 0.0

    def __post_init__(self):
        if self.transformation not in TRANSFORMATIONS:
            raise ValueError(
                f"ScoreCalibration: transformation={self.transformation!r} must be one of "
                f"{', '.join(map(repr, TRANSFORMATIONS))}."
            )
        for row in self._rows(1):
            numbers = row is None or len(row) == 3 and all(map(math.isfinite, row))
            if not numbers or row is not None and row[0] < 0:
                raise ValueError(
                    "ScoreCalibration: parameters are (scale, slope, offset) with a scale from 0 "
                    f"on, got {row!r}."
                )

    def options(self) -> dict[str, Any]:
        """The processing unit, as `tables` has it."""
        return {
            "score_transformation": TRANSFORMATIONS[self.transformation],
            "default_score": float(self.default_score),
        }

    def content(self, classes: int) -> bytes:
        """The associated file: a line a class.

        Raises:
            ValueError: There are parameters for another number of classes.
        """
        rows = self._rows(classes)
        if len(rows) != classes:
            raise ValueError(
                f"ScoreCalibration: parameters for {len(rows)} classes where there are {classes}."
            )
        lines = ["" if row is None else ",".join(repr(float(x)) for x in row) for row in rows]
        return "\n".join(lines).encode()

    def _rows(self, classes: int) -> list:
        rows = list(self.parameters)
        return [tuple(rows)] * classes if rows and isinstance(rows[0], (int, float)) else rows
