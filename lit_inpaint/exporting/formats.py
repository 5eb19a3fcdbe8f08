"""Write a traced network as bytes of a format, and run these bytes."""

from __future__ import annotations

import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor
from torch.export import ExportedProgram

from lit_inpaint.errors import UserError
from lit_inpaint.exporting.trace import any_deep_size

Format = Literal["onnx", "torch_export", "safetensors"]
FILE_NAMES: Mapping[str, str] = {"onnx": "model.onnx", "torch_export": "model.pt2", "safetensors": "model.safetensors"}
Runner = Callable[[Mapping[str, Tensor]], Tensor]
"""From inputs by name to the completed images."""
_ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
OPSETS = range(18, 24)


def require_packages(formats: list[Format]) -> None:
    """Raise a `UserError` if a format needs packages that are not installed."""
    missing = [name for name in _ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if "onnx" in formats and missing:
        raise UserError(f"ONNX needs {', '.join(missing)}; install them: pip install 'lit_inpaint[export]'")


def to_onnx(program: ExportedProgram, opset: int | None, metadata: Mapping[str, str]) -> tuple[bytes, dict[str, Any]]:
    """Convert a trace to ONNX.

    Args:
        program: the trace.
        opset: version of the operators, None: PyTorch's default.
        metadata: texts to store in the file.

    Returns:
        The file, and for the report: `opset`, its `operators` with their counts, and `custom_operators`.
    """
    with _quiet(), any_deep_size():
        converted = torch.onnx.export(program, dynamo=True, opset_version=opset, external_data=False, verbose=False)
    assert converted is not None
    model: Any = converted.model_proto
    model.graph.output[0].name, old = "completed", model.graph.output[0].name
    for node in model.graph.node:
        node.output[:] = ["completed" if name == old else name for name in node.output]
        node.input[:] = ["completed" if name == old else name for name in node.input]
        del node.metadata_props[:]  # stack traces with file names of this machine
        node.doc_string = ""
    for name, text in metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = name, text
    counts: dict[str, int] = {}
    custom = set()
    for node in _all_nodes(model):
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
        if node.domain not in ("", "ai.onnx"):
            custom.add(f"{node.domain}.{node.op_type}")
    version = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    facts = {"opset": version, "operators": dict(sorted(counts.items())), "custom_operators": sorted(custom)}
    return model.SerializeToString(), facts


def _all_nodes(model: Any) -> Iterator[Any]:
    yield from model.graph.node
    for function in model.functions:
        yield from function.node


def run_onnx(content: bytes) -> Runner:
    """Return the network of an ONNX file, computed by onnxruntime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def run(inputs: Mapping[str, Tensor]) -> Tensor:
        (completed,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        return torch.from_numpy(completed)

    return run


def to_torch_export(program: ExportedProgram, metadata: Mapping[str, str]) -> bytes:
    """Convert a trace to the contents of a `.pt2` file; `metadata` becomes extra files in it."""
    file = io.BytesIO()
    with _quiet():
        torch.export.save(program, file, extra_files=dict(metadata))
    return file.getvalue()


def run_torch_export(content: bytes) -> Runner:
    """Return the network of a `.pt2` file."""
    with _quiet():
        module = torch.export.load(io.BytesIO(content)).module()

    def run(inputs: Mapping[str, Tensor]) -> Tensor:
        with torch.no_grad():
            completed: Tensor = module(*inputs.values())
        return completed

    return run


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what PyTorch prints and warns about while it converts."""
    loggers = [logging.getLogger(name) for name in ("torch", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
