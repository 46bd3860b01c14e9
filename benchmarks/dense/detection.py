"""BCCD: SSDLite trained in float, quantized, fine-tuned, converted; COCO's mAP on its validation.

    python benchmarks/dense detection                        # MobileNetV2 from ImageNet
    python benchmarks/dense detection --backbone MobileNetV4ConvSmall --epochs 160

Reads TFDS' bccd and the ImageNet MobileNetV2 from ../shared. Says before it starts what it will do;
a float training that was interrupted goes on with the epoch where it was. Writes
results/dense_detection.json, one entry a backbone, and a picture of detections, float beside int8.

Platelets are 19 pixels in the median at 240 pixels of height, red cells 51, white cells 96: of
platelets anchors at a stride of 16 overlap 27 in 100 by more than a half. So an FPN-Lite neck gives
levels at strides of 8 to 64, and their anchors follow the sizes of the training boxes.
"""

from __future__ import annotations

import time

import common
import keras
import numpy as np
from dense import results
from PIL import Image

import mobilequant as mq
import tflite_tools
from mobilequant.cli.pictures import with_boxes
from mobilequant.data import load_detection
from mobilequant.data.box_augmentation import BoxAugmentation
from mobilequant.tasks.detection import AnchorSettings, Detector
from mobilequant.tasks.metrics import coco_map
from mobilequant.training.fit import cosine_schedule
from tflite_tools.interpreter import Interpreter

#: Of the neck: its lowest and highest level, at strides of 2 to that power.
LEVELS = (3, 6)

#: (scale, width to height) of each level's boxes; a scale is a share of the image's shorter side.
ANCHORS = AnchorSettings(
    shapes=(
        ((0.075, 1.0), (0.11, 1.0)),
        ((0.21, 1.0), (0.21, 1.5), (0.21, 2 / 3)),
        ((0.3, 1.0), (0.4, 1.0), (0.4, 1.5), (0.4, 2 / 3)),
        ((0.6, 1.0), (0.85, 1.0)),
    ),
    reference="shorter",
)

#: Minutes of one epoch of 205 images at 240×320 on 2 cores, to say before it starts.
EPOCH_MINUTES = 0.5

#: Images for calibration, and images in the picture.
CALIBRATION, SHOWN = 64, 4

#: Scores for the curve of precision, and for pictures and apps.
LEAST_SCORE, SHOWN_SCORE = 0.01, 0.5


def main():
    arguments = results.read_arguments(
        __doc__,
        "SSDLite",
        epochs=60,
        quantized_epochs=6,
        image_size=(240, 320),
        epoch_minutes=EPOCH_MINUTES,
    )
    data = load_detection(
        "bccd",
        data_dir=common.SHARED / "data",
        image_size=arguments.image_size,
        batch_size=arguments.batch_size,
        augment=BoxAugmentation(zoom_out=1.0),
        seed=arguments.seed,
        limit=arguments.limit,
    )
    results.write("detection", arguments, measure(arguments, data))


def measure(arguments, data) -> dict:
    """All figures of one backbone."""
    evaluation = list((data.validation or data.test).as_numpy_iterator())
    model, seconds = trained(arguments, data)
    floats = [model.predict_on_batch(images) for images, _ in evaluation]
    detector = Detector.of(model)
    figures = {"float": scored(detector, floats, data, evaluation)}
    print(f"float: {figures['float']['map_50']:.4f}", flush=True)

    qmodel = mq.quantize(model)
    images = data.train.map(lambda images, objects: images)
    mq.calibrate(qmodel, images, steps=-(-CALIBRATION // arguments.batch_size), verbose=0)
    figures["calibrated"] = on_device(qmodel, data, evaluation, arguments, "ptq")[0]
    steps = data.sizes["train"] // arguments.batch_size * arguments.quantized_epochs
    compile_detector(qmodel, cosine_schedule(arguments.learning_rate / 10, steps))
    qmodel.fit(
        data.train.map(detector.targets()),
        epochs=arguments.quantized_epochs,
        shuffle=False,
        verbose=2,
        callbacks=[mq.training.FreezeAt(-1)],
    )
    figures["fine_tuned"], integers = on_device(qmodel, data, evaluation, arguments, "qat")
    figures["post_processing"] = post_processing(qmodel, evaluation, arguments)
    print(figures["post_processing"], flush=True)
    draw(arguments, detector, data, evaluation, floats, integers)
    return {
        **figures,
        "anchors": len(detector.anchors),
        "parameters": model.count_params(),
        "multiply_adds": mq.models.count(model).multiply_adds,
        "images": data.sizes,
        "float_seconds": seconds,
    }


def trained(arguments, data):
    """The float model, and the seconds that its training took in this run."""
    options = {"input_shape": data.image_shape, "batch_norm_momentum": 0.97}
    if arguments.backbone == "MobileNetV2":
        options["backbone_weights"] = common.SHARED / results.IMAGENET
    model = mq.models.SSDLite(
        arguments.backbone,
        data.num_classes,
        anchors=ANCHORS,
        neck="fpn_lite",
        neck_levels=LEVELS,
        **options,
    )
    steps = data.sizes["train"] // arguments.batch_size * arguments.epochs
    compile_detector(model, cosine_schedule(arguments.learning_rate, steps, steps // 20))
    started = time.perf_counter()
    model.fit(
        data.train.map(Detector.of(model).targets()),
        epochs=arguments.epochs,
        shuffle=False,
        verbose=2,
        callbacks=[results.backup("detection", arguments)],
    )
    return model, time.perf_counter() - started


def compile_detector(model, learning_rate):
    optimizer = keras.optimizers.AdamW(learning_rate, weight_decay=1e-4, clipnorm=5.0)
    model.compile(optimizer, Detector.of(model).losses(), jit_compile=False)


def on_device(qmodel, data, evaluation, arguments, kind):
    """mAP of the file over all validation images and its agreement; and its outputs in float."""
    path = common.WORK / f"ssdlite_{arguments.backbone}_{kind}.tflite"
    print(tflite_tools.convert(qmodel, path), flush=True)
    images = [images for images, _ in evaluation]
    verification = tflite_tools.verify(qmodel, path, images)
    print(verification, flush=True)
    file = Interpreter(path.read_bytes())
    (source,) = file.inputs
    outputs = []
    for batch in images:
        codes, logits = file.run(source.quantize(batch))
        values = (
            (x.astype("float32") - port.zero_point) * port.scale
            for x, port in zip((codes, logits), file.outputs, strict=True)
        )
        outputs.append(dict(zip(("boxes", "scores"), values, strict=True)))
    figures = scored(Detector.of(qmodel), outputs, data, evaluation)
    figures["agreement"] = [output.to_dict() for output in verification.outputs]
    figures["bytes"] = path.stat().st_size
    return figures, outputs


def scored(detector, outputs, data, evaluation) -> dict:
    """COCO's mean average precision and that of each class at an overlap of 0.5."""
    truths, found = [], []
    for batch, (images, objects) in zip(outputs, evaluation, strict=True):
        truths += [{key: values[i] for key, values in objects.items()} for i in range(len(images))]
        found += detections(detector.detect(batch, score_threshold=LEAST_SCORE))
    result = coco_map(truths, found, data.num_classes)
    per_class = zip(data.class_names, map(float, result.per_class_at_50), strict=True)
    return {
        "map_50": float(result.at_50),
        "map": float(result.mean),
        "per_class_50": dict(per_class),
    }


def detections(found) -> list[dict]:
    """For each image boxes, scores and labels without padding."""
    boxes, scores, labels, counts = (np.asarray(x) for x in found)
    return [
        {"boxes": boxes[i, :n], "scores": scores[i, :n], "labels": labels[i, :n].astype(int)}
        for i, n in enumerate(counts.astype(int))
    ]


def post_processing(qmodel, evaluation, arguments) -> dict:
    """TFLite_Detection_PostProcess in the file against Keras' integers and our suppression.

    Returns:
        How many boxes of a score above 0.5 both give on all images, how many only one of them
        gives, and the largest distance of two corners in pixels of the model's input.
    """
    detector = Detector.of(qmodel)
    settings = {"max_detections": 100, "score_threshold": 0.05}
    path = common.WORK / f"ssdlite_{arguments.backbone}_boxes.tflite"
    end = tflite_tools.DetectionPostProcess.of(detector, **settings)
    tflite_tools.convert(qmodel, path, postprocess=end)
    file = Interpreter(path.read_bytes())
    (source,) = file.inputs
    pixels = np.tile(arguments.image_size, 2)
    pairs = alone = 0
    distance = 0.0
    for images, _ in evaluation:
        ours = detections(detector.detect(qmodel.predict_on_batch(images), **settings))
        for image, mine in zip(images, ours, strict=True):
            boxes, labels, scores, count = (x[0] for x in file.run(source.quantize(image[None])))
            n = int(count)
            theirs = {"boxes": boxes[:n].clip(0, 1), "scores": scores[:n], "labels": labels[:n]}
            mine, theirs = confident(mine), confident(theirs)
            matched, worst = match(mine, theirs, pixels)
            pairs += matched
            alone += len(mine["boxes"]) + len(theirs["boxes"]) - 2 * matched
            distance = max(distance, worst)
    return {"boxes": pairs, "only_one_side": alone, "largest_distance_pixels": distance}


def confident(found) -> dict:
    kept = found["scores"] > SHOWN_SCORE
    return {key: values[kept] for key, values in found.items()}


def match(mine, theirs, pixels) -> tuple[int, float]:
    """How many boxes have one of their class within a pixel, and the largest distance of those."""
    free, worst, pairs = list(range(len(theirs["boxes"]))), 0.0, 0
    for box, label in zip(mine["boxes"], mine["labels"], strict=True):
        apart = {
            j: float(np.abs((theirs["boxes"][j] - box) * pixels).max())
            for j in free
            if theirs["labels"][j] == label
        }
        if apart and min(apart.values()) <= 1.0:
            nearest = min(apart, key=apart.get)
            free.remove(nearest)
            worst, pairs = max(worst, apart[nearest]), pairs + 1
    return pairs, worst


def draw(arguments, detector, data, evaluation, floats, integers):
    """Some validation images with their boxes: true, float, int8."""
    images, objects = evaluation[0]
    count = min(SHOWN, len(images))
    pixels = np.tile(arguments.image_size, 2)
    truth = [
        {
            "boxes": boxes[labels >= 0],
            "scores": np.ones(np.sum(labels >= 0)),
            "labels": labels[labels >= 0],
        }
        for boxes, labels in zip(objects["boxes"], objects["labels"], strict=True)
    ]
    columns = [("true", truth)]
    for title, outputs in (("float", floats), ("int8 file", integers)):
        found = detections(detector.detect(outputs[0], score_threshold=SHOWN_SCORE))
        columns.append((title, found))

    def picture(row, found):
        items = [
            {"class": label, "name": data.class_names[label], "score": score, "box": box * pixels}
            for box, score, label in zip(*found[row].values(), strict=True)
        ]
        scaled = [{**item, "box": [2 * x for x in item["box"]]} for item in items]
        image = Image.fromarray(((images[row] + 1) * 127.5).astype("uint8"))
        return with_boxes(image.resize((2 * image.width, 2 * image.height)), scaled)

    results.save_grid(
        results.path_of("detection", arguments).with_suffix(f".{arguments.backbone}.png"),
        [title for title, _ in columns],
        [[picture(row, found) for _, found in columns] for row in range(count)],
    )


if __name__ == "__main__":
    main()
