"""What the page says, in words and numbers: between `ReportPage` and the template.

Everything here is text, numbers, `Table`s and `Chart`s; the template only sets them.
"""

from __future__ import annotations

import collections
import math
from pathlib import Path
from types import SimpleNamespace

from tflite_tools.figures import share
from tflite_tools.reporting import layers
from tflite_tools.reporting.tables import Cell, Column, Table, number, word

_MEBI = 1 << 20


def build(page) -> SimpleNamespace:
    """The parts of the page, in its order, for `page.html`."""
    lines = layers.lines_of(page)
    return SimpleNamespace(
        name=Path(page.path).name,
        verdict=_verdict(page),
        cards=_cards(page),
        facts=_facts(page),
        accuracy=_accuracy(page),
        agreement=_agreement(page),
        promise=page.agreement and page.agreement.promise,
        charts=layers.charts(lines, page.sensitivity),
        kinds=layers.kinds(lines),
        operators=layers.operators(
            lines,
            compared=page.agreement is not None,
            measured=page.sensitivity is not None,
        ),
        edgetpu=_edgetpu(page),
        latency=_latency(page),
        latency_note=page.latency_note,
        examples=[_example(example) for example in page.examples],
        drawn=any(view.picture for example in page.examples for view in example.views),
        origin={**({"Recipe": page.recipe} if page.recipe else {}), **page.origin},
    )


def _verdict(page) -> SimpleNamespace:
    """One sentence, and whether it is a good one."""
    agreement = page.agreement
    if agreement is None:
        return SimpleNamespace(tone="muted", text="Not compared with a Keras model.")
    breach = agreement.breach
    if breach is not None:
        return SimpleNamespace(
            tone="bad",
            text=f"Breaks the contract: {breach.name} ({breach.kind}) lies up to "
            f"{breach.distance} from Keras’, {breach.allowance} allowed.",
        )
    what = "The file computes what Keras computes"
    if not any(figures.differs for figures in _all_figures(agreement)):
        what += ": every integer is equal"
    return SimpleNamespace(tone="good", text=f"{what}, on {_images(agreement.images)}.")


def _cards(page) -> list[SimpleNamespace]:
    """The figures that people ask for first."""
    found = page.inspection
    cards = [_card("size", size(found.size), f"{found.parameters:,} parameters")]
    for measure in page.measures:
        values = [value for value in measure.values.values() if value is not None]
        if values:
            before = f"float {percent(values[0])}" if len(values) > 1 else "of the file"
            cards.append(_card(measure.name, percent(values[-1]), before))
    if page.agreement is not None:
        figures = page.agreement.logits or page.agreement.outputs[0]
        cards.append(_card("equal to Keras", share(figures.equal), f"{figures.name}"))
    if page.latency is not None:
        file = page.latency.files[0]
        cards.append(_card("latency", milliseconds(file.typical), "median, this machine, 1 thread"))
    plan = page.plan
    if plan.decisions:
        on_it = f"{plan.mapped.total()} of {len(plan.decisions)}"
        cards.append(_card("on the Edge TPU", on_it, "operators"))
    return cards


def _card(name: str, value: str, note: str) -> SimpleNamespace:
    return SimpleNamespace(name=name, value=value, note=note)


def _facts(page) -> dict[str, str]:
    """What an app's programmer must know of the file."""
    found, facts = page.inspection, {}
    if page.target:
        facts["Target"] = page.target
    for kind, tensors in (("Input", found.inputs), ("Output", found.outputs)):
        for place, tensor in enumerate(tensors, 1):
            number_ = f" {place}" if len(tensors) > 1 else ""
            facts[f"{kind}{number_}"] = str(tensor)
    runtime = f"{found.minimum_runtime} or newer" if found.minimum_runtime else "unknown"
    if found.unknown_operators:
        runtime += ", without " + ", ".join(name for name, _ in found.unknown_operators)
    facts["Needs TFLite"] = runtime
    facts["Computes in"] = _types(found)
    facts["Multiply-adds"] = f"{found.multiply_adds:,}"
    memory = found.subgraphs[0].memory
    if memory.arena is not None:
        facts["Memory of activations"] = size(memory.arena)
    if found.description:
        facts["Written by"] = found.description
    return facts


def _types(found) -> str:
    if not found.float_tensors:
        return "integers only"
    return f"integers and float ({len(found.float_tensors)} float tensors)"


def _accuracy(page) -> Table | None:
    if not page.measures:
        return None
    models = list(dict.fromkeys(name for m in page.measures for name in m.values))
    columns = [Column("measure"), *(Column(name, numeric=True) for name in models)]
    if len(models) > 1:
        columns.append(Column("change", numeric=True))
    rows = []
    for measure in page.measures:
        values = [measure.values.get(name) for name in models]
        row = [word(measure.name)]
        row += [number(value, value is not None and percent(value)) for value in values]
        if len(models) > 1:
            known = None not in (values[0], values[-1])
            points = 100 * (values[-1] - values[0]) if known else None
            row.append(number(points, known and f"{points:+.2f} points"))
        rows.append(row)
    return Table("accuracy-table", "Accuracy on the test images", columns, rows)


def _agreement(page) -> Table | None:
    agreement = page.agreement
    if agreement is None:
        return None
    figures = [*agreement.outputs, *([agreement.logits] if agreement.logits else [])]
    rows = [
        [
            word(each.name),
            word(each.kind),
            number(each.elements),
            number(each.equal, share(each.equal), "bad" if each.breaks else "good"),
            Cell(each.distance, getattr(each, "max_steps", None)),
            word(each.row()[6]),
        ]
        for each in figures
    ]
    columns = [
        Column("tensor"),
        Column("operator"),
        Column("elements", numeric=True),
        Column("equal", numeric=True),
        Column("farthest apart", numeric=True),
        Column("values"),
    ]
    caption = f"Keras against the file on {_images(agreement.images)}"
    return Table("agreement-table", caption, columns, rows)


def _edgetpu(page) -> SimpleNamespace:
    """What an Edge TPU makes of the file, in sentences."""
    plan = page.plan
    total, mapped = len(plan.decisions), plan.mapped.total()
    if not plan.quantized:
        summary = "The file is not quantized to 8 bits: an Edge TPU runs nothing of it."
    elif plan.compiled:
        summary = "The file is compiled for the Edge TPU already."
    elif plan.complete:
        summary = f"All {total} operators run on the Edge TPU."
    else:
        summary = f"{mapped} of {total} operators run on the Edge TPU, the others on the CPU."
    if mapped and not plan.compiled:
        summary += f" Its parameters take about {plan.parameter_bytes / _MEBI:.2f} MiB there"
        summary += (
            ", which fit in its memory."
            if plan.fits
            else f"; about {plan.streamed_bytes / _MEBI:.2f} MiB of them do not fit and are sent "
            "to it at every inference."
        )
    reasons = collections.Counter(
        f"{d.operator}: {d.reason}" for d in plan.decisions if not d.mapped and d.kind != "behind"
    )
    useful = plan.quantized and not plan.compiled
    return SimpleNamespace(
        summary=summary,
        reasons=[_times(text, n) for text, n in reasons.items()] if useful else [],
        advice=plan.advice if useful else [],
    )


def _times(text: str, count: int) -> str:
    return text if count == 1 else f"{text} ({count} operators)"


def _latency(page) -> dict[str, str]:
    if page.latency is None:
        return {}
    file = page.latency.files[0]
    threads = f"{page.latency.threads} thread{'s' * (page.latency.threads > 1)}"
    lines = {
        "Median": milliseconds(file.typical),
        "10th to 90th percentile": f"{milliseconds(file.low)} to {milliseconds(file.high)}",
        "First inference": milliseconds(file.first),
        "Loading": milliseconds(file.load),
        "Measured": f"{file.runs} runs, {threads}, {file.runtime}",
    }
    if file.memory_added is not None:
        lines["Memory, beside LiteRT"] = size(file.memory_added)
    return lines


def _example(example) -> SimpleNamespace:
    """An example whose bars have a width."""
    views = [
        SimpleNamespace(
            model=view.model,
            picture=view.picture,
            predictions=[
                SimpleNamespace(name=name, text=percent(score, 1), width=_width(score))
                for name, score in view.predictions
            ],
        )
        for view in example.views
    ]
    return SimpleNamespace(
        title=example.title,
        truth=example.truth,
        picture=example.picture,
        differs=example.differs,
        views=views,
    )


def _width(share_: float) -> float:
    """Of 100, whatever a caller calls a share."""
    return round(100 * min(max(share_, 0.0), 1.0), 1) if math.isfinite(share_) else 0.0


def _all_figures(agreement):
    logits = [agreement.logits] if agreement.logits else []
    return [*agreement.outputs, *logits, *(agreement.layers or [])]


def _images(count: int) -> str:
    return f"{count:,} image{'s' * (count != 1)}"


def percent(value: float, digits: int = 2) -> str:
    """0.98765 as "98.77 %"."""
    return f"{100 * value:.{digits}f} %"


def size(count: int) -> str:
    """Bytes for people."""
    if count >= 1_000_000:
        return f"{count / 1e6:,.2f} MB"
    return f"{count / 1000:,.0f} kB" if count >= 10_000 else f"{count:,} B"


def milliseconds(value: float) -> str:
    """Three digits that mean something."""
    return f"{value:.3g} ms" if value < 100 else f"{value:,.0f} ms"
