"""Puts the figures of benchmarks/results into README.md, between its two marker lines.

python benchmarks/readme.py           # writes them
python benchmarks/readme.py --check   # exits with 1 if README.md says something else
"""

from __future__ import annotations

import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).parents[1]
START, END = "<!-- results: benchmarks/readme.py -->", "<!-- end of results -->"


def main():
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    before, rest = text.split(START)
    after = rest.split(END)[1]
    wanted = f"{before}{START}\n{render()}{END}{after}"
    if "--check" in sys.argv:
        return int(wanted != text)
    path.write_text(wanted, encoding="utf-8")
    return 0


def render() -> str:
    """The tables as Markdown."""
    parts = []
    for name, table in (("imagenet", imagenet), ("cifar10", cifar10), ("training_step", step)):
        path = ROOT / "benchmarks" / "results" / f"{name}.json"
        if path.exists():
            document = json.loads(path.read_text(encoding="utf-8"))
            parts.append(table(document["results"], document["settings"]))
            versions = document["versions"]
            parts.append(
                f"<sub>`benchmarks/{name}.py`, {document['date']}, {document['machine']}, "
                f"TensorFlow {versions['tensorflow']}, Keras {versions['keras']}, "
                f"LiteRT {versions['ai-edge-litert']}</sub>\n"
            )
    return "\n".join(parts)


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
    return (
        f"**ImageNet MobileNetV2 1.0 224**, {results['images']} sample images (from the training "
        "set: for comparing two models, not a benchmark result), calibrated on 64 others; "
        f"operators {', '.join(f'{n} {k}' for k, n in sorted(results['operators'].items()))}\n\n"
        + markdown(rows)
        + "\n"
        + markdown(agree)
    )


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
