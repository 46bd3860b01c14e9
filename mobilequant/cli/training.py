"""What `mobilequant train` does once its arguments are sound."""

from __future__ import annotations

from pathlib import Path

import keras

from mobilequant import models
from mobilequant.cli import accuracy, console, datasets, files, monitoring
from mobilequant.cli.errors import UsageError
from mobilequant.cli.progress import FitProgress
from mobilequant.cli.resume import Run
from mobilequant.quantize import quantize
from mobilequant.quantize.state import quantized_layers, set_phase
from mobilequant.training import fit


def train(arguments, output: Path, backup: Run) -> dict:
    """Trains as the arguments say, writes `output`, and returns the result for `--json`."""
    keras.utils.set_random_seed(arguments.seed)
    source = None
    if arguments.model.endswith(".keras"):
        source = files.load_model(arguments.model)
        shape = datasets.image_shape(source, arguments.model)
    else:
        shape = (*arguments.image_size, arguments.channels)
    data = datasets.load(
        arguments,
        shape,
        batch_size=arguments.batch_size,
        augment=not arguments.no_augment,
        validation=arguments.validation,
        seed=arguments.seed,
        limit=arguments.limit,
    )
    if data.train is None:
        raise UsageError(f"the data set {data.name} has no images for training")
    steps = int(data.train.cardinality())
    model = source if source is not None else _new_model(arguments, shape, data, steps)
    datasets.check_classes(model, data, arguments.model)
    if quantized_layers(model):
        # A model from an earlier run may have been saved frozen.
        set_phase(model, "quantized")
    if arguments.quantize:
        model = quantize(
            model,
            arguments.quantize,
            target=arguments.target or "phone",
            estimator=arguments.estimator,
        )
    peak = arguments.learning_rate or fit.LEARNING_RATES[arguments.optimizer]
    schedule = fit.cosine_schedule(peak, steps * arguments.epochs, steps * arguments.warmup_epochs)
    fit.compile_classifier(model, optimizer=arguments.optimizer, learning_rate=schedule)
    monitor = None
    if arguments.monitor:
        monitor = monitoring.Monitoring(arguments.monitor, steps * arguments.epochs)
        if backup.begun_at:
            monitor.go_on()
    _announce(model, data, arguments, backup)
    _fit(model, data, arguments, backup, monitor)
    # Compiled anew, without the optimizer's state, which would make the file three times as
    # large.
    fit.compile_classifier(model, optimizer=arguments.optimizer, learning_rate=peak)
    size = files.save_model(model, output)
    backup.close()
    share = accuracy.of_model(model, data.test) if data.test is not None else None
    return {
        "path": str(output),
        "size": size,
        "parameters": model.count_params(),
        "quantized": bool(quantized_layers(model)),
        "data": data.name,
        "sizes": data.sizes,
        "epochs": arguments.epochs,
        "resumed_from_epoch": backup.begun_at,
        "test_accuracy": share,
    }


def _new_model(arguments, shape, data, steps: int):
    return getattr(models, arguments.model)(
        shape,
        data.num_classes,
        alpha=arguments.alpha,
        early_strides=tuple(arguments.early_strides),
        dropout=arguments.dropout,
        weights=arguments.weights,
        batch_norm_momentum=fit.batch_norm_momentum(steps * arguments.epochs),
    )


def _announce(model, data, arguments, backup) -> None:
    kind = "quantized" if quantized_layers(model) else "float"
    console.note(
        f"{model.name} ({kind}, {model.count_params():,} parameters) on {data.name}: "
        f"{data.sizes['train']:,} images for training, {data.sizes.get('test', 0):,} for testing"
    )
    if backup.begun_at:
        console.note(f"going on after epoch {backup.begun_at} of {arguments.epochs}")


def _fit(model, data, arguments, backup, monitor) -> None:
    progress = FitProgress()
    try:
        fit.fit_classifier(
            model,
            data.train,
            epochs=arguments.epochs,
            validation=data.validation,
            float_epochs=arguments.float_epochs,
            freeze_epochs=arguments.freeze_epochs,
            backup_dir=backup.folder,
            callbacks=[progress, *([monitor.callback] if monitor else [])],
        )
    finally:
        progress.close()
        if monitor:
            monitor.write()
