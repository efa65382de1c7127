"""Near copies: what is found, what is not, and that neither order nor sides matter."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.helpers.copied import scene

from veriscope.audit import near
from veriscope.audit.hashing import HASH_BYTES, SIDE, as_pictures, picture_hashes
from veriscope.audit.near import MAX_CANDIDATES, components, links_between, near_links, too_plain
from veriscope.bench.copies import KINDS

PROMISED = [kind for kind in KINDS if "beyond" not in kind]


def hashes_of(images: list[Image.Image]) -> np.ndarray:
    return as_pictures([picture_hashes(np.asarray(image)) for image in images])


SCENES = [scene(seed, 128) for seed in range(40)]
BASE = hashes_of(SCENES)


def pairs(links: near.Links) -> set[tuple[int, int]]:
    return set(zip(links.first.tolist(), links.second.tolist(), strict=True))


def test_a_hash_has_its_length_whatever_the_picture() -> None:
    rng = np.random.default_rng(0)
    for height, width in ((1, 1), (1, 500), (500, 1), (7, 31), (33, 32), (400, 300)):
        picture = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        assert len(picture_hashes(picture)) == HASH_BYTES
    grey = rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    assert picture_hashes(np.repeat(grey[:, :, None], 3, axis=2)) == grey.tobytes()
    with pytest.raises(ValueError, match="1024"):
        as_pictures([b"short"])


@pytest.mark.parametrize("kind", PROMISED)
def test_every_promised_kind_of_copy_is_found_and_nothing_else(kind: str) -> None:
    rng = np.random.default_rng(1)
    copies = hashes_of([KINDS[kind](image, rng) for image in SCENES])
    assert pairs(links_between(copies, BASE)) == {(row, row) for row in range(len(SCENES))}
    together = near_links(np.concatenate([BASE, copies]))
    assert pairs(together) == {(row, row + len(SCENES)) for row in range(len(SCENES))}
    assert together.mirrored.all() == ("mirrored" in kind)


def test_other_pictures_are_no_copies() -> None:
    assert pairs(near_links(BASE)) == set()
    assert pairs(links_between(BASE[:20], BASE[20:])) == set()


def mixed() -> np.ndarray:
    """Return 40 pictures, among them clusters of two and three copies and three equal hashes."""
    rng = np.random.default_rng(2)
    copies = [KINDS["JPEG 50"](SCENES[0], rng), KINDS["mirrored"](SCENES[0], rng)]
    copies += [KINDS["cropped 5 % a side"](SCENES[1], rng), SCENES[2], SCENES[2]]
    return np.concatenate([BASE[:35], hashes_of(copies)])


MIXED = mixed()


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(len(MIXED))))
def test_the_order_of_rows_does_not_matter(order: list[int]) -> None:
    links = near_links(MIXED[order])
    clusters = components(links.first, links.second, len(MIXED))
    found = {frozenset(np.array(order)[clusters == code].tolist()) for code in range(clusters.max() + 1)}
    assert {cluster for cluster in found if len(cluster) > 1} == {
        frozenset({0, 35, 36}), frozenset({1, 37}), frozenset({2, 38, 39})
    }  # fmt: skip


@settings(max_examples=10, deadline=None)
@given(st.integers(1, len(MIXED) - 1), st.permutations(range(len(MIXED))))
def test_either_side_finds_the_same(cut: int, order: list[int]) -> None:
    one, other = MIXED[order[:cut]], MIXED[order[cut:]]
    there, back = links_between(one, other), links_between(other, one)
    # Which pairs stand for a cluster may differ; which pictures have a copy may not.
    assert set(there.first.tolist()) == set(back.second.tolist())
    assert set(there.second.tolist()) == set(back.first.tolist())


def test_plain_pictures_are_left_out_and_not_called_copies_of_each_other() -> None:
    y, x = np.mgrid[:SIDE, :SIDE]
    rng = np.random.default_rng(3)
    plain = [np.zeros((SIDE, SIDE)), np.full((SIDE, SIDE), 255), y * 4 + 20, x * 3 + y * 2, 250 - y * 5]
    plain += [(y > edge) * 60 + y + 40 for edge in (10, 12, 14)]  # sea and sky
    plain += [200 + rng.normal(0, 1, (SIDE, SIDE)).round() for _ in range(5)]  # a wall, with noise
    hashes = np.stack(plain).clip(0, 255).astype(np.uint8)
    links = near_links(np.concatenate([hashes, hashes]))
    assert too_plain(hashes).all()
    assert not too_plain(BASE).any()
    assert pairs(links) == set()


def test_pages_of_text_are_hardly_ever_copies_of_each_other() -> None:
    rng = np.random.default_rng(4)
    pages = []
    for _ in range(60):
        page = np.full((256, 192, 3), 255, np.uint8)
        for line in range(16, 240, 8):
            place = 16
            while place < 170:
                word = int(rng.integers(4, 24))
                page[line : line + 4, place : min(place + word, 176)] = 30
                place += word + 4
            if rng.random() < 0.2:
                page[line : line + 4, int(rng.integers(30, 150)) :] = 255
        pages.append(Image.fromarray(page))
    hashes = hashes_of(pages)
    # Their lines are finer than a hash, the block of text is the same: a few are taken for copies (docs/duplicates.md).
    assert len(pairs(near_links(hashes))) <= 0.005 * 60 * 59 / 2
    again = hashes_of([KINDS["JPEG 50"](page, rng) for page in pages])
    assert pairs(links_between(again, hashes)) >= {(row, row) for row in range(60)}


def test_a_flood_of_copies_costs_its_number_and_not_its_square() -> None:
    rng = np.random.default_rng(5)
    flood = (BASE[:1] + rng.normal(0, 2, (1500, SIDE, SIDE))).clip(0, 255).round().astype(np.uint8)
    links = near_links(np.concatenate([flood, BASE[1:]]))
    assert len(links.first) <= MAX_CANDIDATES * len(flood)
    clusters = components(links.first, links.second, len(flood) + len(BASE) - 1)
    assert np.unique(clusters[: len(flood)]).size == 1
    assert np.unique(clusters[len(flood) :]).size == len(BASE) - 1


def test_cells_lose_next_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The index with many cells against the search of everything, on copies that are hard: cropped, with noise."""
    from veriscope.bench.near import benchmark_near

    everything = benchmark_near(3000, folder=None, num_planted=300)
    monkeypatch.setattr(near, "CELL_SIZE", 50)
    in_cells = benchmark_near(3000, folder=None, num_planted=300)
    assert everything["recall"] >= 0.99
    assert in_cells["recall"] >= 0.95
    assert everything["links_not_planted"] == in_cells["links_not_planted"] == 0


def test_nothing_and_one_picture() -> None:
    none = np.zeros((0, SIDE, SIDE), np.uint8)
    assert pairs(near_links(none)) == pairs(near_links(BASE[:1])) == set()
    assert pairs(links_between(none, BASE)) == pairs(links_between(BASE, none)) == set()
