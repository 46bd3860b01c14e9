"""The end of a detector's file: `mobilequant convert --postprocess` and its settings."""

from __future__ import annotations

from mobilequant.cli import arguments as args
from mobilequant.cli.errors import UsageError

#: Options that are attributes of `tflite_tools.DetectionPostProcess`.
_NUMBERS = ("max_detections", "score_threshold", "iou_threshold")


def add_arguments(parser) -> None:
    """Adds the arguments; those without a value leave the library's defaults."""
    group = parser.add_argument_group("detectors")
    group.add_argument(
        "--postprocess",
        action="store_true",
        help="end the file in TFLite_Detection_PostProcess: it then gives boxes, classes, scores "
        "and their count instead of box codes and scores of all anchors",
    )
    group.add_argument(
        "--max-detections", type=args.count, metavar="N", help="most boxes (default: 10)"
    )
    group.add_argument(
        "--score-threshold",
        type=args.whole_share,
        metavar="S",
        help="drop boxes of a lower score (default: 0.05)",
    )
    group.add_argument(
        "--iou-threshold",
        type=args.whole_share,
        metavar="T",
        help="drop boxes that overlap a better one by more (default: 0.5)",
    )
    group.add_argument(
        "--fast-nms",
        action="store_true",
        help="one class a box, and boxes drop those of all classes: faster (default: each class "
        "on its own)",
    )


def require_sense(arguments) -> None:
    """Raises `UsageError` where settings come without --postprocess."""
    for name in (*_NUMBERS, "fast_nms"):
        if getattr(arguments, name) not in (None, False) and not arguments.postprocess:
            raise UsageError(f"--{name.replace('_', '-')} needs --postprocess")


def requested(arguments, qmodel, name):
    """What `tflite_tools.convert` is to put behind the model; None where nothing is asked for.

    Args:
        arguments: With what `add_arguments` adds.
        qmodel: The quantized model.
        name: What messages call it.

    Raises:
        UsageError: It is no detector.
    """
    if not arguments.postprocess:
        return None
    import tflite_tools
    from mobilequant.cli.tasks import detection
    from mobilequant.tasks.detection import Detector

    if not detection.is_detector(qmodel):
        raise UsageError(f"{name} is no detector; --postprocess is for those")
    given = {option: getattr(arguments, option) for option in _NUMBERS}
    settings = {key: value for key, value in given.items() if value is not None}
    return tflite_tools.DetectionPostProcess.of(
        Detector.of(qmodel), by_class=not arguments.fast_nms, **settings
    )
