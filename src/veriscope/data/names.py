"""What the usual folder and label names mean. Read in any letter case; never by their order in the alphabet.

torchvision's ImageFolder numbers classes alphabetically, so fake/real, 0_real/1_fake and nature/ai each get another
sign; here a name says what it is or is refused.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from veriscope.errors import DataError
from veriscope.types import CLASS_NAMES, FAKE, REAL, Split

# Texts cut at spaces, so that a long table stays readable and a diff names the word that came or went.
_REAL_WORDS = """real reals 0_real 0-real real_images real_image images_real real_faces real_face realface training_real
test_real validation_real nature natural natural_images 0_nature authentic au original originals original_sequences
genuine pristine photo photos photograph photographs human bonafide bona_fide not_ai non_ai""".split()  # noqa: SIM905
_FAKE_WORDS = """fake fakes 1_fake 1-fake fake_images fake_image images_fake fake_faces fake_face fakeface training_fake
test_fake validation_fake ai 1_ai ai_generated ai-generated ai_images aigenerated ai_gen generated synthetic synthesized
synthesised manipulated manipulated_sequences tampered tp forged forgery deepfake deepfakes
altered spoof""".split()  # noqa: SIM905
USUAL_CLASSES: dict[str, int] = dict.fromkeys(_REAL_WORDS, REAL) | dict.fromkeys(_FAKE_WORDS, FAKE)

USUAL_SPLITS: dict[str, Split] = (
    dict.fromkeys(("train", "training", "trn"), Split.TRAIN)
    | dict.fromkeys(("val", "valid", "validation", "dev"), Split.VAL)
    | dict.fromkeys(("test", "testing", "eval"), Split.TEST)
)


def class_table(class_map: Mapping[str, str]) -> dict[str, int]:
    """Return casefolded name to label: the usual names, and what `class_map` adds or overrides.

    Raises:
        DataError: `class_map` names something else than real or fake, or one name twice.

    """
    table = dict(USUAL_CLASSES)
    own: dict[str, str] = {}
    for name, meaning in class_map.items():
        if meaning not in CLASS_NAMES:
            raise DataError(f"data.class_map={{{name}: {meaning}}} must name real or fake.")
        key = name.casefold()
        if own.setdefault(key, meaning) != meaning:
            raise DataError(f"data.class_map calls '{name}' both real and fake (letter case makes no difference).")
        table[key] = CLASS_NAMES.index(meaning)
    return table


def split_table(splits: Mapping[str, Split | str]) -> dict[str, Split]:
    """Return casefolded folder name to split: the usual names, and what `splits` adds or overrides."""
    return USUAL_SPLITS | {name.casefold(): Split(split) for name, split in splits.items()}


def is_generator(name: str, class_map: Mapping[str, str], label: int) -> bool:
    """Return whether a class folder's name tells who made the fakes: a mapped name that is no usual class word."""
    key = name.casefold()
    return label == FAKE and key not in USUAL_CLASSES and key in {own.casefold() for own in class_map}


def refuse_one_class(labels: npt.NDArray[np.int8], *, what: str) -> None:
    """Refuse data without both classes, for training.

    Raises:
        DataError: `what`, as "'list.csv' lists", with the class that is there.

    """
    if len(set(labels.tolist())) == 1:
        raise DataError(f"{what} only the class {CLASS_NAMES[labels[0]]}; training needs both.")
