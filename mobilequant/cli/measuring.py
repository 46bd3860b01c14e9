"""Figures of a task, for JSON and for people."""

from __future__ import annotations

from mobilequant.cli import console


def of_model(task, model, data) -> dict:
    """What a task measures of a Keras model on the test images; all `None` without any."""
    from mobilequant.cli.running import ModelRunner

    if data.test is None:
        return dict.fromkeys(task.MEASURES)
    return task.measure(model, ModelRunner(model, int(data.test.cardinality())), data)


def keyed(measured: dict, prefix: str) -> dict:
    """{"accuracy": …} as {"test_accuracy": …}."""
    return {f"{prefix}_{name}": value for name, value in measured.items()}


def lines(task, measured: dict, form: str) -> list[str]:
    """What was measured, a line each.

    Args:
        task: A module of `mobilequant.cli.tasks`.
        measured: Of its `measure`.
        form: Takes the name and the value.
    """
    return [
        form.format(task.MEASURES[name], console.percent(value))
        for name, value in measured.items()
        if value is not None
    ]
