"""The zoo's tables, ours and TFMOT's side by side, from the results alone.

    python benchmarks/zoo/report.py

Prints Markdown; `benchmarks/readme.py` puts it into the documents.
"""

from __future__ import annotations

import json
import pathlib
import re

RESULTS = pathlib.Path(__file__).resolve().parents[1] / "results"

#: Stages whose seconds are told.
STAGES = {
    "quantize": "quantize",
    "calibrate": "calibrate",
    "save_and_load": "save, load",
    "convert": "convert",
}


def main():
    ours, tfmot = (_read(name) for name in ("zoo", "zoo_tfmot"))
    print(summary(ours, tfmot), tables(ours, tfmot), sep="\n\n")


def summary(ours, tfmot) -> str:
    """Both halves in two sentences.

    Args:
        ours: The document of `zoo.json`.
        tfmot: The document of `zoo_tfmot.json`, or None.
    """
    results = ours["results"]
    equal = sum(
        entry["tensors_equal"] == entry["tensors_compared"] and entry["outputs_equal"] == 1
        for entry in results.values()
    )
    tensors = [entry["tensors_compared"] for entry in results.values()]
    spans = [entry["logits_span"] for entry in results.values()]
    text = (
        f"**The zoo**: {len(results)} networks of `keras.applications` quantized, trained, saved, "
        f"loaded and converted; {_all_of(equal, len(results))} integer only and equal to Keras in "
        f"every inner tensor ({min(tensors)} to {max(tensors)}) and every output, with logits "
        f"that span {min(spans)} integers or more."
    )
    if not tfmot:
        return text
    theirs = tfmot["results"]
    taken = [entry for entry in theirs.values() if _is_taken(entry)]
    clean = [entry for entry in taken if entry.get("integer_only")]
    shares = [entry["outputs_equal"] for entry in taken if "outputs_equal" in entry]
    steps = [entry["largest_steps"] for entry in taken if "largest_steps" in entry]
    return (
        f"{text} TFMOT took {len(taken)} of {len(theirs)}, and {len(clean)} of them became "
        f"integer-only files; between its Keras models and its files {_percent(min(shares))} to "
        f"{_percent(max(shares))} of the logits were equal, the farthest {max(steps)} step"
        f"{'s' if max(steps) > 1 else ''} apart."
    )


def tables(ours, tfmot) -> str:
    """One row a network."""
    return f"{_agreement(ours, tfmot)}\n{_effort(ours)}"


def _agreement(ours, tfmot):
    rows = [
        (
            "network",
            "tensors equal",
            "outputs equal",
            "images",
            "logits span",
            "file",
            "TFMOT",
            "its file",
            "its logits equal",
            "steps at most",
            "span",
        )
    ]
    for name, entry in ours["results"].items():
        same, compared = entry["tensors_equal"], entry["tensors_compared"]
        rows.append(
            (
                name,
                f"{same} of {compared}" if same < compared else f"all {compared}",
                _percent(entry["outputs_equal"]),
                str(entry.get("images_compared", 16)),
                str(entry["logits_span"]),
                f"{entry['int8_bytes'] / 1e6:.2f} MB",
                *_theirs((tfmot or {"results": {}})["results"].get(name)),
            )
        )
    return _markdown(rows)


def _theirs(entry):
    if entry is None:
        return ("not run", "", "", "", "")
    if not _is_taken(entry):
        return (_reason(entry["quantize_model"]), "", "", "", "")
    if entry.get("integer_only"):
        file = "integer only"
    elif entry.get("converts") == "yes":
        kinds = entry.get("float_operators") or {}
        file = f"float: {', '.join(sorted(kinds))}" if kinds else "not integer only"
    else:
        file = _reason(str(entry.get("converts")))
    if "outputs_equal" not in entry:
        return ("accepted", file, "", "", "")
    return (
        "accepted",
        file,
        _percent(entry["outputs_equal"]),
        str(entry["largest_steps"]),
        str(entry["span"]),
    )


def _effort(ours):
    rows = [
        ("seconds on two shared cores", "parameters", *STAGES.values(), "operators in the file")
    ]
    for name, entry in ours["results"].items():
        operators = ", ".join(f"{n} {kind}" for kind, n in entry["operators"].items())
        rows.append(
            (
                name,
                f"{entry['parameters'] / 1e6:.1f} M",
                *(f"{entry['seconds'][stage]:.0f}" for stage in STAGES),
                operators,
            )
        )
    return _markdown(rows)


def _is_taken(entry):
    return entry["quantize_model"] == "accepted"


def _reason(text):
    """The first sentence of an error, short enough for a cell."""
    text = re.sub(r"<class '([^']*)'>", r"\1", text.replace("|", "\\|"))
    first = re.split(r"(?<=[.!])\s", text.strip(), maxsplit=1)[0]
    return f"refused: {first if len(first) <= 120 else first[:117] + '…'}"


def _all_of(count, whole):
    return f"all {whole}" if count == whole else f"{count} of {whole}"


def _percent(share):
    return "100 %" if share == 1 else f"{min(100 * share, 99.99):.2f} %"


def _markdown(rows):
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|" + " --- |" * len(rows[0]))
    return "\n".join(lines) + "\n"


def _read(name):
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


if __name__ == "__main__":
    main()
