"""The data sets that `veriscope download` knows by name: where they lie, whose they are, what to know of them.

Ids and pages were compared with many projects that use them, not with the hubs themselves, which were out of reach;
sizes are estimates. `licence` says what is known of the terms, and the page has the last word.
"""

import re
from typing import Literal, NamedTuple

from veriscope.errors import DataError, nearest

Hub = Literal["kaggle", "huggingface"]
_FFHQ = "the real faces are FFHQ's: CC BY-NC-SA 4.0, no commercial use (https://github.com/NVlabs/ffhq-dataset)"
_WORD = re.compile(r"\w[\w.-]{0,99}", re.ASCII)
_PREFIXES: dict[str, Hub] = {"kaggle": "kaggle", "hf": "huggingface"}


class KnownSet(NamedTuple):
    """One data set. `num_bytes` is about what it takes on disk, None where nobody knows."""

    name: str
    title: str
    hub: Hub
    id: str
    num_bytes: int | None
    licence: str
    citation: str
    note: str

    @property
    def page(self) -> str:
        """Where a person reads the terms, and downloads by hand."""
        if self.hub == "kaggle":
            return f"https://www.kaggle.com/datasets/{self.id}"
        return f"https://huggingface.co/datasets/{self.id}"


KNOWN_SETS = (
    KnownSet(
        name="rvf10k",
        title="RVF10K: FFHQ photographs against StyleGAN faces, 256 px",
        hub="kaggle",
        id="sachchitkunichetty/rvf10k",
        num_bytes=300_000_000,
        licence=_FFHQ,
        citation="Karras, Laine & Aila 2019, 'A Style-Based Generator Architecture for GANs' (FFHQ, StyleGAN)",
        note="train 3,500 + 3,500, valid 1,500 + 1,500; valid serves as the test split",
    ),
    KnownSet(
        name="faces_140k",
        title="140k real and fake faces: FFHQ photographs against StyleGAN faces, 256 px",
        hub="kaggle",
        id="xhlulu/140k-real-and-fake-faces",
        num_bytes=4_000_000_000,
        licence=_FFHQ,
        citation="Karras, Laine & Aila 2019, 'A Style-Based Generator Architecture for GANs' (FFHQ, StyleGAN)",
        note="of the same origin as RVF10K: pictures may be in both, so one is no new test of the other",
    ),
    KnownSet(
        name="deepfake_and_real",
        title="Deepfake and real images: faces after OpenForensics, 256 px",
        hub="kaggle",
        id="manjilkarki/deepfake-and-real-images",
        num_bytes=2_000_000_000,
        licence="not verified: that of the page, and of OpenForensics (https://zenodo.org/records/5528418)",
        citation="Le, Nguyen, Yamagishi & Echizen 2021, 'OpenForensics' (ICCV)",
        note="190,000 faces in Train, Validation and Test; models do markedly worse on its Test than on its Validation",
    ),
    KnownSet(
        name="ai_vs_real",
        title="AI-generated images against real ones, many generators, large pictures",
        hub="kaggle",
        id="tristanzhang32/ai-generated-images-vs-real-images",
        num_bytes=50_000_000_000,
        licence="not verified: that of the page",
        citation="the page itself",
        note="train and test, each with real and fake; sizes and formats may tell the classes apart",
    ),
    KnownSet(
        name="cifake",
        title="CIFAKE: CIFAR-10 against Stable Diffusion 1.4, 32 px",
        hub="kaggle",
        id="birdy654/cifake-real-and-ai-generated-synthetic-images",
        num_bytes=120_000_000,
        licence="MIT, as CIFAR-10",
        citation="Krizhevsky & Hinton 2009; Bird & Lotfi 2024, 'CIFAKE' (IEEE Access)",
        note="train 50,000 + 50,000, test 10,000 + 10,000; 378 of the fake test pictures are training pictures as well",
    ),
)


def known_set(text: str) -> KnownSet:
    """Return the set of this name, or the unknown one that `kaggle:OWNER/NAME` or `hf:OWNER/NAME` points to.

    Raises:
        DataError: neither.

    """
    found = next((one for one in KNOWN_SETS if one.name == text), None)
    if found is not None:
        return found
    prefix, _, id_ = text.partition(":")
    owner, _, name = id_.partition("/")
    if prefix in _PREFIXES and _WORD.fullmatch(owner) and _WORD.fullmatch(name):
        own = f"{owner}__{name}"  # no known set's name, whose place it must not take
        licence = "not known here: that of the page"
        return KnownSet(own, id_, _PREFIXES[prefix], id_, None, licence, "the page itself", "not in the list")
    hint = nearest(text, [one.name for one in KNOWN_SETS])
    raise DataError(f"no data set '{text}'. {hint} Others by their id: kaggle:OWNER/NAME or hf:OWNER/NAME.")
