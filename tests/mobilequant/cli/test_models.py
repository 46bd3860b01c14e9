"""`mobilequant models`: the table, and that it says what the builders make."""

import json
import subprocess
import sys

import pytest

from mobilequant import models
from mobilequant.cli import garden
from mobilequant.cli.command import main


def test_it_lists_every_builder_and_what_the_pattern_asks_for(capsys):
    assert main(["models"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in models.GARDEN)
    assert main(["models", "*v4hybrid*", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["models"]
    assert [entry["name"] for entry in found] == [
        "MobileNetV4HybridMedium", "MobileNetV4HybridLarge",
    ]  # fmt: skip
    assert all(entry["edgetpu_share"] < 1 for entry in found)
    assert main(["models", "*v9*"]) == 2
    assert "no model is named like '*v9*'" in capsys.readouterr().err


def test_it_answers_without_tensorflow():
    script = (
        "import sys; sys.argv = ['mobilequant', 'models']\n"
        "from mobilequant.cli.command import main\n"
        "assert main(['models']) == 0 and 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60, capture_output=True)


@pytest.mark.parametrize(
    "name", ["MobileNetV1", "MobileNetV3Small minimalistic", "MobileNetV4ConvSmall"]
)
def test_the_table_says_what_the_builders_make(name):
    entry = next(entry for entry in garden.entries() if entry["name"] == name)
    model = getattr(models, entry["builder"])(**entry["options"])
    counts = models.count(model)
    assert model.input_shape[1:3] == (entry["input_size"],) * 2
    assert counts.parameters == entry["parameters"]
    assert counts.multiply_adds == entry["multiply_adds"]
    # A byte a weight, and biases, scales and the graph.
    assert 1.0 < entry["int8_bytes"] / entry["parameters"] < 1.25
