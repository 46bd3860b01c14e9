"""Puts the figures of benchmarks/results into the documents, between their two marker lines, and
into the picture of README.md.

python benchmarks/readme.py           # writes them
python benchmarks/readme.py --check   # exits with 1 if a document says something else
"""

from __future__ import annotations

import json
import pathlib
import sys

from lowbit import report
from zoo import picture
from zoo import report as zoo_report

ROOT = pathlib.Path(__file__).parents[1]
#: Scripts that are not called like their results.
SCRIPTS = {
    "dense_detection": "dense detection",
    "dense_segmentation": "dense segmentation",
    "deploy": "deploy",
    "lowbit_tier1": "lowbit",
    "zoo": "zoo",
    "zoo_tfmot": "zoo/tfmot_models.py",
}
#: What is told of each calibration.
CALIBRATION_FIGURES = ("top-1", "as float", "SNR")
#: Packages in the small print.
NAMES = {
    "tensorflow": "TensorFlow",
    "keras": "Keras",
    "ai-edge-litert": "LiteRT",
    "ai-edge-quantizer": "ai-edge-quantizer",
    "tensorflow-model-optimization": "TFMOT",
    "tf_keras": "tf_keras",
}
#: Of a dense task: the float model, and the files of two quantized ones.
STAGES = ("float", "calibrated", "fine_tuned")
#: What these weights can show, and what they cannot.
FLOAT_WEIGHTS = (
    "The float weights are the dequantized 8-bit ones of Coral's file, so 8-bit weights cost next "
    "to nothing here: this compares activations, agreement and speed"
)
START, END = "<!-- results: benchmarks/readme.py -->", "<!-- end of results -->"


def main():
    wanted = {
        name: _with_results(name, render)
        for name, render in (
            ("README.md", shortly),
            ("benchmarks/README.md", everything),
            ("benchmarks/lowbit/README.md", low_precision_whole),
            ("benchmarks/zoo/README.md", zoo_whole),
            ("docs/how-to/sensitivity.md", sensitivity),
        )
    }
    wanted["docs/images/agreement.svg"] = picture.draw(read("zoo"), read("zoo_tfmot"))
    differ = False
    for name, text in wanted.items():
        path = ROOT / name
        differ = differ or not path.exists() or path.read_text(encoding="utf-8") != text
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
    return int(differ and "--check" in sys.argv)


def _with_results(name, render) -> str:
    """A document with the figures of today between its marker lines."""
    before, rest = (ROOT / name).read_text(encoding="utf-8").split(START)
    after = rest.split(END)[1]
    return f"{before}{START}\n{render()}{END}{after}"


def everything() -> str:
    """The tables of benchmarks/README.md."""
    tables = {
        "imagenet": imagenet,
        "zoo": zoo,
        "deploy": deploy,
        "calibration": calibration,
        "dense_segmentation": segmentation,
        "dense_detection": detection,
        "garden": garden,
        "hard_swish": hard_swish,
        "cifar10": cifar10,
        "lowbit_tier1": low_precision,
        "training_step": step,
    }
    return _joined(tables).replace("](benchmarks/", "](")


def shortly() -> str:
    """The tables of README.md: what a reader with three minutes should see."""
    return _joined(
        {
            "imagenet": imagenet,
            "zoo": zoo,
            "deploy": deploy,
            "dense_segmentation": segmentation,
            "dense_detection": detection,
        }
    )


def _joined(tables) -> str:
    parts = []
    for name, table in tables.items():
        document = read(name)
        if document:
            parts.append(table(document["results"], document["settings"]))
            parts.append(origin(name, document))
    return "\n".join(parts)


def low_precision_whole() -> str:
    """All of the low-precision benchmark."""
    name = "lowbit_tier1"
    document = read(name)
    pictures = "".join(
        f"![{what}](../results/{name}_{what}.png)\n\n" for what in ("curves", "sweeps")
    )
    return f"{report.tables(document)}\n{pictures}{origin(name, document)}"


def zoo_whole() -> str:
    """All of the zoo, ours and TFMOT's."""
    ours, tfmot = read("zoo"), read("zoo_tfmot")
    if not ours:
        return ""
    halves = [("zoo", ours), *([("zoo_tfmot", tfmot)] if tfmot else [])]
    return f"{zoo_report.tables(ours, tfmot)}\n" + "".join(origin(*half) for half in halves)


def sensitivity() -> str:
    """The table that `Sensitivity.table` gives."""
    document = read("sensitivity")
    table = document["results"]["table"].rstrip()
    return f"```text\n{table}\n```\n\n{origin('sensitivity', document)}"


def read(name):
    """A document of results, or None."""
    path = ROOT / "benchmarks" / "results" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def origin(name, document) -> str:
    """Where figures come from, in small print."""
    versions = document["settings"] | document["versions"]
    return (
        f"<sub>`benchmarks/{SCRIPTS.get(name, name + '.py')}`, {document['date']}, "
        f"{document['machine']}, "
        f"{', '.join(f'{NAMES[key]} {versions[key]}' for key in NAMES if key in versions)}</sub>\n"
    )


def imagenet(results, settings):
    top1, size = results["top1"], results["bytes"]
    ours, coral = results["latency"]["files"]
    agreement, fit = results["agreement"], results["agreement_after_fit"]
    fake = agreement["float_fake_quantization"]
    rows = [
        ("", "mobilequant int8", "Coral's file", "float Keras"),
        ("top-1", percent(top1["int8_file"]), percent(top1["coral_file"]), percent(top1["float"])),
        ("bytes", f"{size['int8_file']:,}", f"{size['coral_file']:,}", ""),
        (
            "latency, 1 thread (median)",
            f"{ours['median']:.2f} ms",
            f"{coral['median']:.2f} ms",
            "",
        ),
    ]
    agree = [
        (
            "Keras inference against the file",
            "logits equal",
            "within 1 step",
            "most steps",
            "top-1",
        ),
        agreement_row("calibrated, default kernels (XNNPACK)", agreement["default"]["logits"]),
        agreement_row("fine-tuned with `fit`, default kernels", fit["logits"]),
        agreement_row("calibrated, built-in kernels", agreement["builtin"]["logits"]),
        agreement_row("for the record: fake quantization in float", fake),
    ]
    operators = ", ".join(f"{count} {kind}" for kind, count in sorted(results["operators"].items()))
    return (
        f"**ImageNet MobileNetV2 1.0 224**, {results['images']} sample images (from the training "
        "set: for comparing two models, not a benchmark result), calibrated on 64 others; "
        f"operators {operators}. {FLOAT_WEIGHTS}\n\n" + markdown(rows) + "\n" + markdown(agree)
    )


#: What the choice of w4a8* has seen, by the half that is measured on.
BLINDNESS = {
    "even": "w4a8* was chosen while the other half was measured on; of these images it has seen "
    "no label",
    "odd": "w4a8* was chosen after a first measurement on the same images: it is not blind",
}


def four_bit_parts(results):
    """What 4 bits cost in the parts that have them in "w4a8 large", and in the others."""
    large = {"block_14", "block_15", "block_16", "Conv_1", "predictions"}
    costs = [
        sum(entry["divergence"] for name, entry in results.items() if (name in large) == wanted)
        for wanted in (True, False)
    ]
    return (
        "each part rounded alone, the ones at 4 bits add "
        f"{costs[0]:.2f} nats to it in sum, the small ones would add {costs[1]:.2f}"
    )


def deploy(results, settings):
    rows = [("file", "bytes", "zipped", "top-1", "to float", "latency, 1 thread (median)")]
    exact = results["float"]["top1"]
    for name, entry in results.items():
        rows.append(
            (
                name,
                f"{entry['bytes']:,}",
                f"{entry['zipped']:,}",
                percent(entry["top1"]),
                f"{100 * (entry['top1'] - exact):+.1f}",
                f"{entry['median_ms']:.2f} ms",
            )
        )
    return (
        f"**Deployment**, the same network: {settings['learned_on']} sample images without labels, "
        f"{settings['calibrated_on']} of them for ranges, {settings['measured_on']} others to "
        "measure on; all files in one run, in turn. Reconstructed: `mq.reconstruct`, each block "
        f"learns from the float network how its weights are rounded, in {settings['steps']:,} "
        f"steps on these images and {settings['views']} random views of each. In w4a8, as "
        "in every named recipe, the first and the last layer (37 % of the weights) have 8 bits; in "
        "w4a8* so have depthwise kernels and the small 1×1 convolutions of the first seven blocks "
        f"(4 %), and ranges hold all weights. {BLINDNESS[settings['measure']]}. In w4a8 large 80 % "
        "of the weights have 4 bits: the last three blocks, the convolution behind them and the "
        "classifier; it was chosen after w4a8* had been measured, by the divergence from the float "
        f"network on images without labels ({four_bit_parts(read('deploy_parts')['results'])}). "
        "The float weights are the dequantized 8-bit ones of Coral's file: what keeps 8 bits loses "
        "nothing here. "
        "ai-edge-quantizer's are its recipes as they come, without training\n\n" + markdown(rows)
    )


def zoo(results, settings):
    text = zoo_report.summary(read("zoo"), read("zoo_tfmot"))
    return f"{text} [Network by network](benchmarks/zoo/README.md)\n"


def calibration(results, settings):
    recipes = results["recipes"]
    rows = [("", *(f"{name}: {what}" for name in recipes for what in CALIBRATION_FIGURES))]
    for entries in zip(*recipes.values(), strict=True):
        label = entries[0]["method"]
        if "percentile" in entries[0]:
            label += f" {entries[0]['percentile']:g}"
        figures = [
            (
                percent(entry["top1"]),
                percent(entry["agreement"]),
                f"{entry['snr_db']:.1f} dB",
            )
            for entry in entries
        ]
        rows.append((label, *(figure for group in figures for figure in group)))
    return (
        "**Calibration methods**, the same network and images (float "
        f"{percent(results['float_top1'])}), calibrated on the same 64, data_free on none; in "
        "Keras, w8a8 by integers; at w8a4 all but percentile and mse start from the recipe's own "
        "rule for ranges\n\n" + markdown(rows)
    )


def segmentation(results, settings):
    entry = next(iter(results.values()))
    return (
        f"**CamVid**, mean IoU of 11 classes on all {evaluated(entry)} validation images, "
        f"{entry['settings']['quantized_epochs']} quantized epochs; logits of all of them equal "
        f"to Keras: {equal_outputs(results, lambda figures: [figures['agreement']])}\n\n"
        f"{backbones('LR-ASPP', results, 'mean_iou')}\n{predictions('segmentation', results)}"
    )


def detection(results, settings):
    boxes = [entry["post_processing"] for entry in results.values()]
    entry = next(iter(results.values()))
    return (
        f"**BCCD blood cells**, mAP@0.5 of 3 classes on all {evaluated(entry)} validation images, "
        f"{entry['settings']['quantized_epochs']} quantized epochs; box codes and scores of all "
        f"of them equal to Keras: {equal_outputs(results, lambda figures: figures['agreement'])}; "
        f"of boxes over 0.5 TFLite_Detection_PostProcess and Keras give "
        f"{sum(b['boxes'] for b in boxes):,} alike, "
        f"{max(b['largest_distance_pixels'] for b in boxes):.2g} pixels apart at most, and "
        f"{sum(b['only_one_side'] for b in boxes)} that the other does not\n\n"
        f"{backbones('SSDLite', results, 'map_50')}\n{predictions('detection', results)}"
    )


def backbones(head, results, measure) -> str:
    """A line for each backbone of a dense task: its training, then float and both files."""
    rows = [(f"{head} on", "input", "float epochs", "float", "calibrated int8", "fine-tuned int8")]
    for backbone, entry in results.items():
        used = entry["settings"]
        rows.append(
            (
                backbone,
                "×".join(map(str, used["image_size"])),
                f"{used['epochs']} ({entry['float_seconds'] / 60:.0f} minutes)",
                *(percent(entry[kind][measure]) for kind in STAGES),
            )
        )
    return markdown(rows)


def evaluated(entry) -> int:
    """Number of images that figures of a dense task are measured on."""
    return entry["images"].get("validation") or entry["images"]["test"]


def equal_outputs(results, outputs) -> str:
    """The least share of equal integers over all files of a dense task."""
    return percent(
        min(
            output["equal"]
            for entry in results.values()
            for kind in STAGES[1:]
            for output in outputs(entry[kind])
        )
    )


def predictions(task, results) -> str:
    """Links to pictures of predictions."""
    links = ", ".join(
        f"[{backbone}](benchmarks/results/dense_{task}.{backbone}.png)" for backbone in results
    )
    return f"Predictions, float beside int8: {links}\n"


def garden(results, settings):
    rows = [
        (
            "model",
            "input",
            "parameters",
            "multiply-adds",
            "int8 file",
            "conversion",
            "tensors equal to Keras",
            "int8",
            "float",
            "float / int8",
        )
    ]
    for name, entry in results.items():
        equal, compared = entry["tensors_equal"], entry["tensors_compared"]
        rows.append(
            (
                name,
                str(entry["input_size"]),
                f"{entry['parameters'] / 1e6:.2f} M",
                f"{entry['multiply_adds'] / 1e6:,.0f} M",
                f"{entry['int8_bytes'] / 1e6:.2f} MB",
                f"{entry['convert_s']:.0f} s",
                f"{equal} of {compared}" if equal < compared else f"all {compared}",
                f"{entry['int8_ms']:.2f} ms",
                f"{entry['float_ms']:.2f} ms",
                f"{entry['speedup']:.2f}",
            )
        )
    return (
        "**The garden**, each model at its own size, for a phone, after "
        f"{settings['steps']} training steps on small images; every inner tensor of "
        f"{settings['compared']} images compared; LiteRT on one thread, int8 and float files in "
        "turn (medians)\n\n" + markdown(rows)
    )


def hard_swish(results, settings):
    rows = [("hard-swish between two convolutions, one thread", "ns an element")]
    rows += [
        (name, f"{entry['ns_per_element']:.2f}")
        for name, entry in results.items()
        if name != "convolutions alone"
    ]
    return markdown(rows)


def cifar10(results, settings):
    logits = results["agreement"]["logits"]
    rows = [
        ("", "test accuracy"),
        ("float Keras", percent(results["float_accuracy"])),
        ("int8 file, calibrated only", percent(results["calibrated_int8_accuracy"])),
        ("int8 file, fine-tuned quantized", percent(results["fine_tuned_int8_accuracy"])),
    ]
    return (
        f"**CIFAR-10, MobileNetV2 {settings['alpha']} at 32×32**, "
        f"{settings['epochs']} float epochs "
        f"({results['float_seconds'] / 60:.0f} minutes on 2 shared cores) and "
        f"{settings['quantized_epochs']} quantized "
        f"({results['quantized_seconds'] / 60:.0f} minutes); all {results['test_images']:,} test "
        f"images; logits equal to Keras: {percent(logits['equal'])}\n\n" + markdown(rows)
    )


def low_precision(results, settings):
    table = report.accuracies(results)
    return (
        f"**Low precision on CIFAR-10**: a small residual network, {settings['train_images']:,} "
        f"training images, {settings['float_epochs']} epochs in float, then "
        f"{settings['epochs'] - settings['float_epochs']} quantized from there (float trains on "
        "alike), first and last layer (at 1 and 2 bits also 1×1 shortcuts) at 8 bits, all methods "
        f"at the same ranges; all 5,000 test images. {report.comparison(table)}\n"
        f"{report.mobilenet(table)}\n"
        "[Verdicts on the paper's claims, ablations, plots](benchmarks/lowbit/README.md)\n"
    )


def step(results, settings):
    rows = [("training step", "median", "to float Keras 3", "peak memory", "first step (tracing)")]
    for name, entry in results.items():
        rows.append(
            (
                name,
                f"{entry['median_s']:.2f} s",
                f"{entry['ratio_to_float']:.2f}",
                f"{entry['peak_memory_mib']:,.0f} MiB",
                f"{entry['first_step_s']:.0f} s",
            )
        )
    return f"**One training step**, {settings['model']}, no XLA, in turn in one run\n\n" + markdown(
        rows
    )


def agreement_row(name, figures):
    return (
        name,
        percent(figures["equal"]),
        percent(figures["within_one_step"]),
        str(figures["max_steps"]),
        percent(figures["top1_agreement"]),
    )


def percent(share):
    return "100 %" if share == 1 else f"{100 * share:.2f} %"


def markdown(rows):
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|" + " --- |" * len(rows[0]))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
