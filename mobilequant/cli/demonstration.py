"""The steps of `mobilequant demo`, and its closing table."""

from __future__ import annotations

import collections
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mobilequant.cli import console, files
from mobilequant.cli.quiet import import_tensorflow, quiet

_STEPS = 6
_IMAGE_SIZE = 20
_BATCH_SIZE = 32
_TEST_BATCH_SIZE = 128
_RATE, _FINE_TUNING_RATE = 3e-3, 1e-4


class Demonstration:
    """One run of the demo.

    Args:
        arguments: The parsed command line.
        folder: Where the models and the file go.
    """

    def __init__(self, arguments, folder: Path):
        self._arguments = arguments
        self._step = 0
        self._started = time.monotonic()
        self._float = folder / "float.keras"
        self._quantized = folder / "quantized.keras"
        self._file = folder / "digits.tflite"
        for path in (self._float, self._quantized, self._file):
            files.check_output(path, path.suffix)

    def run(self) -> None:
        """All steps, then the table."""
        console.note("mobilequant demo: scanned digits, from Keras to an integer-only file")
        import_tensorflow()
        import keras

        import tflite_tools
        from mobilequant.cli import accuracy, contract
        from mobilequant.data import load_classification
        from mobilequant.models import MobileNetV2
        from mobilequant.quantize import calibrate, quantize
        from mobilequant.training import fit

        epochs, quantized_epochs = self._arguments.epochs, self._arguments.quantized_epochs
        keras.utils.set_random_seed(0)
        data = load_classification(
            "digits",
            image_size=_IMAGE_SIZE,
            batch_size=_BATCH_SIZE,
            limit=self._arguments.limit,
        )
        steps = len(data.train)

        self._begin(f"train MobileNetV2 0.35 in float, {data.sizes['train']:,} images")
        model = MobileNetV2(
            data.image_shape,
            data.num_classes,
            alpha=0.35,
            early_strides=(1, 1),
            batch_norm_momentum=fit.batch_norm_momentum(steps * epochs),
        )
        rate = fit.cosine_schedule(_RATE, steps * epochs, steps if epochs > 2 else 0)
        fit.compile_classifier(model, learning_rate=rate)
        self._fit(model, data, epochs)
        float_accuracy = accuracy.of_model(model, data.test)
        self._end(f"test accuracy {console.percent(float_accuracy)}")
        files.save_model(model, self._float)

        self._begin("quantize to 8 bits for phones, ranges from the training images")
        qmodel = quantize(model, "w8a8", target="phone")
        calibrate(qmodel, data.train, steps=4, verbose=0)
        self._end("quantized")

        self._begin(f"fine-tune quantized, {quantized_epochs} epochs")
        rate = fit.cosine_schedule(_FINE_TUNING_RATE, steps * quantized_epochs)
        fit.compile_classifier(qmodel, learning_rate=rate)
        self._fit(qmodel, data, quantized_epochs, freeze_epochs=int(quantized_epochs > 1))
        files.save_model(qmodel, self._quantized)
        self._end("trained")

        self._begin("convert to an integer-only .tflite file")
        with quiet():
            report = tflite_tools.convert(qmodel, self._file)
        self._end(f"{self._file.name}, {report.size:,} bytes")

        self._begin(f"verify on all {data.sizes['test']} test images")
        with quiet():
            images = data.test.rebatch(_TEST_BATCH_SIZE)
            agreement = tflite_tools.verify(qmodel, self._file, images)
            int8_accuracy = accuracy.of_file(self._file, data.test)
        broken = contract.first_breach(agreement)
        self._end(broken or "the file computes what Keras computes")

        self._begin("inspect and measure the file")
        found = tflite_tools.inspect(self._file)
        with quiet():
            latency = tflite_tools.benchmark(self._file).files[0]
        self._end(f"{latency.median:.2f} ms an image")

        operators = collections.Counter()
        for (name, _), number in found.operators.items():
            operators[name] += number
        logits = agreement.logits or agreement.outputs[0]
        result = {
            "float_accuracy": float_accuracy,
            "int8_accuracy": int8_accuracy,
            "logits_equal": logits.equal,
            "top1_agreement": agreement.top1_agreement,
            "images": agreement.images,
            "contract": broken is None,
            "size": report.size,
            "float_weights_size": 4 * model.count_params(),
            "latency_ms": latency.median,
            "operators": dict(operators),
            "files": [str(path) for path in (self._float, self._quantized, self._file)],
            "seconds": time.monotonic() - self._started,
        }
        if self._arguments.json:
            console.print_result(result, "", as_json=True)
        else:
            _print_table(result)

    def _fit(self, model, data, epochs: int, freeze_epochs: int = 0) -> None:
        from mobilequant.cli.progress import FitProgress
        from mobilequant.training import fit

        progress = FitProgress(indent="      ")
        try:
            fit.fit_model(
                model,
                data.train,
                epochs=epochs,
                freeze_epochs=freeze_epochs,
                callbacks=[progress],
            )
        finally:
            progress.close()

    def _begin(self, what: str) -> None:
        self._step += 1
        self._step_started = time.monotonic()
        console.progress_console().print(f"[bold]{self._step}/{_STEPS}[/bold]   {what}")

    def _end(self, outcome: str) -> None:
        seconds = time.monotonic() - self._step_started
        console.note(f"      {outcome} ({seconds:.0f} s)")


def _print_table(result: dict) -> None:
    saved = result["float_weights_size"] / result["size"]
    rows = [
        ("float accuracy", console.percent(result["float_accuracy"])),
        ("int8 accuracy", f"{console.percent(result['int8_accuracy'])}, the file in LiteRT"),
        (
            "agreement with Keras",
            f"{_all_or_percent(result['logits_equal'])} of logits equal, top-1 "
            f"{_all_or_percent(result['top1_agreement'])}, on {result['images']} images",
        ),
        (
            "file size",
            f"{console.size(result['size'])} (float weights "
            f"{console.size(result['float_weights_size'])}, {saved:.1f} times as much)",
        ),
        ("latency", f"{result['latency_ms']:.2f} ms an image, 1 thread of this CPU"),
        ("operators", ", ".join(f"{n} {name}" for name, n in result["operators"].items())),
    ]
    table = Table(
        title=f"digits, MobileNetV2 0.35, {_IMAGE_SIZE}x{_IMAGE_SIZE} pixels",
        show_header=False,
        title_justify="left",
    )
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for row in rows:
        table.add_row(*row)
    out = Console(highlight=False)
    out.print()
    out.print(table)
    folder = Path(result["files"][0]).parent
    names = ", ".join(Path(path).name for path in result["files"])
    out.print(f"{names} are in {folder}/; all of it took {result['seconds']:.0f} s", soft_wrap=True)


def _all_or_percent(share: float) -> str:
    return "100 %" if share == 1 else f"{min(100 * share, 99.99):.2f} %"
