"""Tiny bundles as .onnx files."""

import base64
from pathlib import Path

import numpy as np
from tests.helpers.bundles import tiny_bundle, write_pictures

from veriscope import __version__
from veriscope.bundle import Bundle, Scorer
from veriscope.bundle.bundle import OOD_NAME
from veriscope.bundle.onnx_bundle import ExportFacts, OnnxBundle, load_onnx
from veriscope.bundle.onnx_file import EXPORT_KEY, OOD_KEY, RECORD_KEY, sealed
from veriscope.bundle.torch_network import TorchNetwork
from veriscope.export.graph import OPSET, export_graph
from veriscope.models.ood import Ood, OutOfDistribution
from veriscope.models.ood_fit import fit_reference

FACTS = ExportFacts(veriscope_version=__version__, torch_version="2", opset=OPSET, precision="fp32")


def bundle_with_ood(folder: Path) -> Bundle:
    """Write a tiny bundle below `folder` that tells what is strange; folder/known holds its validation pictures."""
    known = write_pictures(folder / "known", 120)
    plain = tiny_bundle(folder / "plain")
    scorer = Scorer(TorchNetwork(plain.detector(), device="cpu", precision="fp32"), keep_vectors=True)
    vectors = np.stack([one.vectors[0] for one in scorer.score_paths(known) if one.vectors])
    reference = fit_reference(vectors, labels=np.arange(len(known)) % 2, method="knn", k=3).reference
    return tiny_bundle(folder / "bundle", ood=Ood(OutOfDistribution((reference,)), "knn", 0.99, "generated val"))


def entries(bundle: Bundle) -> dict[str, str]:
    """Return the metadata of its exported file."""
    found = {RECORD_KEY: bundle.record.to_json(), EXPORT_KEY: FACTS.model_dump_json()}
    if bundle.record.ood is not None:
        found[OOD_KEY] = base64.b64encode((bundle.folder / OOD_NAME).read_bytes()).decode()
    return found


def exported(bundle: Bundle, file: Path) -> OnnxBundle:
    """Write the bundle as a file, without measuring anything."""
    file.write_bytes(sealed(export_graph(bundle.detector()), entries(bundle)))
    return load_onnx(file)
