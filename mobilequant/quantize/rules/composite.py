"""Calls that become several quantized layers which are not a chain."""

from __future__ import annotations


class Composite:
    """Stands in the list of layers that a rule returns, and connects layers when it is called.

    Args:
        connect: A function of (name, value) that calls layers on symbolic tensors and returns
            the last one's output. `value` is what a layer there would take: a tensor or a list
            of them. The last layer must be named `name`, the others begin with it.
        name: That of the call that it replaces; made unique before the call.
    """

    def __init__(self, connect, name):
        self._connect = connect
        self.name = name

    def __call__(self, value):
        return self._connect(self.name, value)
