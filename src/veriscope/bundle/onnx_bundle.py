"""A bundle as `veriscope export` writes it: one .onnx file, which answers through ONNX Runtime, without torch.

The only module that imports onnxruntime, and that when the network is asked for.
"""

import base64
import binascii
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError

from veriscope.bundle.base import BaseBundle
from veriscope.bundle.network import Network, NetworkAnswer, Pixels
from veriscope.bundle.onnx_file import EXPORT_KEY, OOD_KEY, RECORD_KEY, OnnxFile, read_onnx_file
from veriscope.bundle.record import BundleRecord, parse_record
from veriscope.errors import BundleError, ConfigError
from veriscope.models.ood import OutOfDistribution, parse_ood
from veriscope.processes import return_freed_memory
from veriscope.types import Frozen, InputSpec, Share

IMAGE_NAME, LOGIT_NAME = "image", "logit"
# Pictures a pass: more don't make a CPU faster, in 8 bits slower, and each takes up to 100 MB (benchmarks/onnx.md).
MOST_ON_CPU = 4
_AGAIN = "copy it again, or export the bundle again"


class Costs(Frozen):
    """How far the graph's answers lie from torch's in fp32, on pictures of the one who exported."""

    pictures: str = Field(description="the folder's name")
    num_pictures: int = Field(ge=0, description="with a verdict of both")
    num_without: int = Field(ge=0, description="without a verdict of either")
    max_logit: float = Field(ge=0, description="largest difference")
    max_score: float = Field(ge=0, description="largest difference")
    max_ood: float | None = Field(default=None, ge=0, description="largest difference; None: no such score")
    num_flips: int = Field(ge=0, description="verdicts that are others, unsure included")
    auroc_torch: Share | None = Field(default=None, description="None: no class folders")
    auroc: Share | None = Field(default=None, description="None: no class folders")


class Int8Facts(Frozen):
    """How the graph came to 8 bits."""

    method: str
    calibrated_on: str = Field(description="name of the folder whose pictures gave the ranges of activations")
    num_pictures: int = Field(ge=1)


class ExportFacts(Frozen):
    """What is true of the file alone; all else is the bundle's record."""

    format_version: Literal[1] = 1
    veriscope_version: str
    torch_version: str
    opset: int
    precision: Literal["fp32", "int8"]
    int8: Int8Facts | None = None
    costs: Costs | None = Field(default=None, description="None: not measured on pictures")


@dataclass(frozen=True, slots=True)
class OnnxBundle(BaseBundle):
    """A bundle in one .onnx file. Made by load_onnx.

    `export` says how it was made, `sha256` is the hash that the file is sealed with. `weights_sha256` is still that of
    the folder it came from.
    """

    file: Path
    record: BundleRecord
    export: ExportFacts
    sha256: str

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.file

    def ood(self) -> OutOfDistribution | None:
        """Return what tells how strange a picture is to it (models.ood); None where the file holds nothing of it.

        Raises:
            BundleError: the file has gone, changed, or holds something else.

        """
        if self.record.ood is None:
            return None
        try:
            data = base64.b64decode(self._read().entries.get(OOD_KEY, ""), validate=True)
        except binascii.Error as error:
            raise BundleError(f"'{self.file}' holds no out-of-distribution reference: {error}; {_AGAIN}.") from error
        if hashlib.sha256(data).hexdigest() != self.record.ood.sha256:
            raise BundleError(f"'{self.file}' holds another out-of-distribution reference than its record; {_AGAIN}.")
        return parse_ood(data, name=str(self.file))

    def network(self, *, device: str = "auto", precision: str = "auto") -> Network:
        """Return the graph in ONNX Runtime, ready to answer.

        Raises:
            BundleError: ONNX Runtime is not installed, or can't run the graph.
            ConfigError: a device that is not here, or a precision that the graph hasn't.

        """
        if precision not in ("auto", self.export.precision):
            raise ConfigError(
                f"'{self.file}' computes in {self.export.precision}, not in {precision}: leave --precision out."
            )
        return OnnxNetwork(self._read().content, bundle=self, device=device)

    def _read(self) -> OnnxFile:
        found = read_onnx_file(self.file)
        if found.sha256 != self.sha256:
            raise BundleError(f"'{self.file}' has become another file meanwhile; start again.")
        return found


class OnnxNetwork:
    """Answers with a graph in ONNX Runtime.

    Args:
        content: the file's bytes.
        bundle: what it says of itself.
        device: 'auto' (CUDA where this ONNX Runtime has it and it starts), 'cpu', 'cuda', 'cuda:N'.

    Raises:
        BundleError: ONNX Runtime is not installed, or can't run the graph.
        ConfigError: a device that is not here.

    """

    def __init__(self, content: bytes, *, bundle: OnnxBundle, device: str = "auto") -> None:
        runtime = _import_runtime(bundle.file)
        self._errors, self._file = _runtime_errors(), bundle.file
        options = runtime.SessionOptions()
        options.intra_op_num_threads = num_threads()
        options.log_severity_level = 4  # its errors are raised here; warnings of optional providers are nobody's
        # Threads that wait for work in a loop take the processor from those that decode (benchmarks/onnx.md).
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # It plans memory for one size of pass, and keeps that of all sizes that have been: twice what a pass takes.
        options.enable_mem_pattern = False
        self._session = self._start(runtime, content, options, device=device)
        return_freed_memory()  # making the graph faster takes twice what it leaves behind
        on_cuda = self._session.get_providers()[0] == "CUDAExecutionProvider"
        if device.startswith("cuda") and not on_cuda:
            raise ConfigError(f"device '{device}' is not here: ONNX Runtime's CUDA provider didn't start.")
        self.device = (device if device.startswith("cuda") else "cuda") if on_cuda else "cpu"
        self.precision: str = bundle.export.precision
        self.input: InputSpec = bundle.input
        self._vectors = [vectors_name(number) for number in range(bundle.record.num_members)]
        self._check_shapes()

    def _start(self, runtime: ModuleType, content: bytes, options: Any, *, device: str) -> Any:
        """Return a session on the first provider that starts; of 'auto' the CPU is the last.

        Raises:
            BundleError: the graph can't be run.

        """
        choices = _providers(device, available=runtime.get_available_providers())
        for providers in choices:
            try:
                # Its own fallback to another provider prints, or is silent: which one answers has to be known.
                return runtime.InferenceSession(content, options, providers=providers, enable_fallback=0)
            except self._errors as error:
                if providers is choices[-1]:
                    reason = _short(error)
                    raise BundleError(
                        f"ONNX Runtime {runtime.__version__} can't run '{self._file}': {reason}"
                    ) from error
        raise AssertionError("there is always a provider")

    def answer(self, image_BCHW: Pixels, *, describe: bool) -> NetworkAnswer:
        """Return logit_B, and with `describe` the members' vectors.

        Raises:
            BundleError: ONNX Runtime fails on them.

        """
        names = [LOGIT_NAME, *(self._vectors if describe else ())]
        step = MOST_ON_CPU if self.device == "cpu" else max(len(image_BCHW), 1)
        starts = range(0, max(len(image_BCHW), 1), step)
        answers = [self._pass(image_BCHW[start : start + step], names) for start in starts]
        logits, *vectors = (np.concatenate(parts) for parts in zip(*answers, strict=True))
        return NetworkAnswer(logits, tuple(vectors))

    def _pass(self, image_BCHW: Pixels, names: list[str]) -> Sequence[npt.NDArray[np.float32]]:
        """Return the outputs of one pass.

        Raises:
            BundleError: ONNX Runtime fails on them.

        """
        try:
            answers: Sequence[npt.NDArray[np.float32]] = self._session.run(
                names, {IMAGE_NAME: np.ascontiguousarray(image_BCHW)}
            )
        except self._errors as error:
            raise BundleError(f"ONNX Runtime failed on '{self._file}': {_short(error)}") from error
        if answers[0].shape != (len(image_BCHW),):
            raise BundleError(f"'{self._file}' answers {answers[0].shape} for {len(image_BCHW)} pictures; {_AGAIN}.")
        return answers

    def _check_shapes(self) -> None:
        """Refuse a graph that is another than the record says.

        Raises:
            BundleError: it is.

        """
        side = self.input.size_px
        inputs = [(place.name, place.type, list(place.shape[1:])) for place in self._session.get_inputs()]
        outputs = {place.name: place.type for place in self._session.get_outputs()}
        wanted = dict.fromkeys((LOGIT_NAME, *self._vectors), "tensor(float)")
        if inputs != [(IMAGE_NAME, "tensor(uint8)", [3, side, side])] or outputs != wanted:
            raise BundleError(f"the graph of '{self._file}' is another than its record says; {_AGAIN}.")


def is_onnx(path: Path) -> bool:
    """Return whether a path names an exported file rather than a folder, by its ending."""
    return path.suffix.lower() == ".onnx" and not path.is_dir()


def load_onnx(path: Path) -> OnnxBundle:
    """Return the bundle in an exported file: its hash checked, its facts validated. Needs no ONNX Runtime.

    Raises:
        BundleError: missing, damaged, changed, or not veriscope's; the text says how to mend it.

    """
    found = read_onnx_file(path)
    if RECORD_KEY not in found.entries or EXPORT_KEY not in found.entries:
        raise BundleError(f"'{path}' holds no record of a bundle; {_AGAIN}.")
    record = parse_record(found.entries[RECORD_KEY], name=str(path), again=_AGAIN)
    try:
        export = ExportFacts.model_validate_json(found.entries[EXPORT_KEY])
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "its export"
        raise BundleError(f"'{path}' says of its export, at {place}: {first['msg']}; {_AGAIN}.") from error
    return OnnxBundle(path, record, export, found.sha256)


def vectors_name(member: int) -> str:
    """Return the name of the output that describes pictures to a member."""
    return f"vectors_{member}"


def num_threads() -> int:
    """Return how many threads compute: OMP_NUM_THREADS as for torch, else the cores that this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _providers(device: str, *, available: list[str]) -> list[list[Any]]:
    """Return the lists of ONNX Runtime's providers to try for a device, one after the other.

    Raises:
        ConfigError: no such device, or this ONNX Runtime has it not.

    """
    kind, _, number = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (number and not (kind == "cuda" and number.isdecimal())):
        raise ConfigError(f"device '{device}' is unknown. Known: auto, cpu, cuda, cuda:N.")
    has_cuda = "CUDAExecutionProvider" in available
    if kind == "cuda" and not has_cuda:
        raise ConfigError(f"device '{device}' is not here: this ONNX Runtime has no CUDA (onnxruntime-gpu has).")
    cpu = ["CPUExecutionProvider"]
    if kind == "cpu" or not has_cuda:
        return [cpu]
    # TF32 keeps 10 bits of the mantissa: what is called fp32 is to be fp32.
    cuda = [("CUDAExecutionProvider", {"device_id": int(number or 0), "use_tf32": 0}), *cpu]
    return [cuda, cpu] if kind == "auto" else [cuda]


def _import_runtime(file: Path) -> ModuleType:
    try:
        import onnxruntime
    except ImportError as error:
        raise BundleError(
            f"'{file}' needs ONNX Runtime, which isn't here: pip install onnxruntime ({error})"
        ) from error
    module: ModuleType = onnxruntime
    return module


def _runtime_errors() -> tuple[type[Exception], ...]:
    """Return what ONNX Runtime raises; its errors have no base of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = [kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    return (*own, RuntimeError, ValueError)  # ValueError: no text, where it repeats names of the graph


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
