"""Export a network to several formats: as free in size as it allows, each export checked, all files written or none."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from lit_inpaint.engine.checkpoint_metadata import describe_weights
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError
from lit_inpaint.exporting.formats import (
    FILE_NAMES,
    Format,
    Runner,
    run_onnx,
    run_torch_export,
    to_onnx,
    to_torch_export,
)
from lit_inpaint.exporting.inpainting_graph import HOLES, InpaintingGraph, example_inputs
from lit_inpaint.exporting.trace import MIN_SIDES, InputShape, trace
from lit_inpaint.runs.checkpoint_file import load
from lit_inpaint.runs.model_folder import CONFIG, write_model_folder
from lit_inpaint.types import composite

TOLERANCE = 1e-5
"""Largest absolute difference, of images in [0, 1], at which an export passes its check."""
REPORT = "export_report.json"


class ExportError(UserError):
    """No attempt at an export passed; the message has the reason of the last one."""


@dataclass(frozen=True)
class Export:
    """One export that passed its check.

    Attributes:
        format: its name.
        content: the file; None for a model folder, which is written by itself.
        report: facts and the check, as plain data.
    """

    format: Format
    content: bytes | None
    report: dict[str, Any]


@dataclass
class Exporter:
    """Exports of one network.

    Args:
        model: in evaluation mode on the CPU, as `lit_inpaint.load` returns it.
        side: of the square images of graphs with a fixed size; None: graphs have a free size where the network allows it, else
            the size of its training images, or 256.
        check_side: of the largest images that the exports are checked with.
        metadata: texts to store in the files.
    """

    model: Inpainter
    side: int | None = None
    check_side: int = 256
    metadata: Mapping[str, str] = field(default_factory=dict)
    _traces: dict[InputShape, ExportedProgram | Exception] = field(default_factory=dict)
    _graph: InpaintingGraph | None = None
    _expected: dict[tuple[int, int, bool], Tensor] = field(default_factory=dict)

    @property
    def with_edges(self) -> bool:
        """Whether the graph has a third input, for edges."""
        return self.model.edge_detector is not None

    def export(self, name: Format, opset: int | None = None, shapes: Sequence[InputShape] | None = None) -> Export:
        """Convert to ONNX or `torch.export` and check the result; the first shape that passes counts, the freest first.

        Args:
            name: the format.
            opset: version of ONNX's operators.
            shapes: to try, in this order; None: from the freest to one image of a fixed size.

        Raises:
            ExportError: no shape passes.
        """
        failures: dict[str, str] = {}
        last = ""
        for shape in shapes or self._shapes():
            if shape.side is None and shape.min_side > MIN_SIDES[0] and "Constraints violated" not in last:
                continue  # a larger smallest side would not help
            try:
                program = self._trace(shape)
                facts: dict[str, Any] = {}
                if name == "onnx":
                    content, facts = to_onnx(program, opset, self.metadata)
                    run = run_onnx(content)
                else:
                    content = to_torch_export(program, self.metadata)
                    run = run_torch_export(content)
                checks = self.check(run, shape)
            except Exception as error:  # tracing, conversion and runtimes fail with exceptions of many classes
                failures[shape.describe()] = last = _first_line(error)
                continue
            return Export(name, content, self._report(name, shape, content, checks, failures, facts))
        raise ExportError(f"{name} of {type(self.model).__name__} failed: {last}")

    def check(self, run: Runner, shape: InputShape) -> list[dict[str, Any]]:
        """Compare an export with the network.

        Returns:
            For each size: height, width, number of images in a call, largest absolute difference, and the fraction of values in
            holes that are neither 0 nor 1, where clamping could hide a difference.

        Raises:
            ExportError: a difference is above `TOLERANCE`.
        """
        checks = []
        for height, width, batch in self._check_sizes(shape):
            inputs, expected = self._inputs_and_outputs(height, width)
            parts = [{name: value[i : i + batch] for name, value in inputs.items()} for i in range(0, len(expected), batch)]
            found = torch.cat([run(part) for part in parts])
            difference = float((found - expected).abs().max()) if found.shape == expected.shape else float("inf")
            in_holes = expected[inputs["mask"].expand_as(expected) > 0.5]
            open_values = float(((in_holes > 0) & (in_holes < 1)).float().mean())
            if not difference <= TOLERANCE:
                raise ExportError(f"differs from the network by {difference:.2g} at {width}x{height}, above {TOLERANCE:g}")
            checks.append(
                {
                    "height": height,
                    "width": width,
                    "batch": batch,
                    "max_abs_difference": difference,
                    "unclamped_in_holes": round(open_values, 4),
                }
            )
        return checks

    def export_folder(self, folder: Path, step: int, card: str) -> Export:
        """Write a model folder and check that `lit_inpaint.load` returns the same network.

        Args:
            folder: for `model.safetensors`, `config.json` and `README.md`.
            step: number of trained batches.
            card: text of `README.md`.

        Raises:
            ExportError: the network in the folder differs.
            OSError: the file system refuses.
        """
        description = describe_weights(type(self.model), self.model.hparams, self.model.seed)
        state = self.model.generator.state_dict().values()
        halves = all(torch.equal(value, value.half().to(value.dtype)) for value in state if value.is_floating_point())
        write_model_folder(self.model, description, step, folder, torch.float16 if halves else torch.float32)
        (folder / "README.md").write_text(card, encoding="utf-8")
        loaded = load(folder)
        shape = InputShape(free_batch=True, side=self._fixed_side() if self._only_fixed() else None, max_side=self._limit())
        checks = self.check(lambda inputs: self._compute(loaded, inputs), shape)
        report = self._report("safetensors", None, None, checks, {}, {"weights": "float16" if halves else "float32"})
        return Export("safetensors", None, report)

    def _only_fixed(self) -> bool:
        return self.side is not None

    def _limit(self) -> int | None:
        return self.model.subsample_above

    def _fixed_side(self) -> int:
        return self.side or self.model.trained_size or int(self.model.hparams.get("size", 256))

    def _shapes(self) -> list[InputShape]:
        """The shapes to try, the freest first."""
        fixed = [InputShape(True, self._fixed_side()), InputShape(False, self._fixed_side())]
        if self._only_fixed():
            return fixed
        limit = self._limit()
        sides = [side for side in MIN_SIDES if limit is None or side < limit]
        return [InputShape(batch, None, limit, side) for batch in (True, False) for side in sides] + fixed

    def _trace(self, shape: InputShape) -> ExportedProgram:
        if shape not in self._traces:
            self._graph = self._graph or InpaintingGraph(self.model)
            try:
                self._traces[shape] = trace(self._graph, shape, self.with_edges)
            except Exception as error:
                self._traces[shape] = error
        found = self._traces[shape]
        if isinstance(found, Exception):
            raise found
        return found

    def _check_sizes(self, shape: InputShape) -> list[tuple[int, int, int]]:
        """Height, width and number of images in a call: two sizes, one of them no multiple of anything."""
        if shape.side is not None:
            return [(shape.side, shape.side, batch) for batch in ((len(HOLES), 1) if shape.free_batch else (1,))]
        limit = min(max(self.check_side, shape.min_side + 9), shape.max_side or 2**16)
        sizes = ((max(shape.min_side, limit * 3 // 4), limit), (max(shape.min_side, limit * 4 // 7) | 1, limit - 1))
        return [(*size, batch) for size, batch in zip(sizes, (len(HOLES) if shape.free_batch else 1, 1), strict=True)]

    def _inputs_and_outputs(self, height: int, width: int) -> tuple[dict[str, Tensor], Tensor]:
        """Draw inputs and compute the network's outputs; holes lie in the central half if the network takes no others."""
        inputs = example_inputs(height, width, self.with_edges)
        center = torch.zeros_like(inputs["mask"])
        center[..., height // 4 : height - height // 4, width // 4 : width - width // 4] = 1
        for central in (False, True):
            if central:
                inputs["mask"] = inputs["mask"] * center
            key = (height, width, central)
            try:
                if key not in self._expected:
                    self._expected[key] = self._compute(self.model, inputs)
                return inputs, self._expected[key]
            except UserError:
                if central:
                    raise
        raise AssertionError("unreachable")

    @staticmethod
    @torch.no_grad()
    def _compute(model: Inpainter, inputs: Mapping[str, Tensor]) -> Tensor:
        if "edges" not in inputs:
            return model.complete(inputs["image"], inputs["mask"], blending="none")
        output = model.predict_from_edges(inputs["image"], inputs["mask"], inputs["edges"])
        return composite(inputs["image"], output.clamp(0, 1), inputs["mask"])

    def _report(
        self,
        name: str,
        shape: InputShape | None,
        content: bytes | None,
        checks: list[dict[str, Any]],
        failures: dict[str, str],
        facts: dict[str, Any],
    ) -> dict[str, Any]:
        report: dict[str, Any] = {"format": name, "file": FILE_NAMES[name]}
        if content is not None:
            report |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        if shape is not None:
            report |= {
                "free_batch": shape.free_batch,
                "size": "any" if shape.side is None else shape.side,
                "min_side": shape.side or shape.min_side,
                "max_side": shape.side or shape.max_side,
                "shape": shape.describe(),
                "inputs": {"image": "float32 (B, 3, H, W) in [0, 1]", "mask": "float32 (B, 1, H, W), 0 or 1, 1 = hole"},
                "output": "completed: float32 (B, 3, H, W) in [0, 1], the input's pixels outside holes",
                "not_possible": failures,
            }
            if self.with_edges:
                report["inputs"]["edges"] = f"float32 (B, 1, H, W), 1 = edge: {self.model.edges_input}"
        tolerance = {"max_abs_difference": TOLERANCE, "of": "completed images in [0, 1], float32", "holes": list(HOLES)}
        return report | facts | {"notes": self._notes(shape), "tolerance": tolerance, "checks": checks}

    def _notes(self, shape: InputShape | None) -> list[str]:
        """What the graph does not do, or does in another way than `Inpainter.complete`."""
        notes = []
        if shape is not None and self._limit() is not None:
            notes.append(f"lit_inpaint subsamples images above {self._limit()} pixels; the graph does not")
        if self.model.blending == "poisson":
            notes.append("Poisson blending is not in the graph")
        if any(type(layer).__name__ == "FourierUnit" for layer in self.model.modules()) and shape is not None:
            notes.append("Fourier transforms are matrix products")
        return notes


def _first_line(error: Exception) -> str:
    """Return the class and the first line of an error."""
    lines = str(error).strip().splitlines() or [""]
    return lines[0][:300] if isinstance(error, UserError) else f"{type(error).__name__}: {lines[0][:240]}"


def publish(staged: Path, output: Path) -> None:
    """Move the complete files of a folder into `output`, as one rename where `output` does not exist."""
    if not output.exists():
        output.parent.mkdir(parents=True, exist_ok=True)
        staged.rename(output)
        return
    for file in sorted(staged.iterdir()):
        file.replace(output / file.name)
    shutil.rmtree(staged)


def written_names(formats: Sequence[Format]) -> list[str]:
    """Names of the files that an export to a folder writes."""
    names = [FILE_NAMES[name] for name in formats]
    return names + ([CONFIG, "README.md"] if "safetensors" in formats else []) + [REPORT]


def write_report(path: Path, source: str, model: Inpainter, exports: Sequence[Export]) -> None:
    """Write the reports of all exports as JSON."""
    description = describe_weights(type(model), model.hparams, model.seed)
    content = {
        "checkpoint": source,
        "paper": description["paper"],
        "versions": description["versions"],
        "exports": [export.report for export in exports],
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
