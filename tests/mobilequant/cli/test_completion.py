"""The completion scripts, tried in the shells that this machine has."""

import shutil
import subprocess

import pytest

from mobilequant.cli import commands, main
from mobilequant.cli.commands import completion


@pytest.fixture(params=completion.SHELLS)
def script(request, capsys):
    """(shell, what the command prints for it)."""
    assert main(["completion", request.param]) == 0
    return request.param, capsys.readouterr().out


def test_every_subcommand_and_option_is_in_the_script(script):
    _, text = script
    assert all(name in text for name in commands.COMMANDS)
    assert all(word in text for word in ("freeze-epochs", "allow-float", "edgetpu", "denoise"))


def test_the_shell_takes_it(script, tmp_path):
    shell, text = script
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    path = tmp_path / "script"
    path.write_text(text)
    subprocess.run([shell, "-n", path], check=True)


def completed(folder, script, *words):
    """What bash offers for the last of some words behind `mobilequant`."""
    folder.joinpath("script").write_text(script)
    quoted = " ".join(f"'{word}'" for word in ("mobilequant", *words))
    ask = (
        f"source ./script; COMP_WORDS=({quoted}); COMP_CWORD={len(words)}; "
        "$(complete -p mobilequant | sed -E 's/.* -F ([^ ]+) .*/\\1/'); "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    found = subprocess.run(
        ["bash", "-c", ask], cwd=folder, capture_output=True, text=True, check=True
    )
    return {word.strip() for word in found.stdout.split()}


def test_bash_completes_commands_options_choices_and_files(tmp_path, capsys):
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    (tmp_path / "float.keras").touch()
    (tmp_path / "photos").mkdir()
    assert completed(tmp_path, script, "qu") == {"quantize"}
    assert "--leave-float" in completed(tmp_path, script, "quantize", "--lea")
    assert completed(tmp_path, script, "quantize", "--target", "") >= {"phone", "edgetpu"}
    assert completed(tmp_path, script, "quantize", "fl") == {"float.keras"}
    assert completed(tmp_path, script, "train", "--data", "ph") == {"photos"}


def test_an_unknown_shell_is_one_line(capsys):
    assert main(["completion", "cmd"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "zsh" in error
