"""The zoo as a picture: which share of the logits is the same integer in Keras and in the file.

`benchmarks/readme.py` writes it, as an SVG that fits light and dark pages.
"""

from __future__ import annotations

from xml.sax.saxutils import escape

#: In pixels.
WIDTH, ROW, BAR, LEFT, RIGHT, TOP = 760, 32, 9, 150, 80, 66

_STYLE = """\
    text { font: 13px system-ui, sans-serif; fill: #24292f }
    .title { font-size: 15px; font-weight: 600 }
    .figure { font-size: 11px }
    .ours { fill: #00897b }
    .theirs { fill: #8a94a0 }
    .rule { stroke: #8a94a0; stroke-opacity: .35 }
    .paper { fill: #ffffff }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3 }
      .ours { fill: #4db6ac }
      .paper { fill: #0d1117 }
    }"""


def draw(ours, tfmot) -> str:
    """The picture, two bars a network.

    Args:
        ours: The document of `zoo.json`.
        tfmot: The document of `zoo_tfmot.json`, or None.
    """
    names = list(ours["results"])
    height = TOP + ROW * len(names) + 12
    theirs = tfmot["results"] if tfmot else {}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        "  <title>Share of logits that are the same integer in Keras and in the file</title>",
        f"  <style>\n{_STYLE}\n  </style>",
        # A page may be dark where the system is light, or the other way round.
        f'  <rect class="paper" y="0" width="{WIDTH}" height="{height}" rx="6"/>',
        '  <text class="title" x="8" y="22">The same integer in Keras and in the .tflite file,'
        " share of all logits</text>",
        *_legend(),
    ]
    for share in (0, 0.5, 1):
        x = _x(share)
        parts.append(f'  <line class="rule" x1="{x}" x2="{x}" y1="{TOP - 8}" y2="{height - 8}"/>')
    for row, name in enumerate(names):
        y = TOP + ROW * row
        parts.append(f'  <text x="8" y="{y + 14}">{escape(name)}</text>')
        parts += _bar(y, "ours", ours["results"][name]["logits_equal"])
        if name in theirs:
            parts += _bar(y + BAR + 3, "theirs", theirs[name].get("outputs_equal"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _legend():
    return [
        f'  <rect class="ours" x="{LEFT}" y="36" width="12" height="{BAR}"/>',
        f'  <text class="figure" x="{LEFT + 18}" y="45">mobilequant</text>',
        f'  <rect class="theirs" x="{LEFT + 110}" y="36" width="12" height="{BAR}"/>',
        f'  <text class="figure" x="{LEFT + 128}" y="45">TFMOT</text>',
    ]


def _bar(y, kind, share):
    if share is None:
        return [
            f'  <text class="figure" x="{LEFT + 5}" y="{y + BAR}">TFMOT refuses the model</text>'
        ]
    end = _x(share)
    return [
        f'  <rect class="{kind}" x="{LEFT}" y="{y}" width="{end - LEFT:g}" height="{BAR}"/>',
        f'  <text class="figure" x="{end + 5:g}" y="{y + BAR}">{_percent(share)}</text>',
    ]


def _x(share):
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)


def _percent(share):
    return "100 %" if share == 1 else f"{min(100 * share, 99.9):.1f} %"
