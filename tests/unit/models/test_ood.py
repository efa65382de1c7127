"""How strange: distances against scikit-learn's, ranks against their guarantee, files against damage."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from scipy.stats import kstest
from sklearn.covariance import LedoitWolf
from sklearn.neighbors import NearestNeighbors
from tests.helpers.models import model_config

from veriscope.errors import BundleError, ModelError
from veriscope.models.detector import build_detector
from veriscope.models.ensemble import Ensemble
from veriscope.models.ood import OutOfDistribution, rank, ranks_among_themselves, read_ood, write_ood
from veriscope.models.ood_fit import MAX_PICTURES, choose_pictures, fit_reference

METHODS = ("knn", "mahalanobis")


def clouds(count: int, *, seed: int, features: int = 12, away: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return vectors of two classes, correlated, and their labels; `away` moves them from where they belong."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(features, features))
    labels = rng.integers(0, 2, count)
    centre, aside = 3 * np.eye(features)[0], away * np.eye(features)[1]
    vectors = rng.normal(size=(count, features)) @ mixing + np.where(labels[:, None], 1, -1) * centre + aside
    return vectors.astype(np.float32), labels


def fitted(method: str, count: int = 200, **changes: object) -> OutOfDistribution:
    vectors, labels = clouds(count, seed=1)
    return OutOfDistribution((fit_reference(vectors, labels=labels, method=method, k=5, **changes).reference,))


@pytest.mark.parametrize("k", [1, 5, 20])
def test_neighbours_are_scikit_learn_s(k: int) -> None:
    vectors, labels = clouds(150, seed=1)
    new, _ = clouds(40, seed=2)
    found = fit_reference(vectors, labels=labels, method="knn", k=k)
    unit, new_unit = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (vectors, new))
    theirs = NearestNeighbors(n_neighbors=k).fit(unit.astype(np.float64))
    assert np.allclose(found.reference.distance(new), theirs.kneighbors(new_unit)[0][:, -1], atol=1e-3)
    # Asked without pictures, scikit-learn leaves each picture out of its own neighbours.
    assert np.allclose(found.own_distances, theirs.kneighbors()[0][:, -1], atol=1e-3)
    assert np.array_equal(found.reference.distances, np.sort(found.own_distances))


@pytest.mark.parametrize(("count", "features"), [(300, 6), (60, 80)])
def test_gaussians_are_ledoit_and_wolf_s(count: int, features: int) -> None:
    vectors, labels = clouds(count, seed=3, features=features)
    new, _ = clouds(30, seed=4, features=features)
    means = [vectors[labels == label].mean(axis=0, dtype=np.float64) for label in (0, 1)]
    theirs = LedoitWolf(assume_centered=True).fit(vectors - np.stack(means)[labels])
    expected = np.min([np.einsum("bd,de,be->b", new - m, theirs.precision_, new - m) for m in means], axis=0)
    found = fit_reference(vectors, labels=labels, method="mahalanobis", k=1)
    assert np.allclose(found.reference.distance(new), expected, rtol=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_turning_all_vectors_turns_no_distance(method: str) -> None:
    vectors, labels = clouds(120, seed=5)
    new, _ = clouds(20, seed=6)
    turn = np.linalg.qr(np.random.default_rng(7).normal(size=(12, 12)))[0].astype(np.float32)
    plain = fit_reference(vectors, labels=labels, method=method, k=5).reference
    turned = fit_reference(vectors @ turn, labels=labels, method=method, k=5).reference
    assert np.allclose(plain.distance(new), turned.distance(new @ turn), rtol=5e-3)


def test_any_linear_map_leaves_mahalanobis_where_no_shrinking_is_needed() -> None:
    vectors, labels = clouds(20_000, seed=5, features=4)
    new, _ = clouds(20, seed=6, features=4)
    skew = np.array([[2, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1.5, 1], [0, 0, 0, 1]], dtype=np.float32)
    plain = fit_reference(vectors, labels=labels, method="mahalanobis", k=1).reference
    skewed = fit_reference(vectors @ skew, labels=labels, method="mahalanobis", k=1).reference
    assert np.allclose(plain.distance(new), skewed.distance(new @ skew), rtol=0.02)


@pytest.mark.parametrize("method", METHODS)
def test_new_pictures_of_the_same_kind_have_even_ranks_and_others_have_not(method: str) -> None:
    ood = fitted(method, count=2000)
    same, other = ood.score([clouds(1000, seed=8)[0]]), ood.score([clouds(1000, seed=8, away=60.0)[0]])
    assert kstest(same, "uniform").pvalue > 0.001
    assert np.mean(same >= 0.95) == pytest.approx(0.05, abs=0.025)
    assert np.mean(other >= 0.95) > 0.95


@pytest.mark.parametrize("method", METHODS)
def test_validation_itself_is_even(method: str) -> None:
    vectors, labels = clouds(101, seed=1)
    found = fit_reference(vectors, labels=labels, method=method, k=5)
    own = ranks_among_themselves(found.reference.distances, found.own_distances)
    # Two pictures that are each other's k-th neighbour are equally far and share a place.
    assert np.allclose(np.sort(own), np.arange(101) / 101, atol=0.01)


@given(count=st.integers(1, 400), level=st.floats(0.5, 1.0), seed=st.integers(0, 10_000), new=st.lists(st.floats(0, 1)))
@settings(max_examples=200, deadline=None)
def test_a_rank_is_a_conformal_p_value(count: int, level: float, seed: int, new: list[float]) -> None:
    """Of count + 1 equals, drawn in any order, at most the share 1 - level is flagged: counted over all of them."""
    everyone = np.random.default_rng(seed).random(count + 1)
    flagged = sum(rank(np.array([everyone[i]]), np.sort(np.delete(everyone, i)))[0] >= level for i in range(count + 1))
    assert flagged <= (1 - level) * (count + 1) + 1e-9
    ranks = rank(np.sort(np.array(new)), np.sort(everyone))
    assert np.all(np.diff(ranks) >= 0)
    assert np.all((ranks >= 0) & (ranks < 1))


def test_what_is_no_number_is_strangest() -> None:
    assert rank(np.array([np.nan, np.inf, -1.0]), np.array([0.0, 1.0, 2.0])).tolist() == [0.75, 0.75, 0.0]


@pytest.mark.parametrize("method", METHODS)
def test_companions_of_a_group_do_not_vouch_for_each_other(method: str) -> None:
    """Each picture twice, as neighbouring frames: alone they would find themselves at no distance at all."""
    vectors, labels = clouds(80, seed=1)
    groups = np.repeat(np.arange(80), 2)
    twice = np.repeat(vectors, 2, axis=0) + np.float32(1e-3)
    found = fit_reference(twice, labels=np.repeat(labels, 2), method=method, k=2, groups=groups)
    single = fit_reference(vectors, labels=labels, method=method, k=1)
    assert np.median(found.own_distances) == pytest.approx(np.median(single.own_distances), rel=0.25)
    if method == "knn":
        assert fit_reference(twice, labels=np.repeat(labels, 2), method=method, k=1).own_distances.max() < 0.01
        assert np.allclose(found.own_distances[::2], single.own_distances, atol=1e-3)


def test_too_few_are_refused_in_words() -> None:
    vectors, labels = clouds(5, seed=1)
    with pytest.raises(ModelError, match=r"ood\.k=5 asks for the 5-th nearest.*there are 4.*ood\.method=none"):
        fit_reference(vectors, labels=labels, method="knn", k=5)
    with pytest.raises(ModelError, match=r"both classes"):
        fit_reference(vectors, labels=np.zeros(5, dtype=int), method="mahalanobis", k=5)
    with pytest.raises(ModelError, match=r"square of 5,000 features"):
        fit_reference(np.zeros((9, 5000)), labels=np.arange(9) % 2, method="mahalanobis", k=5)


@pytest.mark.parametrize("method", METHODS)
def test_features_that_never_change_are_no_trouble(method: str) -> None:
    vectors, labels = clouds(60, seed=1)
    vectors[:, 3] = 0
    found = fit_reference(vectors, labels=labels, method=method, k=3)
    assert np.isfinite(found.own_distances).all()
    assert np.isfinite(found.reference.distance(np.zeros((1, 12), dtype=np.float32))).all()


def test_what_is_kept_is_bounded_and_drawn_by_the_seed() -> None:
    rows = choose_pictures(3 * MAX_PICTURES, seed=1)
    assert len(rows) == len(set(rows.tolist())) == MAX_PICTURES
    assert np.all(np.diff(rows) > 0)
    assert np.array_equal(rows, choose_pictures(3 * MAX_PICTURES, seed=1))
    assert not np.array_equal(rows, choose_pictures(3 * MAX_PICTURES, seed=2))
    assert choose_pictures(7, seed=1).tolist() == list(range(7))


@pytest.mark.parametrize("method", METHODS)
def test_a_file_gives_the_same_scores(method: str, tmp_path: Path) -> None:
    both = OutOfDistribution((*fitted(method).members, *fitted("knn", count=90).members))
    new = clouds(50, seed=9)[0]
    write_ood(tmp_path / "ood.safetensors", both)
    again = read_ood(tmp_path / "ood.safetensors")
    assert np.array_equal(both.score([new, new]), again.score([new, new]))
    assert again.num_pictures == 90
    one, two = (OutOfDistribution((member,)).score([new]) for member in both.members)
    assert np.allclose(both.score([new, new]), (one + two) / 2)


def test_half_precision_hardly_moves_a_distance() -> None:
    vectors, labels = clouds(400, seed=1, features=512)
    new = clouds(200, seed=2, features=512)[0]
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float64)
    exact = NearestNeighbors(n_neighbors=5).fit(unit)
    new_unit = new / np.linalg.norm(new, axis=1, keepdims=True)
    found = fit_reference(vectors, labels=labels, method="knn", k=5).reference
    assert np.allclose(found.distance(new), exact.kneighbors(new_unit)[0][:, -1], rtol=1e-4)


@pytest.mark.parametrize("damage", ["empty", "text", "nothing", "missing"])
def test_a_file_that_is_none_is_refused_in_words(damage: str, tmp_path: Path) -> None:
    file = tmp_path / "ood.safetensors"
    write_ood(file, fitted("knn"))
    if damage == "empty":
        file.write_bytes(b"")
    elif damage == "text":
        file.write_text("no tensors")
    elif damage == "nothing":
        save_file({"strange": np.zeros(3)}, file)
    else:
        save_file({name: value for name, value in load_file(file).items() if name != "0.distances"}, file)
    with pytest.raises(BundleError, match=r"ood\.safetensors' is no reference of an out-of-distribution score"):
        read_ood(file)


@pytest.mark.parametrize("flip_average", [False, True])
@pytest.mark.parametrize("head", ["linear", "mlp", "texture", "texture_stats"])
def test_the_vector_comes_with_the_very_logits(head: str, flip_average: bool) -> None:
    """One pass, the logits bit for bit, and the vector is the means of the maps."""
    detector = build_detector(model_config(head=head, flip_average=flip_average)).eval()
    image = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    passes = []
    detector.backbone.register_forward_hook(lambda *_: passes.append(1))
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        expected = detector(image)
        before = len(passes)
        answer = detector.answer(image)
        assert len(passes) == 2 * before
        shown = [image, image.flip(-1)] if flip_average else [image]
        means = np.mean([detector.features(x)[0].float().mean(dim=(2, 3)).numpy() for x in shown], axis=0)
    assert torch.equal(answer.logits, expected)
    (vector,) = answer.vectors
    assert vector.dtype == torch.float32
    assert np.allclose(vector.numpy(), means, atol=1e-5)


def test_several_maps_make_one_vector() -> None:
    detector = build_detector(model_config("custom_cnn", "texture_stats", tap=["layers.2", "layers.8"])).eval()
    image = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        maps = detector.features(image)
        assert len(maps) == 2
        assert torch.allclose(detector.answer(image).vectors[0], torch.cat([m.mean(dim=(2, 3)) for m in maps], dim=1))


def test_an_ensemble_gives_each_member_s_vector() -> None:
    members = [build_detector(model_config()).eval() for _ in range(2)]
    image = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    both = Ensemble(members, temperatures=[1.0, 2.0]).eval()
    with torch.inference_mode():
        answer = both.answer(image)
        assert torch.equal(answer.logits, both(image))
        for member, vector in zip(members, answer.vectors, strict=True):
            assert torch.equal(vector, member.answer(image).vectors[0])
