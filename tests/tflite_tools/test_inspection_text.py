"""An inspection as text, as JSON and as a drawing, of files of every kind."""

import dataclasses
import json

import foreign_files
import pytest

import tflite_tools
from mobilequant.cli import main
from tflite_tools import inspection_plot, tables


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for name, make in foreign_files.FILES.items():
        (folder / f"{name}.tflite").write_bytes(make())
    return folder


@pytest.mark.parametrize("kind", foreign_files.FILES)
def test_every_kind_of_file(folder, kind):
    found = tflite_tools.inspect(folder / f"{kind}.tflite")
    described = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert described["multiply_adds"] > 0 and described["weight_bytes"] > 0
    assert sum(entry["count"] for entry in described["operators"]) == sum(
        len(graph["operators"]) for graph in described["subgraphs"]
    )
    assert sum(described["tensors"].values()) == sum(
        len(graph["tensors"]) for graph in described["subgraphs"]
    )
    assert all(graph["memory"]["arena"] > 0 for graph in described["subgraphs"])
    text = str(found)
    for name, _ in found.operators:
        assert tables.shorten(name) in text
    for line in (found.operator_table() + found.tensor_table() + text).splitlines():
        assert line.isprintable() and len(line) < 220


def test_interface_with_signature(folder):
    found = tflite_tools.inspect(folder / "float32.tflite")
    (signature,) = found.signatures
    names = {name: found.subgraphs[0].tensors[i] for name, i in signature.outputs.items()}
    assert signature.name == "serving_default" and set(signature.inputs) == {"x"}
    assert names["sums"].shape == (8,) and names["values"].shape == (8, 1024)
    assert "serving_default(x) -> (sums, values)" in str(found)


def test_types_and_scales(folder):
    by_kind = {path.stem: tflite_tools.inspect(path) for path in folder.iterdir()}
    assert by_kind["float16"].tensors["FLOAT16"] == 5
    assert by_kind["int16x8"].tensors["INT16"] == 8
    assert by_kind["int4"].tensors["INT4"] == 1
    assert by_kind["dynamic_range"].tensors["INT8"] == 1
    (weights,) = (t for t in by_kind["dynamic_range"].subgraphs[0].tensors if t.dtype == "INT8")
    assert len(weights.scales) == len(weights.zero_points) == weights.shape[0] == 1024
    assert weights.quantized_dimension == 0 and weights.constant_bytes == 8192
    assert any(t.sparse for t in by_kind["sparse"].subgraphs[0].tensors)
    blocks = [t for t in by_kind["blockwise"].subgraphs[0].tensors if t.block_size]
    assert [t.block_size for t in blocks] == [4]
    assert "a scale for every 4 values" in by_kind["blockwise"].tensor_table()
    halved = by_kind["behind"].weight_bytes - by_kind["int4"].weight_bytes
    assert halved == 3 * 3 * 3 * 8 // 2


def test_custom_operators(folder):
    found = tflite_tools.inspect(folder / "custom.tflite")
    (op,) = (op for op in found.subgraphs[0].operators if op.custom)
    assert (op.version, op.multiply_adds, op.custom_bytes) == (3, None, 100)
    assert found.unknown_operators == [(op.name, 3)] and found.uncounted == {op.name: 1}
    # What an escape sequence of a terminal would be.
    assert "\x1b" not in str(found) and "own $x^2$" in str(found)


def test_runtimes(folder):
    """The converter states less than its own operators need."""
    found = tflite_tools.inspect(folder / "int16x8.tflite")
    assert (found.minimum_runtime, found.stated_runtime) == ("2.3.0", "1.10.0")
    assert "2.3.0 by the operators; the file states 1.10.0" in str(found)
    assert tflite_tools.inspect(folder / "behind.tflite").stated_runtime == "1.14.0"


def test_subgraphs(folder):
    found = tflite_tools.inspect(folder / "subgraphs.tflite")
    assert len(found.subgraphs) == 5
    for index, graph in enumerate(found.subgraphs):
        for text in (str(found), found.operator_table(), found.tensor_table()):
            assert f"subgraph {index} {tables.shorten(graph.name)}" in text


@pytest.mark.parametrize("kind", ["float16", "subgraphs", "custom"])
def test_drawing(folder, kind):
    found = tflite_tools.inspect(folder / f"{kind}.tflite")
    path = folder / f"{kind}.png"
    figure = found.plot(path)
    assert path.read_bytes().startswith(b"\x89PNG")
    weights, products = figure.axes
    costly = [
        op for g in found.subgraphs for op in g.operators if op.weight_bytes or op.multiply_adds
    ]
    assert len(weights.patches) == len(products.patches) == len(costly)
    assert sum(bar.get_width() for bar in products.patches) == pytest.approx(100)
    assert all(bar.get_width() <= 100 for bar in weights.patches)


def test_drawing_of_many_operators_and_of_none(folder, monkeypatch):
    found = tflite_tools.inspect(folder / "float32.tflite")
    monkeypatch.setattr(inspection_plot, "_MOST_BARS", 2)
    figure = found.plot()
    assert [len(axis.patches) for axis in figure.axes] == [2, 2]
    # The largest: a dense layer for its weights and its products, the first convolution.
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert [label.split()[-1] for label in labels] == ["0", "5"]
    assert "2 that have neither and the 3 smallest" in figure.get_suptitle()
    cheap = dataclasses.replace(found.subgraphs[0], operators=[])
    figure = dataclasses.replace(found, subgraphs=[cheap]).plot()
    assert [len(axis.patches) for axis in figure.axes] == [0, 0]


def test_drawing_where_it_cannot_be_written(folder):
    found = tflite_tools.inspect(folder / "sparse.tflite")
    with pytest.raises(ValueError, match=r"must end in \.png"):
        found.plot(folder / "costs.txt")


def test_command_line(folder, capsys):
    file, drawn = str(folder / "float32.tflite"), folder / "drawn.svg"
    assert main(["inspect", file]) == 0
    short = capsys.readouterr().out
    assert len(short.splitlines()) < 30
    assert main(["inspect", file, "--operators", "--tensors", "--plot", str(drawn)]) == 0
    long = capsys.readouterr().out
    assert long.startswith(short.rstrip()) and len(long.splitlines()) > 45 and drawn.exists()
    assert main(["inspect", file, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["multiply_adds"] == 82432


def test_command_line_errors(folder, capsys):
    file = str(folder / "float32.tflite")
    assert main(["inspect", file, "--plot", str(folder / "drawn.txt")]) == 2
    assert "drawn.txt must end in .png" in capsys.readouterr().err
    assert main(["inspect", file, "--plot", str(folder / "none" / "drawn.png")]) == 2
    assert "there is no folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("conv_1/Relu6", "conv_1/Relu6"),
        ("a" * 60, "…" + "a" * 47),
        ("two\nlines\x00", r"two\nlines\x00"),
        ("\x1b[2J" * 40, "…"),
        ("層/出力", "層/出力"),
    ],
)
def test_names_from_files(name, shown):
    short = tables.shorten(name)
    assert short.startswith(shown) and short.isprintable() and len(short) <= 48
