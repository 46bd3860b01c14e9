"""Interrupted training: what is kept, and that it goes on where it was."""

import json
import os
import signal
import subprocess
import sys
import time

import keras
import pytest

from mobilequant.cli import main
from mobilequant.cli.progress import FitProgress

TRAIN = "train --model {model} --data digits --limit 64 --epochs 3 --learning-rate 0.01 -o {output}"


@pytest.fixture
def training(tmp_path):
    """The words of a training command on a small model; its output is `m.keras`."""
    keras.utils.set_random_seed(0)
    layers = [keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization()]
    layers += [keras.layers.ReLU(), keras.layers.Flatten(), keras.layers.Dense(10)]
    keras.Sequential(layers).save(tmp_path / "start.keras")
    return TRAIN.format(model=tmp_path / "start.keras", output=tmp_path / "m.keras").split()


def press_in_second_epoch(self, batch, logs=None):
    """Ctrl-C, in the place of `FitProgress.on_train_batch_end`."""
    if self.model.optimizer.iterations >= 3:  # two steps an epoch
        raise KeyboardInterrupt


@pytest.fixture
def interrupted(training, tmp_path, capsys, monkeypatch):
    """The same after ctrl-C in the second epoch."""
    with monkeypatch.context() as patched:
        patched.setattr(FitProgress, "on_train_batch_end", press_in_second_epoch)
        assert main(training) == 130
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("mobilequant: interrupted; ") and "after epoch 1" in last
    assert not (tmp_path / "m.keras").exists() and (tmp_path / "m.keras.backup").is_dir()
    return training


def test_the_same_command_goes_on(interrupted, tmp_path, capsys):
    assert main([*interrupted, "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["resumed_from_epoch"] == 1
    assert "epoch 2/3" in captured.err and "epoch 3/3" in captured.err
    assert "epoch 1/3" not in captured.err
    assert not (tmp_path / "m.keras.backup").exists() and (tmp_path / "m.keras").is_file()


def test_weights_optimizer_and_schedule_are_those_of_the_backup(interrupted, monkeypatch):
    seen = {}

    def look(self, epoch, logs=None):
        seen.setdefault(epoch, int(self.model.optimizer.iterations))

    monkeypatch.setattr(FitProgress, "on_epoch_begin", look)
    monkeypatch.setattr(FitProgress, "on_epoch_end", lambda *_: None)
    assert main(interrupted) == 0
    assert seen == {1: 2, 2: 4}


def test_the_monitor_goes_on(training, tmp_path, monkeypatch):
    command = [*training, "--quantize", "w8a8", "--monitor", str(tmp_path / "inside")]

    def steps():
        return json.loads((tmp_path / "inside" / "quantization.json").read_text())["steps"]

    with monkeypatch.context() as patched:
        patched.setattr(FitProgress, "on_train_batch_end", press_in_second_epoch)
        assert main(command) == 130
    assert steps() == [0, 1, 2]
    assert (tmp_path / "inside" / "quantization.png").is_file()
    assert main(command) == 0
    assert steps() == list(range(7))


def test_other_settings_are_refused_and_restart_begins_anew(interrupted, tmp_path, capsys):
    interrupted[interrupted.index("--epochs") + 1] = "4"
    assert main(interrupted) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1 and "m.keras.backup" in err
    assert "--epochs was 3, not 4" in err and "--restart" in err
    assert main([*interrupted, "--restart"]) == 0
    assert "epoch 1/4" in capsys.readouterr().err


def test_another_model_of_the_same_name_is_another_setting(interrupted, tmp_path, capsys):
    start = tmp_path / "start.keras"
    model = keras.models.load_model(start)
    model.set_weights([2 * weight for weight in model.get_weights()])
    model.save(start)
    assert main(interrupted) == 2
    assert "--model" in capsys.readouterr().err


def press(*_, **__):
    """Ctrl-C, in the place of any function."""
    raise KeyboardInterrupt


def test_an_interruption_while_the_result_is_written_loses_nothing(
    training, tmp_path, capsys, monkeypatch
):
    with monkeypatch.context() as patched:
        patched.setattr("mobilequant.cli.files.save_model", press)
        assert main(training) == 130
    assert "after epoch 3" in capsys.readouterr().err
    assert main(training) == 0
    assert "epoch 3/3" not in capsys.readouterr().err
    assert not (tmp_path / "m.keras.backup").exists()


def test_an_interruption_of_the_evaluation_leaves_the_result(
    training, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("mobilequant.cli.measuring.of_model", press)
    assert main(training) == 130
    assert "m.keras is written" in capsys.readouterr().err
    assert (tmp_path / "m.keras").is_file() and not (tmp_path / "m.keras.backup").exists()


def test_nothing_is_kept_of_an_unfinished_first_epoch(training, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(FitProgress, "on_train_batch_end", press)
    before = sorted(tmp_path.iterdir())
    assert main(training) == 130
    assert "nothing is kept" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_of_somebody_else_stays(training, tmp_path, capsys):
    folder = tmp_path / "m.keras.backup"
    folder.mkdir()
    (folder / "precious").write_text("")
    assert main([*training, "--restart"]) == 2
    assert "m.keras.backup" in capsys.readouterr().err
    assert (folder / "precious").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_real_ctrl_c(training, tmp_path):
    training[training.index("--epochs") + 1] = "100000"
    metadata = tmp_path / "m.keras.backup" / "training_metadata.json"
    process = subprocess.Popen(
        [sys.executable, "-m", "mobilequant.cli", *training],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        # What started the tests may ignore ctrl-C (a shell's background job does), and a child
        # inherits that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        deadline = time.monotonic() + 120
        while not metadata.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        err = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert err.strip().splitlines()[-1].startswith("mobilequant: interrupted; ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.keras.backup", "start.keras"]
