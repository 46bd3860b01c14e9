"""The tables of TFLite's metadata: what a flatbuffer of each kind holds, in its order.

Source: metadata_schema.fbs 1.5.0 and image_segmenter_metadata_schema.fbs of MediaPipe Tasks
(mediapipe/tasks/metadata). They are data here, as in `tflite_tools._structure`, because what
would generate classes from them comes with MediaPipe alone.
"""

from __future__ import annotations

import dataclasses

#: First bytes, after the offset of the root table, of TFLite's metadata and of MediaPipe's own.
IDENTIFIER = b"M001"
CUSTOM_IDENTIFIER = b"V001"


@dataclasses.dataclass(frozen=True)
class Enumeration:
    """A number of one byte that stands for the name at its place."""

    names: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Union:
    """A table of one of several kinds; in values a dictionary {kind: table}."""

    kinds: tuple[str, ...]


_FILE_TYPE = Enumeration(
    (
        "UNKNOWN",
        "DESCRIPTIONS",
        "TENSOR_AXIS_LABELS",
        "TENSOR_VALUE_LABELS",
        "TENSOR_AXIS_SCORE_CALIBRATION",
        "VOCABULARY",
        "SCANN_INDEX_FILE",
    )
)
_PROPERTIES = Union(
    ("FeatureProperties", "ImageProperties", "BoundingBoxProperties", "AudioProperties")
)
_PROCESSING = Union(
    (
        "NormalizationOptions",
        "ScoreCalibrationOptions",
        "ScoreThresholdingOptions",
        "BertTokenizerOptions",
        "SentencePieceTokenizerOptions",
        "RegexTokenizerOptions",
    )
)

#: Fields of each table. A kind is a scalar ("int", "uint", "float"), "string", "bytes", the name
#: of a table, a list of one of these for a vector, an `Enumeration` or a `Union`.
TABLES: dict[str, dict[str, object]] = {
    "ModelMetadata": {
        "name": "string",
        "description": "string",
        "version": "string",
        "subgraph_metadata": ["SubGraphMetadata"],
        "author": "string",
        "license": "string",
        "associated_files": ["AssociatedFile"],
        "min_parser_version": "string",
    },
    "SubGraphMetadata": {
        "name": "string",
        "description": "string",
        "input_tensor_metadata": ["TensorMetadata"],
        "output_tensor_metadata": ["TensorMetadata"],
        "associated_files": ["AssociatedFile"],
        "input_process_units": ["ProcessUnit"],
        "output_process_units": ["ProcessUnit"],
        "input_tensor_groups": ["TensorGroup"],
        "output_tensor_groups": ["TensorGroup"],
        "custom_metadata": ["CustomMetadata"],
    },
    "TensorMetadata": {
        "name": "string",
        "description": "string",
        "dimension_names": ["string"],
        "content": "Content",
        "process_units": ["ProcessUnit"],
        "stats": "Stats",
        "associated_files": ["AssociatedFile"],
    },
    "Content": {"content_properties": _PROPERTIES, "range": "ValueRange"},
    "FeatureProperties": {},
    "ImageProperties": {
        "color_space": Enumeration(("UNKNOWN", "RGB", "GRAYSCALE")),
        "default_size": "ImageSize",
    },
    "ImageSize": {"width": "uint", "height": "uint"},
    "BoundingBoxProperties": {
        "index": ["uint"],
        "type": Enumeration(("UNKNOWN", "BOUNDARIES", "UPPER_LEFT", "CENTER")),
        "coordinate_type": Enumeration(("RATIO", "PIXEL")),
    },
    "AudioProperties": {"sample_rate": "uint", "channels": "uint"},
    "ValueRange": {"min": "int", "max": "int"},
    "ProcessUnit": {"options": _PROCESSING},
    "NormalizationOptions": {"mean": ["float"], "std": ["float"]},
    "ScoreCalibrationOptions": {
        "score_transformation": Enumeration(("IDENTITY", "LOG", "INVERSE_LOGISTIC")),
        "default_score": "float",
    },
    "ScoreThresholdingOptions": {"global_score_threshold": "float"},
    "BertTokenizerOptions": {"vocab_file": ["AssociatedFile"]},
    "SentencePieceTokenizerOptions": {
        "sentencePiece_model": ["AssociatedFile"],
        "vocab_file": ["AssociatedFile"],
    },
    "RegexTokenizerOptions": {"delim_regex_pattern": "string", "vocab_file": ["AssociatedFile"]},
    "Stats": {"max": ["float"], "min": ["float"]},
    "AssociatedFile": {
        "name": "string",
        "description": "string",
        "type": _FILE_TYPE,
        "locale": "string",
        "version": "string",
    },
    "TensorGroup": {"name": "string", "tensor_names": ["string"]},
    "CustomMetadata": {"name": "string", "data": "bytes"},
    "ImageSegmenterOptions": {
        "activation": Enumeration(("NONE", "SIGMOID", "SOFTMAX")),
        "min_parser_version": "string",
    },
}
