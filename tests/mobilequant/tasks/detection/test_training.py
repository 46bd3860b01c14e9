"""A detector learns: eight pictures of coloured rectangles, by compile and fit alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mobilequant as mq
from mobilequant.tasks.detection import AnchorSettings, Detector, detecting, iou
from mobilequant.tasks.metrics import CocoMeanAveragePrecision, no_loss, pack_objects

SIZE, COUNT, MOST, STEPS = 64, 8, 3, 200
COLOURS = np.array([[1, -1, -1], [-1, 1, -1]], "float32")


def pictures(seed=0):
    """Images, and their rectangles: one to three, which do not overlap, red or green."""
    rng = np.random.default_rng(seed)
    images = rng.normal(0, 0.05, (COUNT, SIZE, SIZE, 3)).astype("float32")
    boxes = np.zeros((COUNT, MOST, 4), "float32")
    labels = np.full((COUNT, MOST), -1, "int32")
    for i in range(COUNT):
        quarters = rng.permutation(4)[: rng.integers(1, MOST + 1)]
        for j, quarter in enumerate(quarters):
            low = np.array(divmod(quarter, 2)) * SIZE // 2 + rng.integers(0, 8, 2)
            high = low + rng.integers(12, 24, 2)
            label = rng.integers(0, 2)
            images[i, low[0] : high[0], low[1] : high[1]] = COLOURS[label]
            boxes[i, j] = np.concatenate([low, high]) / SIZE
            labels[i, j] = label
    return images, {"boxes": boxes, "labels": labels}


def detector_model(scores):
    """Three levels on a backbone of a few separable convolutions."""
    keras.utils.set_random_seed(0)
    # Statistics that follow within the few steps of this test.
    settings = {"conventions": mq.models.Conventions(batch_norm_momentum=0.8)}
    x = image = keras.Input((SIZE, SIZE, 3), name="image")
    x = mq.models.conv_bn(
        x, 16, strides=2, layer_names=("stem", "stem_bn", "stem_relu"), **settings
    )
    maps = []
    for i, width in enumerate((24, 32, 48)):
        names = (f"block{i}_depthwise", f"block{i}_pointwise")
        x = mq.models.depthwise_separable(x, width, strides=2, layer_names=names, **settings)
        maps.append(x)
    anchors = AnchorSettings(min_scale=0.3, max_scale=0.6, last_scale=0.8)
    return mq.models.SSDLite(
        keras.Model(image, maps[1:]),
        2,
        anchors=anchors,
        scores=scores,
        extra_filters=(48,),
        batch_norm_momentum=0.8,
    )


def recall_and_precision(detections, objects):
    """Shares of objects found and of detections right, at half overlap and the right class."""
    found, shown = 0, int(np.sum(detections.counts))
    for i, labels in enumerate(objects["labels"]):
        overlap = iou(objects["boxes"][i], detections.boxes[i]).numpy()
        right = labels[:, None] == detections.classes[i].numpy()[None]
        found += int(((overlap >= 0.5) & right & (labels >= 0)[:, None]).any(1).sum())
    return found / np.sum(objects["labels"] >= 0), found / max(shown, 1)


@pytest.mark.slow
@pytest.mark.parametrize("scores", ["softmax", "sigmoid"])
def test_a_detector_learns_eight_pictures(scores):
    images, objects = pictures()
    model = detector_model(scores)
    detector = Detector.of(model)
    data = tf.data.Dataset.from_tensor_slices((images, objects)).batch(COUNT)
    data = data.map(detector.targets()).cache().repeat(STEPS)
    rate = keras.optimizers.schedules.CosineDecay(5e-3, STEPS)
    model.compile(keras.optimizers.Adam(rate), loss=detector.losses(), jit_compile=False)
    before, _ = recall_and_precision(detector.detect(model(images), score_threshold=0.5), objects)
    model.fit(data, verbose=0, shuffle=False)
    outputs = model.predict(images, verbose=0)
    recall, precision = recall_and_precision(
        detector.detect(outputs, score_threshold=0.5, iou_threshold=0.4), objects
    )
    assert before < 0.5 and recall >= 0.9 and precision >= 0.9, (before, recall, precision)

    # The same by Keras' own loop and COCO's measure.
    pytest.importorskip("pycocotools")
    evaluator = detecting(model, iou_threshold=0.4)
    metric = CocoMeanAveragePrecision(2)
    evaluator.compile(loss=no_loss, metrics=[metric], jit_compile=False)
    data = tf.data.Dataset.from_tensor_slices((images, pack_objects(objects))).batch(3)
    assert evaluator.evaluate(data, verbose=0, return_dict=True)["map_50"] > 0.85
