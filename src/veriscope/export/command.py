"""`veriscope export`: the command behind its arguments."""

import argparse
import base64
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from veriscope import __version__
from veriscope.bundle.bundle import OOD_NAME, Bundle, load_folder
from veriscope.bundle.onnx_bundle import ExportFacts, Int8Facts, OnnxBundle, load_onnx
from veriscope.bundle.onnx_file import EXPORT_KEY, OOD_KEY, RECORD_KEY, sealed
from veriscope.bundle.record import BundleRecord
from veriscope.errors import ConfigError, DataError, ModelError
from veriscope.export.parity import Answers, answers, check_logits, draw, measure, probe
from veriscope.export.summary import int8_notice, lines
from veriscope.files import whole_or_not_at_all
from veriscope.progress import say

NEEDED = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True, slots=True)
class Pictures:
    """The files drawn from --check and --calibrate; none of a folder that isn't named."""

    check_folder: Path | None
    check: Sequence[Path]
    calibrate_folder: Path | None
    calibrate: Sequence[Path]


def run_export(arguments: argparse.Namespace) -> int:
    """Export, compare with torch, write, and return 0.

    Raises:
        VeriscopeError: bad arguments or bundle, a network that can't be exported, or answers that differ too much.

    """
    lacking = [name for name in NEEDED if find_spec(name) is None]
    if lacking:
        raise ConfigError(f"exporting needs {', '.join(lacking)}: pip install 'veriscope[export]'")
    bundle = load_folder(arguments.bundle)
    out = _out(arguments, bundle)
    pictures = _pictures(arguments)
    from veriscope.export.graph import OPSET, export_graph  # torch: seconds, and what is wrong above is said before

    console = Console(stderr=True)
    facts = ExportFacts(veriscope_version=__version__, torch_version=_torch_version(), opset=OPSET, precision="fp32")
    graph = export_graph(bundle.detector())
    with TemporaryDirectory(prefix="veriscope-export-") as name:
        work = Path(name)
        exported = _written(work / "fp32.onnx", graph, bundle.record, facts, bundle)
        probe(bundle.network(device="cpu", precision="fp32"), exported.network(device="cpu"))
        known = _compared(bundle, exported, pictures)
        record, measured = bundle.record, {}
        if pictures.check_folder is not None:
            check_logits(known["torch"].logits, known["fp32"].logits)
            costs = measure(known["torch"], known["fp32"], folder=pictures.check_folder)
            facts, measured["fp32"] = facts.model_copy(update={"costs": costs}), costs
        if arguments.int8:
            graph, facts = _int8(work, graph, facts, bundle, pictures, known, max_flips=arguments.max_flips)
            measured |= {} if facts.costs is None else {"int8": facts.costs}
            record = record.model_copy(update={"notices": (*record.notices, int8_notice(facts))})
        with whole_or_not_at_all(out) as temporary:
            written = _written(temporary, graph, record, facts, bundle)
    for line in lines(written.export, known, measured=measured, size_bytes=out.stat().st_size):
        say(console, line)
    say(console, f"written: {out}")
    return 0


def _out(arguments: argparse.Namespace, bundle: Bundle) -> Path:
    """Return the file to write.

    Raises:
        DataError: another ending, no folder for it, or a file that is there.

    """
    folder = bundle.folder.resolve()
    out: Path = folder.with_name(f"{folder.name}.onnx") if arguments.out is None else arguments.out
    if out.suffix.lower() != ".onnx":
        raise DataError(f"'{out}': the name of an exported file ends in .onnx.")
    if not out.parent.is_dir():
        raise DataError(f"'{out}': there is no folder '{out.parent}'.")
    if out.exists() and not (arguments.overwrite and out.is_file()):
        raise DataError(f"'{out}' exists; name another file, or add --overwrite.")
    return out


def _pictures(arguments: argparse.Namespace) -> Pictures:
    """Return the files to compare and to calibrate on.

    Raises:
        DataError: a folder that is missing or empty, or one too few, or too many.

    """
    if arguments.int8 and (arguments.check is None or arguments.calibrate is None):
        raise DataError(
            "--int8 needs --calibrate DIR, pictures that set its ranges, and --check DIR, to say its costs."
        )
    if arguments.int8 and arguments.check.resolve() == arguments.calibrate.resolve():
        raise DataError("--check names the folder of --calibrate: what set the ranges can't say what they cost.")
    if arguments.calibrate is not None and not arguments.int8:
        raise DataError("--calibrate is for --int8: fp32 has no ranges to set.")
    files = [
        [] if folder is None else draw(folder, limit=arguments.pictures)
        for folder in (arguments.check, arguments.calibrate)
    ]
    return Pictures(arguments.check, files[0], arguments.calibrate, files[1])


def _compared(bundle: Bundle, exported: OnnxBundle, pictures: Pictures) -> dict[str, Answers]:
    """Return what torch and the graph say of the pictures of --check; nothing without."""
    if not pictures.check:
        return {}
    return {
        "torch": answers(bundle, pictures.check, precision="fp32", doing="torch"),
        "fp32": answers(exported, pictures.check, precision="fp32", doing="ONNX Runtime"),
    }


def _int8(
    work: Path,
    graph: bytes,
    facts: ExportFacts,
    bundle: Bundle,
    pictures: Pictures,
    known: dict[str, Answers],
    *,
    max_flips: float,
) -> tuple[bytes, ExportFacts]:
    """Return the graph in 8 bits and its facts; what it says of --check goes into `known`.

    Raises:
        ModelError: more verdicts than `max_flips` change, or one is lost.

    """
    from veriscope.export.int8 import METHOD, to_int8

    if pictures.check_folder is None or pictures.calibrate_folder is None:
        raise ValueError("--int8 without its folders")
    small, used = to_int8(graph, pictures.calibrate, spec=bundle.input)
    made = Int8Facts(method=METHOD, calibrated_on=pictures.calibrate_folder.name, num_pictures=used)
    facts = facts.model_copy(update={"precision": "int8", "int8": made})
    exported = _written(work / "int8.onnx", small, bundle.record, facts, bundle)
    known["int8"] = answers(exported, pictures.check, precision="int8", doing="int8")
    costs = measure(known["torch"], known["int8"], folder=pictures.check_folder)
    if costs.num_flips > max_flips * costs.num_pictures:
        raise ModelError(
            f"in 8 bits {costs.num_flips} of {costs.num_pictures} verdicts change (scores by up to "
            f"{costs.max_score:.2g}); --max-flips allows {max_flips:g} of them. Nothing was written: take more "
            "pictures to --calibrate, allow more, or leave --int8 out."
        )
    return small, facts.model_copy(update={"costs": costs})


def _written(file: Path, graph: bytes, record: BundleRecord, facts: ExportFacts, bundle: Bundle) -> OnnxBundle:
    """Write the file and return it as it is read again."""
    entries = {RECORD_KEY: record.to_json(), EXPORT_KEY: facts.model_dump_json()}
    if record.ood is not None:
        entries[OOD_KEY] = base64.b64encode((bundle.folder / OOD_NAME).read_bytes()).decode()
    file.write_bytes(sealed(graph, entries))
    return load_onnx(file)


def _torch_version() -> str:
    from importlib.metadata import version

    return version("torch")
