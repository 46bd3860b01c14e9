"""What a plan for the Edge TPU says: decisions, counts, and the same as text and JSON."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

from tflite_tools.edgetpu import memory, rules
from tflite_tools.edgetpu.compiler import Compilation
from tflite_tools.edgetpu.operations import label
from tflite_tools.tables import table

#: How many reasons are shown as text; `to_dict` has all.
_LINES = 20


@dataclasses.dataclass(frozen=True)
class Decision:
    """Where one operator runs, and why.

    Attributes:
        index: Its number in its subgraph.
        operator: Its name.
        custom: Whether TFLite does not define it.
        version: As the file states it.
        name: Name of its first output.
        kind: "mapped"; what keeps it on the CPU by itself ("operator", "version", "type",
            "dynamic", "rank", "limit", "subgraph"); or "behind", where only an operator before it
            does.
        reason: For people; empty where it is mapped.
        advice: What to change; empty where it is mapped or only behind.
        behind: Number of the first operator on its way that stays on the CPU; None where there is
            none before it.
        subgraph: Number of its subgraph.
    """

    index: int
    operator: str
    custom: bool
    version: int
    name: str
    kind: str = "mapped"
    reason: str = ""
    advice: str = ""
    behind: int | None = None
    subgraph: int = 0

    @property
    def mapped(self) -> bool:
        """Whether it runs on the Edge TPU."""
        return self.kind == "mapped"


@dataclasses.dataclass(frozen=True)
class Cause:
    """An operator with which the CPU's part begins on its way.

    Attributes:
        name: Name of its output: in a file of mobilequant the layer's.
        kind: The operator.
        reason: What is beyond the accelerator, for people.
        advice: What to change.
        behind: How many operators stay on the CPU as well because they need its output.
    """

    name: str
    kind: str
    reason: str
    advice: str = ""
    behind: int = 0

    def __str__(self):
        text = f"{label(self.name)}, {self.kind}: {self.reason}"
        if self.behind:
            text += f"; with it {self.behind} operators behind it"
        return f"{text}; what to change: {self.advice}" if self.advice else text


@dataclasses.dataclass
class Plan:
    """What `plan` found.

    Attributes:
        path: The file.
        decisions: One for each operator, in the order in which they run.
        quantized: Whether anything in the file computes with 8-bit integers.
        compiled: Whether it is an Edge TPU compiler's output already.
        open_sizes: Whether the file says that some sizes, of the batch as a rule, stand in for any;
            the plan is for those that it states.
        segments: How many runs of operators the compiler would map with its option `-a`.
        parameter_bytes: Bytes on the chip of the weights and biases of all that is mapped, about.
        compilation: What the compiler itself said; None where it was not run.
    """

    path: str
    decisions: list[Decision]
    quantized: bool
    compiled: bool
    open_sizes: bool
    segments: int
    parameter_bytes: int
    compilation: Compilation | None = None

    @property
    def mapped(self) -> collections.Counter[str]:
        """How many operators of each kind run on the Edge TPU."""
        return collections.Counter(d.operator for d in self.decisions if d.mapped)

    @property
    def cpu(self) -> collections.Counter[str]:
        """How many operators of each kind stay on the CPU."""
        return collections.Counter(d.operator for d in self.decisions if not d.mapped)

    @property
    def complete(self) -> bool:
        """Whether the whole model runs on the Edge TPU."""
        return bool(self.decisions) and not self.cpu

    @property
    def share(self) -> float:
        """Share of the operators that run on the Edge TPU, 0 to 1."""
        return self.mapped.total() / len(self.decisions) if self.decisions else 0.0

    @property
    def subgraphs(self) -> int:
        """How many Edge TPU operators the compiled file has: one at most, by default."""
        if self.compiled:
            return self.mapped[rules.CUSTOM_OPERATOR]
        return min(1, self.mapped.total())

    @property
    def streamed_bytes(self) -> int:
        """Parameters that the host sends at every inference, about: what the cache cannot hold."""
        return max(0, self.parameter_bytes - (memory.CHIP_BYTES - memory.PROGRAM_BYTES))

    @property
    def fits(self) -> bool:
        """Whether all parameters stay on the chip from one inference to the next, about."""
        return not self.streamed_bytes

    @property
    def causes(self) -> list[Cause]:
        """The operators with which the CPU's part begins, in order."""
        behind = _followers(self.decisions)
        return [
            Cause(d.name, d.operator, d.reason, d.advice, behind[d.subgraph, d.index])
            for d in self.decisions
            if not d.mapped and d.behind is None
        ]

    @property
    def advice(self) -> list[str]:
        """What to change, each once, what comes first in the file first."""
        operators: dict[str, dict[str, None]] = {}
        for decision in self.decisions:
            if decision.advice:
                operators.setdefault(decision.advice, {})[decision.operator] = None
        found = [f"{_some(list(kinds))}: {advice}" for advice, kinds in operators.items()]
        if self.streamed_bytes:
            found.append(
                "parameters: a smaller model (fewer channels, a smaller alpha), or two Edge TPUs "
                "in a pipeline (edgetpu_compiler --num_segments 2)"
            )
        return found

    def to_dict(self) -> dict[str, Any]:
        """The same, ready for JSON."""
        return {
            "path": self.path,
            "quantized": self.quantized,
            "compiled": self.compiled,
            "complete": self.complete,
            "open_sizes": self.open_sizes,
            "mapped": dict(self.mapped),
            "cpu": dict(self.cpu),
            "share": self.share,
            "subgraphs": self.subgraphs,
            "segments": self.segments,
            "parameter_bytes": self.parameter_bytes,
            "streamed_bytes": self.streamed_bytes,
            "fits": self.fits,
            "decisions": [dataclasses.asdict(decision) for decision in self.decisions],
            "advice": self.advice,
            "compilation": self.compilation and self.compilation.to_dict(),
        }

    def __str__(self):
        parts = [self._summary()]
        if self.decisions and not self.compiled:
            kinds = sorted({*self.mapped, *self.cpu})
            rows = [(k, str(self.mapped[k] or "-"), str(self.cpu[k] or "-")) for k in kinds]
            parts += ["", table(("operator", "Edge TPU", "CPU"), rows)]
        obstacles = [d for d in self.decisions if not d.mapped and d.kind != "behind"]
        if obstacles and self.quantized and not self.compiled:
            parts += ["", "stays on the CPU:", *_lines(obstacles, self.decisions)]
        if self.open_sizes and self.quantized:
            parts += ["", "the file leaves sizes open; this is the plan for those that it states"]
        if self.mapped and not self.compiled:
            parts += ["", self._parameters()]
        if self.advice and not self.compiled:
            parts += ["", "what to change:", *(f"  {line}" for line in self.advice)]
        if self.compilation is not None:
            parts += ["", self._compiler_beside()]
        return "\n".join(parts)

    def _summary(self) -> str:
        total = len(self.decisions)
        if self.compiled:
            return (
                f"{self.path}: compiled for the Edge TPU already, in {self.subgraphs} Edge TPU "
                f"subgraph{'s' * (self.subgraphs != 1)}; on the CPU: {_listed(self.cpu)}"
            )
        if not self.decisions:
            return f"{self.path}: no operators"
        if not self.quantized:
            return f"{self.path}: not quantized to 8 bits: none of {total} operators is mapped"
        text = f"{self.path}: {self.mapped.total()} of {total} operators on the Edge TPU"
        if self.segments > 1:
            text += f", the first of {self.segments} runs (the compiler's option -a tries all)"
        return text

    def _parameters(self) -> str:
        text = f"parameters: about {_size(self.parameter_bytes)}, "
        if self.fits:
            return text + "which fit in the chip's 8 MiB beside the program"
        return (
            f"{text}of which about {_size(self.streamed_bytes)} do not fit in the chip's "
            "8 MiB beside the program and are sent to it at every inference"
        )

    def _compiler_beside(self) -> str:
        if not self.compilation.succeeded:
            heading = "the compiler could not compile it:"
        elif self._agrees():
            heading = "the compiler says the same:"
        else:
            heading = "the compiler says otherwise:"
        return f"{heading}\n\n{self.compilation.log.strip()}"

    def _agrees(self) -> bool:
        """Whether the compiler decided as the plan; it calls all custom operators CUSTOM."""
        found = collections.Counter(
            ("CUSTOM" if d.custom else d.operator, d.mapped) for d in self.decisions
        )
        said = collections.Counter({(k, True): n for k, n in self.compilation.mapped.items()})
        said.update({(k, False): n for k, n in self.compilation.cpu.items()})
        return found == said


def _lines(obstacles: list[Decision], decisions: list[Decision]) -> list[str]:
    """One line for each operator and reason; the first of its kind stands for the others."""
    behind = _followers(decisions)
    alike = collections.Counter((d.operator, d.reason) for d in obstacles)
    lines = {}
    for decision in obstacles:
        key = decision.operator, decision.reason
        if key in lines:
            continue
        line = f"  {decision.index} {decision.operator} {label(decision.name)}: {decision.reason}"
        if decision.behind is not None:
            line += f" (and it is behind {decision.behind})"
        elif count := behind[decision.subgraph, decision.index]:
            line += f"; with it {count} behind it"
        if alike[key] > 1:
            line += f"; the same of {alike[key] - 1} more"
        lines[key] = line
    found = list(lines.values())
    hidden = len(found) - _LINES
    return found if hidden <= 0 else [*found[:_LINES], f"  … and {hidden} more"]


def _followers(decisions: list[Decision]) -> collections.Counter[tuple[int, int]]:
    """How many operators stay on the CPU for each (subgraph, number) of one before them."""
    return collections.Counter((d.subgraph, d.behind) for d in decisions if d.behind is not None)


def _some(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 4 else f"{', '.join(names[:3])} and others"


def _listed(operators: collections.Counter[str]) -> str:
    return ", ".join(f"{n} {kind}" for kind, n in sorted(operators.items())) or "nothing"


def _size(number: int) -> str:
    return f"{number / 2**20:.2f} MiB" if number >= 2**20 else f"{number / 2**10:.0f} KiB"
