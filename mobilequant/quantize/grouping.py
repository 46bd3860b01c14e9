"""Which calls become one operator: a convolution with its normalization and activation, say."""

from __future__ import annotations

from mobilequant.quantize.rules import find_rule


def group_calls(context, left=frozenset()) -> list[list]:
    """Lists of calls that become one operator, in the order in which they run.

    Layers that share weights between their calls must be grouped alike at each call: where what
    follows differs, only what is common to all becomes part of the group.

    Args:
        context: A rule's `Context`.
        left: Ids of calls that stay float, each a group of its own.
    """
    limits: dict[int, int] = {}
    while True:
        groups = _group(context, left, limits)
        shorter = _common_lengths(groups, context.graph)
        if not shorter:
            return groups
        limits |= shorter


def _group(context, left, limits):
    groups, taken = [], set()
    for call in context.graph.calls:
        if id(call) in taken:
            continue
        group = [call]
        rule = find_rule(call.layer)
        limit = limits.get(id(call.layer), len(context.graph.calls))
        following = context.graph.only_consumer(call)
        while (
            rule is not None
            and len(group) < limit
            and following is not None
            and not {id(group[-1]), id(following)} & left
            and rule.absorbs(group, following, context)
        ):
            group.append(following)
            following = context.graph.only_consumer(following)
        taken.update(id(member) for member in group)
        groups.append(group)
    return groups


def _common_lengths(groups, graph):
    """By id of a layer with weights: how long its groups may be, where they differ."""
    of_layer: dict[int, list] = {}
    for group in groups:
        head = group[0]
        if len(graph.calls_of(head)) > 1 and getattr(head.layer, "weights", None):
            of_layer.setdefault(id(head.layer), []).append(group)
    lengths = {}
    for key, same in of_layer.items():
        common = 1
        for members in zip(*(group[1:] for group in same), strict=False):
            if any(not _alike(members[0].layer, member.layer) for member in members[1:]):
                break
            common += 1
        if any(len(group) != common for group in same):
            lengths[key] = common
    return lengths


def _alike(a, b):
    if a is b:
        return True
    if type(a) is not type(b) or getattr(a, "weights", None):
        return False
    return {**a.get_config(), "name": None} == {**b.get_config(), "name": None}
