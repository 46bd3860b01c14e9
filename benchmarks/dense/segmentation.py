"""CamVid: LR-ASPP trained in float, quantized, fine-tuned, converted; mean IoU on its validation.

    python benchmarks/dense segmentation                        # MobileNetV2 from ImageNet
    python benchmarks/dense segmentation --backbone MobileNetV4ConvSmall --epochs 90

Reads TFDS' camvid and the ImageNet MobileNetV2 from ../shared. Says before it starts what it will
do; a float training that was interrupted goes on with the epoch where it was. Writes
results/dense_segmentation.json, one entry a backbone, and a picture of predictions, float beside
int8. CamVid's two parts are training and validation; no setting was chosen on anything else.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import time

import common
import keras
import numpy as np

import mobilequant as mq
import tflite_tools
from mobilequant.data import load_segmentation
from mobilequant.tasks.metrics import mean_iou
from mobilequant.training.fit import cosine_schedule

IMAGENET = "reference/imagenet/mobilenet_v2_1.0_224_imagenet.weights.h5"

#: Minutes of one epoch of 367 images at 360×480 on 2 cores, to say before it starts.
EPOCH_MINUTES = 2.0

#: Images for calibration, and images in the picture.
CALIBRATION, SHOWN = 64, 4


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="MobileNetV2")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--quantized-epochs", type=int, default=2)
    parser.add_argument("--image-size", type=int, nargs=2, default=(360, 480))
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="images of a split, for a quick trial")
    parser.add_argument("--output", type=pathlib.Path, help="instead of the results folder")
    arguments = parser.parse_args()
    share = arguments.image_size[0] * arguments.image_size[1] / (360 * 480)
    minutes = EPOCH_MINUTES * share * (arguments.epochs + 2 * arguments.quantized_epochs)
    print(
        f"LR-ASPP on {arguments.backbone}: {arguments.epochs} float epochs, "
        f"{arguments.quantized_epochs} quantized ones; about {minutes:.0f} minutes on 2 cores.",
        flush=True,
    )
    keras.utils.set_random_seed(arguments.seed)
    common.WORK.mkdir(parents=True, exist_ok=True)
    data = load_segmentation(
        "camvid",
        data_dir=common.SHARED / "data",
        image_size=arguments.image_size,
        batch_size=arguments.batch_size,
        seed=arguments.seed,
        limit=arguments.limit,
    )
    write(arguments, measure(arguments, data))


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
        options["backbone_weights"] = common.SHARED / IMAGENET
    model = mq.models.LRASPP(arguments.backbone, data.num_classes, dropout=0.1, **options)
    steps = data.sizes["train"] // arguments.batch_size * arguments.epochs
    compile_segmenter(model, data, cosine_schedule(arguments.learning_rate, steps, steps // 20))
    key = "-".join(str(getattr(arguments, name)) for name in SETTINGS).replace(" ", "")
    backup = keras.callbacks.BackupAndRestore(common.WORK / f"dense_{key}", delete_checkpoint=False)
    started = time.perf_counter()
    model.fit(data.train, epochs=arguments.epochs, shuffle=False, verbose=2, callbacks=[backup])
    return model, time.perf_counter() - started


#: What a float training depends on.
SETTINGS = ("backbone", "epochs", "image_size", "batch_size", "learning_rate", "seed", "limit")


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
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    images, masks = next(iter(evaluation))
    columns = (
        ("image", (np.asarray(images) + 1) / 2),
        ("mask", np.asarray(masks)),
        ("float", floats[0].argmax(-1)),
        ("int8 file", integers[0].argmax(-1)),
    )
    count = min(SHOWN, len(images))
    figure, axes = pyplot.subplots(count, 4, figsize=(14, 2.7 * count), squeeze=False)
    for row, line in enumerate(axes):
        for axis, (title, values) in zip(line, columns, strict=True):
            void = data.void_label
            shown = values[row]
            if title != "image":
                shown = np.ma.masked_equal(shown, -1 if void is None else void)
            axis.imshow(shown, cmap="tab20", vmin=0, vmax=19, interpolation="nearest")
            axis.set_axis_off()
            if row == 0:
                axis.set_title(title)
    figure.tight_layout()
    figure.savefig(results_of(arguments).with_suffix(f".{arguments.backbone}.png"), dpi=80)


def results_of(arguments) -> pathlib.Path:
    return arguments.output or common.RESULTS / "dense_segmentation.json"


def write(arguments, figures):
    path = results_of(arguments)
    former = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"results": {}}
    settings = {key: getattr(arguments, key) for key in SETTINGS if key != "backbone"}
    settings["quantized_epochs"] = arguments.quantized_epochs
    entry = {**figures, "settings": settings}
    common.write_document(
        path, "dense_segmentation", {**former["results"], arguments.backbone: entry}, {}
    )
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
