"""The grid from files to figures, with a real (tiny) network: kept cells, resuming, choosing, alignment's verdict."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hydra import compose, initialize_config_dir
from PIL import Image
from rich.console import Console
from sklearn.metrics import roc_auc_score
from tests.helpers.bundles import tiny_bundle
from tests.helpers.models import model_config
from torch import nn

from veriscope.augment.corruptions import parse_corruption, recompress
from veriscope.bundle import load_bundle
from veriscope.bundle.record import EnsembleFacts, Member
from veriscope.bundle.scorer import Scorer
from veriscope.bundle.torch_network import TorchNetwork
from veriscope.config.evaluate import EvaluateConfig, RobustnessConfig
from veriscope.config.load import CONF_DIR, to_plain, validate
from veriscope.config.schema import DataConfig, PathsConfig
from veriscope.errors import ConfigError, DataError
from veriscope.evaluation.predictions import PredictionTable, TableMeta
from veriscope.evaluation.robustness import choose_images, measure_robustness
from veriscope.evaluation.robustness_cells import Job, cell_store, score_jobs
from veriscope.evaluation.robustness_report import sentences
from veriscope.evaluation.run import run_evaluation
from veriscope.types import Calibration

SIDE = 64


def write_set(root: Path, *, num_each: int = 10, seed: int = 0, fake_format: str = "jpeg", brighter: int = 0) -> Path:
    """Write blobs with grain: real ones as JPEG 75, fakes as JPEG 75 or PNG, `brighter` by so many grey levels."""
    rng = np.random.default_rng(seed)
    for name in ("real", "fake"):
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(num_each):
            coarse = rng.uniform(60, 180, (5, 5, 3)).astype(np.uint8)
            image = np.asarray(Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC)).astype(float)
            image += rng.normal(0, 9, image.shape) + (brighter if name == "fake" else 0)
            picture = Image.fromarray(image.clip(0, 255).astype(np.uint8))
            if name == "fake" and fake_format == "png":
                picture.save(folder / f"{index:02}.png")
            else:
                picture.save(folder / f"{index:02}.jpg", quality=75, subsampling=2)
    return root


def table_of(root: Path, scorer: Scorer) -> PredictionTable:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    found = list(scorer.score_paths(files))
    return PredictionTable.from_columns(
        [file.relative_to(root).as_posix() for file in files],
        paths=[str(file) for file in files],
        labels=[int(file.parent.name == "fake") for file in files],
        logits=[answer.logit for answer in found],
        calibration=Calibration(temperature=2.0, fitted_on="val"),
        meta=TableMeta(),
    )


@pytest.fixture
def place(tmp_path):
    """Twenty pictures, a tiny bundle, and a scorer of it."""
    tiny_bundle(tmp_path / "bundle")
    bundle = load_bundle(tmp_path / "bundle")
    root = write_set(tmp_path / "data", brighter=40)
    return root, bundle, bundle.scorer(device="cpu", precision="fp32", batch_size=8)


def jobs(*names):
    damages = {name: parse_corruption(name) for name in names}
    return [Job(name, lambda _, name=name: damages[name]) for name in names]


class Counting:
    """A scorer that counts what it scores and, where told, is stopped by Ctrl-C in the middle of a cell."""

    def __init__(self, scorer: Scorer, *, stop_after: int | None = None) -> None:
        self.scorer, self.count, self.stop_after = scorer, 0, stop_after

    def __getattr__(self, name):
        return getattr(self.scorer, name)

    def score_paths(self, paths, **how):
        for answer in self.scorer.score_paths(paths, **how):
            if self.count == self.stop_after:
                raise KeyboardInterrupt
            self.count += 1
            yield answer


def score(place, store_at, names=("jpeg:75", "blur:1", "crop:0.8"), **how):
    root, bundle, scorer = place
    counting = Counting(scorer, **how)
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    store = cell_store(store_at, bundle=bundle, scorer=scorer, paths=paths)
    return (
        counting,
        store,
        lambda: score_jobs(
            jobs(*names), scorer=counting, paths=paths, store=store, console=Console(stderr=True, width=200)
        ),
    )


def test_a_stopped_grid_goes_on_behind_its_last_whole_cell(place, tmp_path, capsys):
    whole, _, run = score(place, tmp_path / "a")
    expected = run()
    assert (whole.count, expected.shape) == (60, (3, 20))
    assert "3 cells x 20 pictures = 60 scorings" in capsys.readouterr().err
    _, store, run = score(place, tmp_path / "b", stop_after=47)
    with pytest.raises(KeyboardInterrupt):
        run()
    said = capsys.readouterr().err
    assert "stopped. 2 of 3 cells are kept" in said
    assert "the same command goes on" in said
    assert [store.load(name, size=20) is None for name in ("jpeg:75", "blur:1", "crop:0.8")] == [False, False, True]
    rest, _, run = score(place, tmp_path / "b")
    assert np.array_equal(run(), expected)
    assert rest.count == 20
    assert "(2 cells are there already)" in capsys.readouterr().err
    nothing, _, run = score(place, tmp_path / "b")
    assert np.array_equal(run(), expected)
    assert nothing.count == 0
    assert capsys.readouterr().err == ""
    assert not list((tmp_path / "b").rglob("*.partial"))


def test_cells_are_what_the_scorer_says_of_the_damaged_picture(place, tmp_path):
    root, _, scorer = place
    _, _, run = score(place, tmp_path / "a")
    found = run()
    files = sorted(path for path in root.rglob("*") if path.is_file())
    for index, file in enumerate(files[:3]):
        damaged = recompress(np.asarray(Image.open(file)), "jpeg", 75)
        Image.fromarray(damaged).save(tmp_path / "one.png")
        [answer] = scorer.score_paths([tmp_path / "one.png"])
        assert found[0, index] == pytest.approx(answer.logit, abs=1e-4)


@pytest.mark.parametrize("damage", [b"", b"junk", b"PK\x03\x04junk", "cut", "longer", "flipped", "swapped", "endless"])
def test_a_damaged_cell_counts_as_missing(place, tmp_path, damage):
    _, store, run = score(place, tmp_path / "a", names=("jpeg:75",))
    expected = run()
    file = store.path("jpeg:75")
    if damage == "longer":
        np.save(file, np.zeros(21, np.float32))
    elif damage == "flipped":  # a number that is none of this picture's, in a file that looks whole
        packed = bytearray(file.read_bytes())
        packed[-50] ^= 0x40
        file.write_bytes(packed)
    elif damage == "endless":
        file.unlink()
        file.symlink_to("/dev/zero")
    elif damage == "swapped":
        _, _, run_other = score(place, tmp_path / "a", names=("blur:1",))
        run_other()
        file.write_bytes(store.path("blur:1").read_bytes())
    else:
        file.write_bytes(file.read_bytes()[:-8] if damage == "cut" else damage)
    again, _, run = score(place, tmp_path / "a", names=("jpeg:75",))
    assert np.array_equal(run(), expected)
    assert again.count == 20


def test_other_pictures_weights_or_precision_are_other_cells(place, tmp_path):
    root, bundle, scorer = place
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    first = cell_store(tmp_path, bundle=bundle, scorer=scorer, paths=paths)
    assert cell_store(tmp_path, bundle=bundle, scorer=scorer, paths=paths).path("x") == first.path("x")
    half = bundle.scorer(device="cpu", precision="bf16")
    others = [
        cell_store(tmp_path, bundle=bundle, scorer=half, paths=paths),
        cell_store(tmp_path, bundle=bundle, scorer=scorer, paths=paths[1:]),
        cell_store(tmp_path, bundle=bundle, scorer=scorer, paths=paths[::-1]),
    ]
    Image.open(paths[0]).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(paths[0])
    others.append(cell_store(tmp_path, bundle=bundle, scorer=scorer, paths=paths))
    torch.manual_seed(9)
    keys = {store.path("x") for store in [first, *others]}
    assert len(keys) == 5
    assert first.path("x") != first.path("y")


def test_no_place_for_cells_is_said_and_costs_nothing_else(place, tmp_path, capsys):
    _, _, run = score(place, tmp_path / "a", names=("jpeg:75", "blur:1"))
    expected = run()
    capsys.readouterr()
    (tmp_path / "file").write_text("in the way")
    _, _, run = score(place, tmp_path / "file", names=("jpeg:75", "blur:1"))
    assert np.array_equal(run(), expected)
    assert capsys.readouterr().err.count("can't be kept") == 1


def test_a_picture_that_goes_away_stops_the_grid(place, tmp_path):
    root, bundle, scorer = place
    _, _, run = score(place, tmp_path / "a", names=("jpeg:75",))
    gone = root / "fake" / "03.jpg"
    gone.unlink()
    with pytest.raises(DataError, match=r"03\.jpg: was judged a moment ago"):
        run()
    with pytest.raises(DataError, match="a moment ago"):
        cell_store(tmp_path, bundle=bundle, scorer=scorer, paths=[gone])


def labelled(counts):
    """A table of (label, generator) to count."""
    rows = [(label, name) for (label, name), count in counts.items() for _ in range(count)]
    return PredictionTable.from_columns(
        [str(index) for index in range(len(rows))],
        labels=[label for label, _ in rows],
        generators=[name for _, name in rows],
        logits=[0.0] * len(rows),
        calibration=Calibration(),
        meta=TableMeta(),
    ), rows


@pytest.mark.parametrize("size", [4, 7, 20, 99])
def test_the_subset_is_stratified_and_seeded(size):
    table, rows = labelled({(0, None): 60, (1, "began"): 30, (1, "pggan"): 9, (1, "rare"): 1})
    drawn = choose_images(table, max_images=size, seed=5)
    assert len(set(drawn.tolist())) == size
    assert np.array_equal(drawn, np.sort(drawn))
    assert np.array_equal(drawn, choose_images(table, max_images=size, seed=5))
    assert size > 90 or not np.array_equal(drawn, choose_images(table, max_images=size, seed=6))
    counts = {key: sum(rows[row] == key for row in drawn) for key in set(rows)}
    assert min(counts.values()) >= 1
    for key, whole in {(0, None): 60, (1, "began"): 30}.items():
        assert counts[key] == pytest.approx(size * whole / 100, abs=2)
    assert np.array_equal(choose_images(table, max_images=None, seed=5), np.arange(100))
    assert np.array_equal(choose_images(table, max_images=100, seed=5), np.arange(100))


def test_fewer_places_than_strata():
    table, _ = labelled({(0, None): 50, (1, "a"): 5, (1, "b"): 5})
    assert choose_images(table, max_images=2, seed=0).size == 2


class Reads(nn.Module):
    """A detector that reads one thing: `blocks`, how little a picture jumps at a JPEG's 8 x 8 grid, or `brightness`."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what
        self.config = model_config(size_px=SIDE)

    def forward(self, image_BCHW: torch.Tensor) -> torch.Tensor:
        image = image_BCHW.float()
        if self.what == "brightness":
            return image.mean(dim=(1, 2, 3)) / 10 - 14
        jump = (image[..., 1:] - image[..., :-1]).abs().mean(dim=(1, 2))
        at_grid = jump[:, 7::8].mean(dim=1)
        elsewhere = torch.stack([jump[:, start::8].mean(dim=1) for start in range(7)]).mean(dim=0)
        return 20 * (1.05 - at_grid / elsewhere)


@pytest.mark.parametrize(
    ("fake_format", "brighter", "what", "shortcut"),
    [("png", 0, "blocks", True), ("jpeg", 30, "brightness", False), ("png", 30, "brightness", False)],
)
def test_a_planted_format_shortcut_shows_and_its_clean_twin_has_none(tmp_path, fake_format, brighter, what, shortcut):
    tiny_bundle(tmp_path / "bundle")
    scorer = Scorer(TorchNetwork(Reads(what), device="cpu", precision="fp32"))
    root = write_set(tmp_path / "data", num_each=64, fake_format=fake_format, brighter=brighter)
    found = measure_robustness(
        RobustnessConfig(aligned=True),
        table=table_of(root, scorer),
        bundle=load_bundle(tmp_path / "bundle"),
        terms=load_bundle(tmp_path / "bundle").terms(),
        scorer=scorer,
        threshold_name="default",
        cache=tmp_path / "cache",
        draws=300,
        seed=0,
    )
    gap = found.shortcut.gap
    assert gap.raw_auroc.value > 0.9
    assert (found.shortcut.differences["format"] == 1) is (fake_format == "png")
    if shortcut:
        assert gap.auroc_gap.interval.low > 0.25
        assert gap.aligned_auroc.interval.low < 0.5 < gap.aligned_auroc.interval.high
        assert gap.accuracy_gap.value > 0.2
        assert "rests on format, size or JPEG history, the cost of one more compression included" in sentences(found)[0]
    else:
        assert abs(gap.auroc_gap.value) < 0.01
        assert "No shortcut" in sentences(found)[0]
        assert ("can be told apart" in " ".join(sentences(found))) is (fake_format == "png")


def test_a_whole_evaluation_with_the_quick_grid(place, tmp_path, monkeypatch):
    monkeypatch.setattr("veriscope.evaluation.run.plots.figures", lambda *_, **__: {})  # drawn by test_run
    root, *_ = place
    config = EvaluateConfig(
        bundle=tmp_path / "bundle",
        data=DataConfig(name="toy", kind="folder", root=root, batch_size=8, num_workers=0),
        paths=PathsConfig(data=tmp_path, runs=tmp_path / "runs", cache=tmp_path / "cache"),
        device="cpu",
        precision="fp32",
        bootstrap_draws=100,
        robustness=RobustnessConfig(grid="quick", aligned=True, max_images=16),
    )
    with (tmp_path / "said.txt").open("w") as file:
        console = Console(file=file, width=200)
        folder = run_evaluation(config, output_dir=tmp_path / "out", provenance={}, console=console).folder
    whole = json.loads((folder / "robustness.json").read_text())
    assert whole["pictures"] == {"used": 16, "judged": 20, "left_out": 0, "subset_seed": 42}
    assert whole["threshold"]["name"] == "val"
    assert (folder / "figures" / "robustness.png").stat().st_size > 10_000
    assert (folder / "figures" / "flips.png").is_file()
    rows = pq.read_table(folder / "robustness.parquet").to_pylist()
    assert [row["corruption"] for row in rows] == [cell["corruption"] for cell in whole["grid"]["cells"]]
    assert rows[3]["flips_low"] == whole["grid"]["cells"][3]["flips"]["low"]
    page = (folder / "report.html").read_text()
    assert "16 of 20 pictures, drawn by class and generator (seed 42)" in page
    in_report = json.loads((folder / "report.json").read_text())["sections"]["robustness"]
    assert in_report["grid"] == whole["grid"]
    assert in_report["sentences"] == whole["sentences"]
    assert "Delivered once more" in (tmp_path / "said.txt").read_text()
    assert len(list((tmp_path / "cache" / "robustness").rglob("*.npy"))) == 9


def test_a_cell_is_what_judging_under_its_corruption_says(place, tmp_path):
    root, bundle, scorer = place
    table = table_of(root, scorer)
    found = measure_robustness(
        RobustnessConfig(grid="quick"),
        table=table,
        bundle=bundle,
        terms=bundle.terms(),
        scorer=scorer,
        threshold_name="val",
        cache=tmp_path / "cache",
        draws=100,
        seed=0,
    )
    assert found.shortcut is None
    value = bundle.record.thresholds["val"].value
    for cell in (found.grid.cells[0], found.grid.cells[-1]):
        damage = parse_corruption(cell.name)
        answers = list(scorer.score_paths(map(Path, table.column("path")), transform=damage))
        called = [answer.score >= value for answer in answers]
        assert cell.auroc.value == pytest.approx(roc_auc_score(table.labels, [answer.logit for answer in answers]))
        assert cell.accuracy.value == np.mean(np.array(called) == (table.labels == 1))
        assert cell.flips.value == np.mean(np.array(called) != (table.scores >= value))


def composed(*words):
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return validate(EvaluateConfig, to_plain(compose("evaluate", ["bundle=x", *words])))


def test_the_words_of_the_command_line():
    assert composed().robustness == RobustnessConfig()
    assert composed("robustness=quick").robustness.grid == "quick"
    full = composed("robustness=full", "robustness.max_images=500").robustness
    assert (full.grid, full.aligned, full.max_images) == ("full", True, 500)
    assert composed("robustness=aligned").robustness == RobustnessConfig(aligned=True)
    with pytest.raises(ConfigError, match="leave out corruption="):
        composed("robustness=quick", "corruption=jpeg:75")
    with pytest.raises(ConfigError, match="max_images"):
        composed("robustness=quick", "robustness.max_images=1")


def test_all_that_changes_a_logit_makes_other_cells(place, tmp_path):
    root, bundle, scorer = place
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    record = bundle.record

    def key(**changes):
        other = replace(bundle, record=record.model_copy(update=changes))
        return cell_store(tmp_path, bundle=other, scorer=scorer, paths=paths).path("x")

    def averaged(*temperatures):
        members = [Member(name=f"{t}", temperature=t, weights_sha256="0" * 64) for t in temperatures]
        return EnsembleFacts(members=tuple(members))

    flipped = record.model.model_copy(update={"flip_average": not record.model.flip_average})
    keys = [
        key(),
        key(model=flipped),
        key(ensemble=averaged(1.0, 1.0)),
        key(ensemble=averaged(1.0, 2.0)),
    ]
    assert len(set(keys)) == len(keys)
    assert key(notices=("Said.",)) == keys[0]  # what changes no logit


def test_the_grid_asks_nobody_how_strange_a_damaged_picture_is(place, tmp_path, monkeypatch):
    _, _, scorer = place
    asked = []
    monkeypatch.setattr(scorer.network.detector, "answer", lambda *_: asked.append(1), raising=False)
    scorer.ood = object()  # had it been asked, it could not answer
    _, _, run = score(place, tmp_path / "a", names=("jpeg:75",))
    assert run().shape == (1, 20)
    assert not asked
