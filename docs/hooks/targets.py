"""The table of targets, from the table that the packages read."""

from mobilequant import targets

_MARK = "<!-- table of targets -->"


def on_page_markdown(markdown, page, **kwargs):
    """Puts the table in the place of its mark."""
    return markdown.replace(_MARK, _table()) if _MARK in markdown else markdown


def _table() -> str:
    lines = [
        "| target | for | inputs and outputs | scales of dense weights | operators |",
        "| --- | --- | --- | --- | --- |",
    ]
    for target in targets.TARGETS.values():
        dense = "one" if target.dense_granularity == "tensor" else "one a channel"
        lines.append(
            f"| `{target.name}` | {target.description} | {' or '.join(target.interfaces)} "
            f"| {dense} | {len(target.operators)} kinds |"
        )
    return "\n".join(lines)
