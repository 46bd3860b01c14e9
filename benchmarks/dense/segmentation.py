"""CamVid: LR-ASPP trained in float, quantized, fine-tuned, converted; mean IoU on its validation.

    python benchmarks/dense segmentation                        # MobileNetV2 from ImageNet
    python benchmarks/dense segmentation --backbone MobileNetV4ConvSmall --image-size 180 240

Reads TFDS' camvid and the ImageNet MobileNetV2 from ../shared. Says before it starts what it will
do; a float training that was interrupted goes on with the epoch where it was. Writes
results/dense_segmentation.json, one entry a backbone, and a picture of predictions, float beside
int8. CamVid's two parts are training and validation; no setting was chosen on anything else.
"""

from __future__ import annotations

import time

import common
import keras
import numpy as np
from dense import results

import mobilequant as mq
import tflite_tools
from mobilequant.cli.pictures import colour
from mobilequant.data import load_segmentation
from mobilequant.tasks.metrics import mean_iou
from mobilequant.training.fit import cosine_schedule

#: Minutes of one epoch of 367 images at 360×480 on 2 cores, to say before it starts.
EPOCH_MINUTES = 2.0

#: Images for calibration, and images in the picture.
CALIBRATION, SHOWN = 64, 4


def main():
    arguments = results.read_arguments(
        __doc__,
        "LR-ASPP",
        epochs=16,
        quantized_epochs=2,
        image_size=(360, 480),
        epoch_minutes=EPOCH_MINUTES,
    )
    data = load_segmentation(
        "camvid",
        data_dir=common.SHARED / "data",
        image_size=arguments.image_size,
        batch_size=arguments.batch_size,
        seed=arguments.seed,
        limit=arguments.limit,
    )
    results.write("segmentation", arguments, measure(arguments, data))


def measure(arguments, data) -> dict:
    """All figures of one backbone."""
    evaluation = data.validation or data.test
    model, seconds = trained(arguments, data)
    floats = [np.asarray(model.predict_on_batch(images)) for images, _ in evaluation]
    figures = {"float": scored(floats, data, evaluation)}
    print(f"float: {figures['float']['mean_iou']:.4f}", flush=True)

    qmodel = mq.quantize(model)
    mq.calibrate(qmodel, data.train, steps=-(-CALIBRATION // arguments.batch_size), verbose=0)
    figures["calibrated"] = on_device(qmodel, data, evaluation, arguments, "ptq")[0]
    steps = data.sizes["train"] // arguments.batch_size * arguments.quantized_epochs
    compile_segmenter(qmodel, data, cosine_schedule(arguments.learning_rate / 20, steps))
    qmodel.fit(
        data.train,
        epochs=arguments.quantized_epochs,
        shuffle=False,
        verbose=2,
        callbacks=[mq.training.FreezeAt(-1)],
    )
    figures["fine_tuned"], integers = on_device(qmodel, data, evaluation, arguments, "qat")
    draw(arguments, data, evaluation, floats, integers)
    return {
        **figures,
        "parameters": model.count_params(),
        "multiply_adds": mq.models.count(model).multiply_adds,
        "images": data.sizes,
        "float_seconds": seconds,
    }


def trained(arguments, data):
    """The float model, and the seconds that its training took in this run."""
    options = {"input_shape": data.image_shape, "output_stride": 16}
    if arguments.backbone == "MobileNetV2":
        options["backbone_weights"] = common.SHARED / results.IMAGENET
    else:
        # From random weights statistics must catch up within some hundred steps.
        options["batch_norm_momentum"] = 0.97
    model = mq.models.LRASPP(arguments.backbone, data.num_classes, dropout=0.1, **options)
    steps = data.sizes["train"] // arguments.batch_size * arguments.epochs
    compile_segmenter(model, data, cosine_schedule(arguments.learning_rate, steps, steps // 20))
    backup = results.backup("segmentation", arguments)
    started = time.perf_counter()
    model.fit(data.train, epochs=arguments.epochs, shuffle=False, verbose=2, callbacks=[backup])
    return model, time.perf_counter() - started


def compile_segmenter(model, data, learning_rate):
    loss = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, ignore_class=data.void_label
    )
    optimizer = keras.optimizers.AdamW(learning_rate, weight_decay=1e-4, clipnorm=5.0)
    model.compile(optimizer, loss, jit_compile=False)


def on_device(qmodel, data, evaluation, arguments, kind):
    """Mean IoU of the file over all validation images and its agreement; and its logits."""
    path = common.WORK / f"lraspp_{arguments.backbone}_{kind}.tflite"
    print(tflite_tools.convert(qmodel, path), flush=True)
    verification = tflite_tools.verify(qmodel, path, evaluation)
    print(verification, flush=True)
    scores = [common.file_scores(path, [images]) for images, _ in evaluation]
    figures = scored(scores, data, evaluation)
    figures["agreement"] = verification.outputs[0].to_dict()
    figures["bytes"] = path.stat().st_size
    return figures, scores


def scored(logits, data, evaluation) -> dict:
    """Mean IoU and that of each class."""
    metric = mean_iou(data.num_classes, data.void_label)
    for scores, (_, masks) in zip(logits, evaluation, strict=True):
        metric.update_state(masks, scores.astype("float32"))
    names = data.class_names
    by_class = zip(names, (float(iou) for iou in metric.per_class()), strict=True)
    return {"mean_iou": float(metric.result()), "per_class": dict(by_class)}


def draw(arguments, data, evaluation, floats, integers):
    """Some validation images with their masks: true, float, int8."""
    images, masks = next(iter(evaluation))
    columns = (
        ("image", (np.asarray(images) + 1) / 2),
        ("mask", coloured(np.asarray(masks), data.void_label)),
        ("float", coloured(floats[0].argmax(-1))),
        ("int8 file", coloured(integers[0].argmax(-1))),
    )
    results.save_grid(
        results.path_of("segmentation", arguments).with_suffix(f".{arguments.backbone}.png"),
        [title for title, _ in columns],
        [[values[i] for _, values in columns] for i in range(min(SHOWN, len(images)))],
    )


def coloured(masks, void=None) -> np.ndarray:
    """Masks as RGB, void black."""
    colours = np.array([colour(number) for number in range(masks.max() + 1)], np.uint8)
    if void is not None:
        colours[void:] = 0
    return colours[masks]


if __name__ == "__main__":
    main()
