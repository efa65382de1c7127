"""Planted shortcuts and their clean twins, figures against scikit-learn, chance, groups, order of rows."""

import dataclasses
import json
from collections.abc import Callable
from io import BytesIO
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from tests.helpers.badfiles import picture
from tests.helpers.inspected import inspect_files

from veriscope.audit.additive import chance_spreads
from veriscope.audit.check import Check
from veriscope.audit.pixel_facts import PIXEL_FACTS
from veriscope.audit.shortcut_checks import shortcut_checks
from veriscope.audit.shortcuts import Shortcuts, find_shortcuts
from veriscope.augment.corruptions import blur, gamma
from veriscope.config.audit import ShortcutsConfig

CONFIG = ShortcutsConfig()
NUM_EACH = 60
ICC = b"\0" * 128


def scene(seed: int) -> np.ndarray:
    """Return a picture whose brightness, colours and detail differ from seed to seed."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, rng.uniform(8, 16), (48, 48, 3))
    return np.clip(picture(48, 48, seed=seed) * rng.uniform(0.7, 1.0) + noise, 0, 255).astype(np.uint8)


def jpeg(image_HWC: np.ndarray, **options: Any) -> bytes:
    buffer = BytesIO()
    Image.fromarray(image_HWC).save(buffer, "JPEG", **{"quality": 90, "subsampling": "4:2:0", **options})
    return buffer.getvalue()


def png(image_HWC: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(image_HWC).save(buffer, "PNG")
    return buffer.getvalue()


def exif() -> bytes:
    tags = Image.Exif()
    tags[0x010F] = "a camera"
    return tags.tobytes()


CONTAINER: dict[str, Callable[[np.ndarray], bytes]] = {
    "file format": png,
    "byte size": lambda image: jpeg(image, comment=b"x" * 4000),
    "exact width and height": lambda image: jpeg(image[:40, :44]),
    "JPEG quality": lambda image: jpeg(image, quality=80),
    "JPEG quantisation tables": lambda image: jpeg(image, qtables=[[3 + k % 7 for k in range(64)]] * 2),
    "JPEG chroma subsampling": lambda image: jpeg(image, subsampling="4:4:4"),
    "progressive storage": lambda image: jpeg(image, progressive=True),
    "presence of EXIF": lambda image: jpeg(image, exif=exif()),
    "presence of a colour profile": lambda image: jpeg(image, icc_profile=ICC),
}
PIXELS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "brightness": lambda image: gamma(image, 0.45),
    "contrast": lambda image: (image // 4 + 96).astype(np.uint8),
    "blue cast": lambda image: (image * np.array([0.3, 0.3, 1.0])).astype(np.uint8),
    "sharpness of the finest detail": lambda image: blur(image, 1.2),
}


def changed(kind: str, image_HWC: np.ndarray) -> bytes:
    return CONTAINER[kind](image_HWC) if kind in CONTAINER else jpeg(PIXELS[kind](image_HWC))


def planted(kind: str, *, share_of_fakes: float, share_of_real: float) -> tuple[pa.Table, np.ndarray]:
    """Return pictures of which so many of each class have the fault; with equal shares it tells nothing."""
    labels = np.arange(2 * NUM_EACH) % 2
    files = []
    for row, label in enumerate(labels):
        share = share_of_fakes if label else share_of_real
        image = scene(row)
        files.append((f"{row:04}", changed(kind, image) if (row // 2) < share * NUM_EACH else jpeg(image)))
    return inspect_files(files), labels


def ask(table: pa.Table, labels: np.ndarray, **options: Any) -> Shortcuts:
    arguments = {"generators": [None] * len(labels), "groups": None, "config": CONFIG, **options}
    return find_shortcuts(table, labels, **arguments)


def checks(table: pa.Table, labels: np.ndarray, **options: Any) -> dict[str, Check]:
    found = shortcut_checks(ask(table, labels, **options), config=options.get("config", CONFIG))
    return {check.name: check for check in found}


@pytest.mark.parametrize("kind", CONTAINER)
def test_a_planted_fault_of_the_files_stops(kind: str) -> None:
    check = checks(*planted(kind, share_of_fakes=1, share_of_real=0))["shortcuts.container"]
    assert check.status == "stop", check.text
    assert "alone tells fake from real with AUROC 1.00" in check.text
    assert check.mend is not None
    assert ("how much detail" if kind == "byte size" else "Store both classes alike: `veriscope align`") in check.mend
    assert check.value is not None
    assert check.value >= CONFIG.stop_auroc
    assert set(check.examples) <= {f"{row:04}" for row in range(1, 2 * NUM_EACH, 2)}


def test_smooth_fakes_are_small_files_however_they_are_stored() -> None:
    check = checks(*planted("sharpness of the finest detail", share_of_fakes=1, share_of_real=0))["shortcuts.container"]
    assert check.status == "stop"
    assert check.text.startswith("Byte size alone tells fake from real with AUROC 1.00")
    assert " bytes against " in check.text
    assert check.mend is not None
    assert "how much detail the pictures hold" in check.mend


@pytest.mark.parametrize("kind", PIXELS)
def test_a_planted_fault_of_the_pixels_warns(kind: str) -> None:
    check = checks(*planted(kind, share_of_fakes=1, share_of_real=0))["shortcuts.pixels"]
    assert check.status == "warn", check.text
    assert "partly what pictures show" in check.text
    assert check.stop_at is None


@pytest.mark.parametrize("kind", [*CONTAINER, *PIXELS])
def test_the_clean_twin_with_the_same_in_both_classes_passes(kind: str) -> None:
    found = checks(*planted(kind, share_of_fakes=0.5, share_of_real=0.5))
    assert {(check.status, check.measured) for check in found.values()} == {("pass", True)}, found
    assert all(check.mend is None and check.examples == () for check in found.values())


@pytest.mark.parametrize("kind", ["JPEG chroma subsampling", "progressive storage", "presence of EXIF"])
def test_the_words_name_the_fault(kind: str) -> None:
    """Byte size goes along with each of them; even where it tells as much it isn't named first."""
    text = checks(*planted(kind, share_of_fakes=1, share_of_real=0))["shortcuts.container"].text
    assert text.startswith(f"{kind[0].upper()}{kind[1:]} alone tells fake from real"), text
    assert ("So does byte size" in text) == (kind == "JPEG chroma subsampling")


def test_the_words_name_what_goes_along_with_the_fault() -> None:
    """Where there are two tables of quantisation, there are two qualities."""
    text = checks(*planted("JPEG quantisation tables", share_of_fakes=1, share_of_real=0))["shortcuts.container"].text
    assert text.startswith("JPEG quality alone")
    assert "; JPEG quantisation tables along with it" in text


def numbers(num_rows: int, seed: int, **columns: np.ndarray) -> pa.Table:
    """Return a table of JPEGs that are alike but for noise in byte size and pixels, and for `columns`."""
    rng = np.random.default_rng(seed)
    alike = {
        "path": [f"{row:05}" for row in rng.permutation(num_rows)],
        "problem": pa.nulls(num_rows, pa.string()),
        "format": ["JPEG"] * num_rows,
        "mode": ["RGB"] * num_rows,
        "width_px": np.full(num_rows, 256),
        "height_px": np.full(num_rows, 256),
        "size_bytes": rng.integers(20_000, 30_000, num_rows),
        "frames": np.ones(num_rows, dtype=int),
        "quality": np.full(num_rows, 95),
        "quant_tables": ["a"] * num_rows,
        "subsampling": ["4:2:0"] * num_rows,
        "progressive": [False] * num_rows,
        "exif": [False] * num_rows,
        "icc": [False] * num_rows,
        "alpha": [False] * num_rows,
        "orientation": pa.nulls(num_rows, pa.int8()),
        **{name: rng.normal(size=num_rows).astype(np.float32) for name in PIXEL_FACTS},
    }
    return pa.table({**alike, **columns})


def test_a_facts_auroc_is_scikit_learns_with_its_direction() -> None:
    labels = np.arange(300) % 2
    sizes = np.random.default_rng(0).integers(0, 50, 300) - 10 * labels
    fact = ask(numbers(300, 0, size_bytes=sizes), labels).questions[0].facts[0]
    assert fact.auroc.value == pytest.approx(1 - roc_auc_score(labels, sizes))
    assert (fact.name, fact.direction) == ("size_bytes", "lower")
    assert (fact.of_fakes, fact.of_real) == (np.median(sizes[labels == 1]), np.median(sizes[labels == 0]))
    assert (fact.num_fake, fact.num_real) == (150, 150)


def test_the_model_does_about_what_scikit_learns_boosted_trees_do() -> None:
    """Three facts, one of them with fakes in the middle, which no ranking sees."""
    rng = np.random.default_rng(1)
    labels = np.arange(800) % 2
    middle = np.where(labels == 1, rng.normal(0, 0.6, 800), rng.normal(0, 1.4, 800))
    columns = {"brightness": middle, "detail": rng.normal(0.5 * labels), "contrast": rng.normal(-0.4 * labels)}
    table = numbers(800, 1, **{name: values.astype(np.float32) for name, values in columns.items()})
    model = ask(table, labels).questions[1].model
    values = np.stack([table[name].to_numpy() for name in PIXEL_FACTS], axis=1)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    trees = HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=8)
    scores = cross_val_predict(trees, values, labels, cv=folds, method="predict_proba")[:, 1]
    assert model.value == pytest.approx(roc_auc_score(labels, scores), abs=0.03)
    assert model.interval is not None
    assert model.interval.low < model.value < model.interval.high


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), num_rows=st.sampled_from([40, 60, 200]))
def test_random_labels_are_never_flagged(seed: int, num_rows: int) -> None:
    labels = np.random.default_rng(seed).permutation(np.arange(num_rows) % 2)
    assert {check.status for check in checks(numbers(num_rows, seed), labels).values()} == {"pass"}


def test_p_is_even_where_nothing_is_to_be_found() -> None:
    """Over 60 random labellings p <= 0.1 comes up about 6 times (binomial: 1 to 13 in 99 % of cases)."""
    config = CONFIG.model_copy(update={"num_permutations": 19})
    low = 0
    for seed in range(60):
        labels = np.random.default_rng(seed).permutation(np.arange(60) % 2)
        p = ask(numbers(60, seed), labels, config=config).questions[1].p
        assert p is not None
        low += p <= 0.1
    assert 1 <= low <= 13


def test_few_groups_of_one_class_each_are_no_proof() -> None:
    """Twelve videos with a byte size of their own: their 480 pictures would say a lot, twelve videos say little."""
    flagged = {"alone": 0, "grouped": 0}
    for seed in range(8):
        rng = np.random.default_rng(seed)
        groups = np.repeat(np.arange(12), 40)
        labels = np.repeat(rng.permutation(np.arange(12) % 2), 40)
        table = numbers(480, seed, size_bytes=rng.integers(10_000, 90_000, 12)[groups] + rng.integers(0, 50, 480))
        flagged["alone"] += checks(table, labels)["shortcuts.container"].status != "pass"
        flagged["grouped"] += checks(table, labels, groups=groups)["shortcuts.container"].status != "pass"
    assert flagged["alone"] >= 5
    assert flagged["grouped"] <= 1


def test_a_fault_in_many_groups_is_found_and_groups_of_both_classes_may_be_there() -> None:
    groups = np.repeat(np.arange(100), 4)
    labels = np.where(groups < 20, np.arange(400) % 2, groups % 2)
    sizes = 20_000 + 5_000 * labels + np.random.default_rng(0).integers(0, 1000, 400)
    check = checks(numbers(400, 0, size_bytes=sizes), labels, groups=groups)["shortcuts.container"]
    assert check.status == "stop"


def test_the_order_of_rows_changes_nothing() -> None:
    labels = np.arange(200) % 2
    generators = np.array(["a", "b"], dtype=object)[np.arange(200) // 100]
    groups = np.arange(200) // 2
    table = numbers(200, 3, format=np.where(np.arange(200) % 3 == 0, "PNG", "JPEG"))
    order = np.random.default_rng(0).permutation(200)
    first = ask(table, labels, generators=generators, groups=groups)
    second = ask(table.take(pa.array(order)), labels[order], generators=generators[order], groups=groups[order])
    assert first.to_dict() == second.to_dict()


def test_each_generator_is_asked_against_all_real_pictures_and_only_warns() -> None:
    labels = np.arange(400) % 2
    generators = np.where(labels == 0, None, np.where(np.arange(400) < 200, "clean", "large"))
    sizes = 20_000 + 9_000 * (generators == "large") + np.random.default_rng(0).integers(0, 5000, 400)
    found = checks(numbers(400, 0, size_bytes=sizes), labels, generators=generators)
    assert found["shortcuts.container.large"].status == "warn"
    assert "alone tells large from real with AUROC 1.00" in found["shortcuts.container.large"].text
    assert found["shortcuts.container.large"].count == 300
    assert found["shortcuts.container.clean"].status == "pass"
    assert set(found) == {
        f"shortcuts.{family}{generator}" for family in ("container", "pixels") for generator in ("", ".clean", ".large")
    }


def test_a_single_generator_is_not_asked_twice() -> None:
    labels = np.arange(100) % 2
    generators = np.where(labels == 1, "only", None)
    assert set(checks(numbers(100, 0), labels, generators=generators)) == {"shortcuts.container", "shortcuts.pixels"}


@pytest.mark.parametrize(("num_fake", "num_real"), [(0, 100), (100, 0), (19, 100), (0, 0)])
def test_too_few_pictures_are_not_measured(num_fake: int, num_real: int) -> None:
    labels = np.repeat([1, 0], [num_fake, num_real])
    sizes = 10_000 + 5_000 * labels
    check = checks(numbers(len(labels), 0, size_bytes=sizes), labels)["shortcuts.container"]
    # nothing was found because nothing could be
    assert (check.status, check.value, check.measured) == ("warn", None, False)
    assert check.text.startswith("Not measured: ")
    assert "20 are needed" in check.text
    assert check.mend is not None


def test_too_few_groups_are_not_measured() -> None:
    labels = np.arange(200) % 2
    check = checks(numbers(200, 0), labels, groups=np.where(labels == 1, 0, np.arange(200)))["shortcuts.container"]
    assert check.text == "Not measured: fake pictures of 1 groups can't fill 5 folds."
    assert check.status == "warn"
    assert "groups" in str(check.mend)


def test_a_small_generator_is_a_matter_of_class_size_alone() -> None:
    """Of thirty small generators none is measured: that they are small is said once, not thirty times."""
    labels = np.repeat([0, 1], 150)
    generators = np.where(labels == 0, None, np.where(np.arange(300) < 290, "large", "small"))
    groups = np.arange(300)
    found = checks(numbers(300, 0), labels, generators=generators, groups=groups)
    assert found["shortcuts.container.small"].text.startswith("Not measured: 10 fake pictures")
    assert found["shortcuts.container.small"].status == "pass"
    groups[150:290] = 1000  # enough pictures, and yet no answer
    found = checks(numbers(300, 0), labels, generators=generators, groups=groups)
    assert found["shortcuts.container.large"].status == "warn"


def test_sixty_pictures_stop_only_where_they_hardly_overlap() -> None:
    labels = np.arange(60) % 2
    noise = np.random.default_rng(0).normal(size=60)
    statuses = {}
    for gap in (0.0, 0.5, 2.0, 8.0):
        sizes = (20_000 + 1000 * (noise + gap * labels)).astype(int)
        statuses[gap] = checks(numbers(60, 0, size_bytes=sizes), labels)["shortcuts.container"].status
    assert statuses == {0.0: "pass", 0.5: "pass", 2.0: "warn", 8.0: "stop"}


def test_pictures_that_are_alike_pass_and_say_so() -> None:
    labels = np.arange(100) % 2
    check = checks(numbers(100, 0, size_bytes=np.full(100, 7)), labels)["shortcuts.container"]
    assert (check.status, check.value) == ("pass", 0.5)
    assert "alike" in check.text


def test_without_facts_of_pixels_only_the_files_are_asked() -> None:
    labels = np.arange(100) % 2
    table = numbers(100, 0)
    headers = table.drop_columns(list(PIXEL_FACTS))
    nulls = headers
    for name in PIXEL_FACTS:
        nulls = nulls.append_column(name, pa.nulls(100, pa.float32()))
    for one in (headers, nulls):
        assert set(checks(one, labels)) == {"shortcuts.container"}


def test_missing_values_are_no_obstacle_and_unreadable_files_are_left_out() -> None:
    """Quality is unknown for PNG; of unreadable files nothing is, and that would tell the class if they counted."""
    labels = np.arange(200) % 2
    broken = (labels == 1) & (np.arange(200) < 60)
    is_png = np.arange(200) % 5 == 0
    rng = np.random.default_rng(0)
    table = numbers(
        200,
        0,
        problem=pa.array(["truncated" if row else None for row in broken]),
        format=pa.array(np.where(is_png, "PNG", "JPEG").tolist(), mask=broken),
        size_bytes=pa.array(rng.integers(2, 9, 200), mask=broken),
        quality=pa.array(rng.integers(70, 96, 200), mask=broken | is_png),
    )
    found = ask(table, labels)
    assert found.left_out == 30
    assert found.questions[0].num_fake == 70
    quality = next(fact for fact in found.questions[0].facts if fact.name == "quality")
    assert quality.num_fake + quality.num_real == int(np.sum(~broken & ~is_png))
    assert {check.status for check in shortcut_checks(found, config=CONFIG)} == {"pass"}


@pytest.mark.parametrize("num_jpegs", [6, 30])
def test_what_few_pictures_have_hides_nothing(num_jpegs: int) -> None:
    """The quality of six JPEGs among 400 PNGs separates six pictures by chance: their AUROC of 1.00, and those of as
    many shuffled labels, once made a byte size with AUROC 0.98 pass as chance."""
    labels = np.arange(400) % 2
    for seed in range(3):
        rng = np.random.default_rng(seed)
        is_jpeg = rng.permutation(400) < num_jpegs
        table = numbers(
            400,
            seed,
            size_bytes=20_000 + 4_000 * labels + rng.integers(0, 5_000, 400),
            format=np.where(is_jpeg, "JPEG", "PNG"),
            quality=pa.array(rng.integers(60, 99, 400), mask=~is_jpeg),
        )
        question = ask(table, labels).questions[0]
        assert question.p == pytest.approx(1 / 50)
        assert next(fact for fact in question.facts if fact.name == "quality").auroc.value is None
        check = checks(table, labels)["shortcuts.container"]
        assert check.status == "stop", check.text
        assert check.text.startswith("Byte size alone tells fake from real with AUROC 0.98")


def test_an_uncertain_figure_does_not_stand_before_a_certain_one() -> None:
    labels = np.arange(4000) % 2
    rng = np.random.default_rng(0)
    sides = 256 + 16 * labels + rng.integers(0, 17, 4000)
    is_jpeg = np.arange(4000) < 42
    quality = pa.array(80 + 10 * labels + rng.integers(0, 9, 4000), mask=~is_jpeg)
    table = numbers(4000, 0, width_px=sides, format=np.where(is_jpeg, "JPEG", "PNG"), quality=quality)
    question = ask(table, labels).questions[0]
    facts = {fact.name: fact.auroc for fact in question.facts}
    assert facts["quality"].value == 1
    assert facts["width_px"].value < 1
    assert facts["quality"].interval.low < facts["width_px"].interval.low
    figures = [question.model, *facts.values()]
    assert question.strongest == max(figures, key=lambda figure: figure.interval.low)


def test_the_spread_by_chance_is_that_of_all_labellings() -> None:
    """All 56 ways to call 3 of 8 pictures fake."""
    found = [roc_auc_score([row in fakes for row in range(8)], range(8)) for fakes in combinations(range(8), 3)]
    labels_NL = np.array([[1, 0], [1, 0], [1, 0], [0, 0], [0, 0], [0, 0], [0, 0], [0, 0]])
    assert chance_spreads(labels_NL).tolist() == [pytest.approx(np.std(found)), np.inf]


def test_a_p_value_that_no_number_of_shuffles_reaches_is_refused() -> None:
    assert ShortcutsConfig(max_p=0.02).max_p == 0.02
    with pytest.raises(ValueError, match=r"max_p=0.01 can't be reached with 49 .*nothing would ever be flagged"):
        ShortcutsConfig(max_p=0.01)


def test_copies_are_one_witness() -> None:
    labels = np.repeat(np.arange(30) % 2, 10)
    digests = [bytes([row // 10]) * 32 for row in range(300)]
    check = checks(numbers(300, 0).append_column("sha256", pa.array(digests)), labels)["shortcuts.container"]
    assert check.text.startswith("Not measured: 15 real pictures")


def test_of_many_pictures_a_stated_number_is_drawn() -> None:
    labels = (np.arange(900) % 3 == 0).astype(int)
    config = CONFIG.model_copy(update={"max_pictures": 100})
    first, second = (ask(numbers(900, 0), labels, config=config) for _ in range(2))
    assert first == second
    assert (first.questions[0].num_fake, first.questions[0].num_real) == (100, 100)


def test_two_facts_that_say_the_same_are_one() -> None:
    labels = np.arange(100) % 2
    table = numbers(
        100, 0, format=np.where(labels == 1, "PNG", "JPEG"), subsampling=np.where(labels == 1, None, "4:2:0")
    )
    question = ask(table, labels).questions[0]
    facts = {fact.name: fact for fact in question.facts}
    assert "subsampling" not in facts
    assert facts["format"].twins == ("subsampling",)
    assert facts["size_bytes"].twins == ("bits_per_pixel",)  # all pictures have the same number of pixels
    assert "width_px" in question.constant


def test_what_several_facts_tell_together_names_them() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(600) % 2
    columns = {name: rng.normal(1.2 * labels).astype(np.float32) for name in ("brightness", "detail", "blockiness")}
    check = checks(numbers(600, 0, **columns), labels)["shortcuts.pixels"]
    assert check.status == "warn"
    chiefly = check.text.split("chiefly ")[1].split(";")[0]
    assert set(chiefly.replace(" and ", ", ").split(", ")) == {
        "brightness",
        "amount of detail",
        "traces of JPEG blocks",
    }


def test_the_thresholds_decide() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(1000) % 2
    table = numbers(1000, 0, size_bytes=(20_000 + 1000 * rng.normal(1.6 * labels)).astype(int))
    low = checks(table, labels)["shortcuts.container"].value
    assert low is not None
    for warn, stop, status in ((low, 1.0, "warn"), (low + 0.001, 1.0, "pass"), (0.5, low, "stop")):
        config = CONFIG.model_copy(update={"warn_auroc": warn, "stop_auroc": stop})
        assert checks(table, labels, config=config)["shortcuts.container"].status == status
    hopeless = CONFIG.model_copy(update={"max_p": 0.001})
    check = checks(table, labels, config=hopeless)["shortcuts.container"]
    assert check.status == "pass"
    assert "that is chance" in check.text


def test_the_result_is_json() -> None:
    labels = np.repeat([0, 1], [100, 100])
    found = ask(numbers(200, 0), labels, generators=np.where(np.arange(200) < 190, "a", "b"))
    text = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert len(text["questions"]) == len(found.questions) == 6
    assert dataclasses.is_dataclass(found)
