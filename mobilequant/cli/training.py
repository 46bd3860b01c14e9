"""What `mobilequant train` does once its arguments are sound."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from mobilequant.cli import console, datasets, files, measuring, monitoring, tasks
from mobilequant.cli.errors import UsageError
from mobilequant.cli.progress import FitProgress
from mobilequant.cli.resume import Run
from mobilequant.quantize import quantize
from mobilequant.quantize.state import quantized_layers, set_phase
from mobilequant.training import fit


def train(arguments, output: Path, backup: Run) -> tuple[dict, list[str]]:
    """Trains as the arguments say, and writes `output`.

    Returns:
        The result for `--json`, and the lines that say what was measured.
    """
    keras.utils.set_random_seed(arguments.seed)
    source = None
    if arguments.from_file:
        source = files.load_model(arguments.model)
        shape = datasets.image_shape(source, arguments.model)
        task = tasks.of_model(source, arguments.task)
    else:
        shape = (*arguments.image_size, arguments.channels)
        task = tasks.TASKS[arguments.task]
    data = datasets.load(
        arguments,
        task,
        shape,
        batch_size=arguments.batch_size or task.BATCH_SIZE,
        augment=not arguments.no_augment,
        validation=arguments.validation,
        seed=arguments.seed,
        limit=arguments.limit,
    )
    if data.train is None:
        raise UsageError(f"the data set {data.name} has no images for training")
    steps = int(data.train.cardinality())
    momentum = fit.batch_norm_momentum(steps * arguments.epochs)
    model = source if source is not None else task.build(arguments, shape, data, momentum)
    task.check(model, data, arguments.model or model.name)
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
    training = task.targets(model, data.train)
    options = {"optimizer": arguments.optimizer, "learning_rate": schedule}
    task.compile(model, data, _one_target(training), **options)
    monitor = None
    if arguments.monitor:
        monitor = monitoring.Monitoring(arguments.monitor, steps * arguments.epochs)
        if backup.begun_at:
            monitor.go_on()
    _announce(model, data, arguments, backup)
    validation = task.targets(model, data.validation) if data.validation is not None else None
    _fit(model, training, validation, arguments, backup, monitor)
    # Compiled anew, without the optimizer's state, which would make the file three times as
    # large.
    task.compile(model, data, None, optimizer=arguments.optimizer, learning_rate=peak)
    size = files.save_model(model, output)
    backup.close()
    measured = measuring.of_model(task, model, data)
    result = {
        "path": str(output),
        "task": task.NAME,
        "size": size,
        "parameters": model.count_params(),
        "quantized": bool(quantized_layers(model)),
        "data": data.name,
        "sizes": data.sizes,
        "epochs": arguments.epochs,
        "resumed_from_epoch": backup.begun_at,
        **measuring.keyed(measured, "test"),
    }
    return result, measuring.lines(task, measured, "test {} {}")


def _one_target(training):
    """The targets of one image, all zeros."""
    return keras.tree.map_structure(
        lambda spec: np.zeros((1, *spec.shape[1:]), spec.dtype.as_numpy_dtype),
        training.element_spec[1],
    )


def _announce(model, data, arguments, backup) -> None:
    kind = "quantized" if quantized_layers(model) else "float"
    console.note(
        f"{model.name} ({kind}, {model.count_params():,} parameters) on {data.name}: "
        f"{data.sizes['train']:,} images for training, {data.sizes.get('test', 0):,} for testing"
    )
    if backup.begun_at:
        console.note(f"going on after epoch {backup.begun_at} of {arguments.epochs}")


def _fit(model, training, validation, arguments, backup, monitor) -> None:
    progress = FitProgress()
    try:
        fit.fit_model(
            model,
            training,
            epochs=arguments.epochs,
            validation=validation,
            float_epochs=arguments.float_epochs,
            freeze_epochs=arguments.freeze_epochs,
            backup_dir=backup.folder,
            callbacks=[progress, *([monitor.callback] if monitor else [])],
        )
    finally:
        progress.close()
        if monitor:
            monitor.write()
