"""What must be known of a detector besides its weights, and how it travels with the model."""

from __future__ import annotations

import dataclasses
import json

import keras
import numpy as np

from mobilequant.lazy import LazyModule
from mobilequant.tasks.detection.anchors import AnchorSettings, make_anchors
from mobilequant.tasks.detection.coding import SCALE_FACTORS, decode
from mobilequant.tasks.detection.losses import BoxLoss, FocalLoss, HardNegativeLoss
from mobilequant.tasks.detection.suppression import Detections, suppress
from mobilequant.tasks.detection.targets import Targets

tf = LazyModule("tensorflow")


@dataclasses.dataclass(frozen=True)
class Detector:
    """The meaning of a detector's outputs.

    A model carries it in the configuration of one layer, so that it survives `mq.quantize`,
    `save` and `load_model`, `keras.models.clone_model` and nesting: `Detector.of(model)`.

    Attributes:
        settings: of the anchors.
        feature_sizes: (rows, columns) of each level's feature map, the finest first.
        image_size: (height, width) in pixels.
        classes: number of classes, without the background.
        background: whether channel 0 of the scores is the background and a softmax is taken over
            them; else each class has a sigmoid.
        scale_factors: of the box codes, (y, x, height, width).
    """

    settings: AnchorSettings
    feature_sizes: tuple[tuple[int, int], ...]
    image_size: tuple[int, int]
    classes: int
    background: bool = True
    scale_factors: tuple[float, float, float, float] = SCALE_FACTORS

    @classmethod
    def of(cls, model: keras.Model) -> Detector:
        """The description that a detector model carries.

        Raises:
            ValueError: the model carries none, or more than one.
        """
        notes = [x for x in model._flatten_layers() if isinstance(x, DetectorNote)]
        if len(notes) != 1:
            raise ValueError(
                f"Model {model.name!r} carries {len(notes)} descriptions of a detector, not one; "
                "build it with mobilequant.models.SSDLite, or put a DetectorNote on its boxes"
            )
        return notes[0].detector

    @property
    def anchors(self) -> np.ndarray:
        """(anchors, 4) float32, (ymin, xmin, ymax, xmax) in shares of the image."""
        return make_anchors(self.settings, self.feature_sizes, self.image_size)

    def targets(self, **matching) -> Targets:
        """What to map over a `tf.data` pipeline of (images, {"boxes", "labels"}).

        Args:
            matching: options of `match`, such as `positive_iou`.
        """
        return Targets(self.anchors, scale_factors=self.scale_factors, **matching)

    def losses(self) -> dict[str, keras.losses.Loss]:
        """The usual ones for `compile(loss=…)`: mined softmax or focal sigmoid, and smooth L1."""
        return {
            "boxes": BoxLoss(),
            "scores": HardNegativeLoss() if self.background else FocalLoss(),
        }

    def decode(self, outputs: dict, *, clip: bool = True) -> tuple:
        """Boxes and probabilities of every anchor.

        Args:
            outputs: {"boxes": (batch, anchors, 4), "scores": (batch, anchors, channels)}, as the
                model or, dequantized, its `.tflite` file gives them.
            clip: whether boxes are cut off at the edge of the image.

        Returns:
            Tensors (batch, anchors, 4), in shares of the image, and (batch, anchors, classes),
            in [0, 1].

        Raises:
            ValueError: the outputs have other shapes.
        """
        codes = tf.convert_to_tensor(outputs["boxes"], "float32")
        logits = tf.convert_to_tensor(outputs["scores"], "float32")
        anchors = self.anchors
        expected = (len(anchors), 4), (len(anchors), self.classes + self.background)
        if (tuple(codes.shape[1:]), tuple(logits.shape[1:])) != expected:
            raise ValueError(
                f"outputs of shapes {codes.shape} and {logits.shape} are not this detector's: it "
                f"has {len(anchors)} anchors and {expected[1][1]} scores for each"
            )
        boxes = decode(codes, anchors, self.scale_factors, clip=clip)
        if self.background:
            return boxes, tf.nn.softmax(logits)[..., 1:]
        return boxes, tf.sigmoid(logits)

    def detect(self, outputs: dict, **suppression) -> Detections:
        """What is in the images.

        Boxes are cut off at the image's edge after suppression, so that it compares the boxes that
        LiteRT's TFLite_Detection_PostProcess compares, which cuts nothing off.

        Args:
            outputs: as for `decode`.
            suppression: options of `suppress`, such as `score_threshold`.
        """
        found = suppress(*self.decode(outputs, clip=False), **suppression)
        return found._replace(boxes=tf.clip_by_value(found.boxes, 0.0, 1.0))

    def get_config(self) -> dict:
        """The attributes, as JSON can hold them."""
        # Keras writes tuples in a form of its own, which a layer does not get back as they were.
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_config(cls, config: dict) -> Detector:
        """The detector with these attributes."""
        sizes = tuple(tuple(size) for size in config["feature_sizes"])
        tuples = {name: tuple(config[name]) for name in ("image_size", "scale_factors")}
        settings = AnchorSettings.from_config(config["settings"])
        return cls(**{**config, **tuples, "settings": settings, "feature_sizes": sizes})


@keras.saving.register_keras_serializable(package="mobilequant")
class DetectorNote(keras.layers.Identity):
    """Hands on its input and remembers a `Detector`; no operator in the file.

    Args:
        detector: a `Detector`, or its configuration.
        kwargs: of any Keras layer.
    """

    def __init__(self, detector, **kwargs):
        super().__init__(**kwargs)
        is_config = isinstance(detector, dict)
        self.detector = Detector.from_config(detector) if is_config else detector

    def get_config(self):
        return {**super().get_config(), "detector": self.detector.get_config()}
