"""An exported bundle gives the verdicts of the folder that it came from; and no other file is run."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from PIL import Image
from tests.helpers.badfiles import write_readable, write_unreadable
from tests.helpers.exported import FACTS, bundle_with_ood, entries, exported

from veriscope.bundle import Bundle, load_bundle, load_folder
from veriscope.bundle.onnx_bundle import MOST_ON_CPU, OnnxBundle, num_threads
from veriscope.bundle.onnx_file import EXPORT_KEY, OOD_KEY, RECORD_KEY, read_onnx_file, sealed
from veriscope.errors import BundleError, ConfigError
from veriscope.predict.judge import Judge


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return bundle_with_ood(tmp_path_factory.mktemp("folder"))


@pytest.fixture(scope="module")
def graph(folder: Bundle) -> OnnxBundle:
    return exported(folder, folder.folder.parent / "bundle.onnx")


def test_all_that_a_verdict_takes_is_in_the_file(folder: Bundle, graph: OnnxBundle) -> None:
    loaded = load_bundle(graph.file)
    assert isinstance(loaded, OnnxBundle)
    assert (loaded.record, loaded.export, loaded.path) == (folder.record, FACTS, graph.file)
    assert (loaded.terms(), loaded.notices, loaded.strange_from) == (folder.terms(), ("Made for tests.",), 0.99)
    assert loaded.weights_sha256 == folder.weights_sha256
    one, other = loaded.ood(), folder.ood()
    assert one is not None
    assert other is not None
    np.testing.assert_array_equal(one.members[0].distances, other.members[0].distances)


def test_awkward_files_get_the_same_verdicts(folder: Bundle, graph: OnnxBundle, tmp_path: Path) -> None:
    """From the file to the verdict: odd sizes, CMYK, 16 bits, turned ones, and those that can't be read."""
    (tmp_path / "good").mkdir()
    (tmp_path / "bad").mkdir()
    paths = [*write_readable(tmp_path / "good").values(), *write_unreadable(tmp_path / "bad").values()]
    rng = np.random.default_rng(0)
    for name, shape in {
        "dot": (1, 1),
        "line": (1, 300),
        "small": (9, 31),
        "wide": (20, 900),
        "large": (1500, 1100),
    }.items():
        file = tmp_path / f"{name}.png"
        Image.fromarray(rng.integers(0, 256, (*shape, 3), dtype=np.uint8)).save(file)
        paths.append(file)

    def said(bundle: Bundle | OnnxBundle, batch_size: int) -> list[tuple[object, ...]]:
        scorer = bundle.scorer(device="cpu", precision="fp32", batch_size=batch_size)
        judge = Judge.of(bundle)
        return [(one, judge.verdict(one)) for one in scorer.score_paths(paths)]

    wanted = said(folder, 32)
    assert sum(one.logit is not None for one, _ in wanted) == len(paths) - 9
    for batch_size in (1, 3, 32):
        for (one, verdict), (other, same) in zip(said(graph, batch_size), wanted, strict=True):
            assert (one.path, one.error, one.facts) == (other.path, other.error, other.facts)
            assert (verdict.label, verdict.unsure_because) == (same.label, same.unsure_because)
            if other.logit is not None:
                assert one.logit == pytest.approx(other.logit, abs=1e-5)
                assert one.score == pytest.approx(other.score, abs=1e-5)
                assert one.ood == pytest.approx(other.ood, abs=1.5 / 121)


def test_it_says_how_it_computes(graph: OnnxBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    network = graph.network()
    assert (network.device, network.precision, network.input) == ("cpu", "fp32", graph.record.model.input)
    image_BCHW = np.zeros((2, 3, 32, 32), dtype=np.uint8)
    assert network.answer(image_BCHW, describe=False).vectors == ()
    assert len(network.answer(image_BCHW, describe=True).vectors) == 1
    with pytest.raises(ConfigError, match=r"computes in fp32, not in bf16: leave --precision out"):
        graph.network(precision="bf16")
    with pytest.raises(ConfigError, match="'cuda:1' is not here: this ONNX Runtime has no CUDA"):
        graph.network(device="cuda:1")
    for wrong in ("gpu", "cpu:0", "cuda:x"):
        with pytest.raises(ConfigError, match=f"device '{wrong}' is unknown"):
            graph.network(device=wrong)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert num_threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert num_threads() >= 1


def test_what_needs_a_folder_says_so(graph: OnnxBundle) -> None:
    with pytest.raises(BundleError, match="only gives verdicts; name the bundle's folder"):
        load_folder(graph.file)


def test_without_onnx_runtime_it_loads_and_says_what_to_install(
    graph: OnnxBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(BundleError, match="pip install onnxruntime"):
        load_bundle(graph.file).network()


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda data: data[:-1], "cut off, or no ONNX file|was changed"),
        (lambda data: data[: len(data) // 2], "cut off, or no ONNX file"),
        (lambda data: data[:1000] + bytes([data[1000] ^ 1]) + data[1001:], "is damaged: its hash is"),
        (lambda data: data[:-1] + b"g", "is damaged: its hash is"),
        (lambda data: data + b"\x72\x00", "was changed after veriscope exported it"),
        (lambda data: b"", "cut off, or no ONNX file"),
        (lambda data: b"just text, and more of it\n", "cut off, or no ONNX file"),
        (lambda data: b"\xff" * 5000, "cut off, or no ONNX file"),
    ],
)
def test_damaged_files_are_refused(
    graph: OnnxBundle, tmp_path: Path, harm: Callable[[bytes], bytes], said: str
) -> None:
    file = tmp_path / "x.onnx"
    file.write_bytes(harm(graph.file.read_bytes()))
    with pytest.raises(BundleError, match=said) as caught:
        load_bundle(file)
    assert "\n" not in str(caught.value)


def test_any_flipped_byte_is_found(graph: OnnxBundle, tmp_path: Path) -> None:
    data, file = graph.file.read_bytes(), tmp_path / "x.onnx"
    for place in np.random.default_rng(0).integers(0, len(data), 60):
        changed = bytearray(data)
        changed[place] ^= 1 << int(place % 8)
        file.write_bytes(changed)
        with pytest.raises(BundleError):
            load_bundle(file)


def test_a_file_that_changes_after_loading_is_refused(folder: Bundle, graph: OnnxBundle, tmp_path: Path) -> None:
    file = tmp_path / "x.onnx"
    file.write_bytes(graph.file.read_bytes())
    loaded = load_bundle(file)
    content = read_onnx_file(graph.file)
    file.write_bytes(sealed(content.content, {"more": "facts"}))
    with pytest.raises(BundleError, match="has become another file"):
        loaded.network()
    file.unlink()
    with pytest.raises(BundleError, match="no such file"):
        loaded.ood()
    with pytest.raises(BundleError, match="no such file"):
        load_bundle(file)
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(BundleError, match=r"holds no bundle\.json"):
        load_bundle(tmp_path / "folder.onnx")


def tiny_graph(nodes: list[onnx.NodeProto] | None = None, **changes: object) -> onnx.ModelProto:
    """Return a graph of the right inputs and outputs, made by hand."""
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 3, 32, 32])
    logit = helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["batch"])
    vectors = helper.make_tensor_value_info("vectors_0", TensorProto.FLOAT, ["batch", 3])
    plain = [
        helper.make_node("Cast", ["image"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["f", "space"], ["vectors_0"], keepdims=0),
        helper.make_node("ReduceMean", ["vectors_0", "channels"], ["logit"], keepdims=0),
    ]
    weights = [
        helper.make_tensor("space", TensorProto.INT64, [2], [2, 3]),
        helper.make_tensor("channels", TensorProto.INT64, [1], [1]),
    ]
    made = helper.make_graph([*(nodes or []), *plain], "g", [image], [logit, vectors], weights)
    return helper.make_model(made, **{"opset_imports": [helper.make_opsetid("", 18)], "ir_version": 10, **changes})


def sealed_with(folder: Bundle, model: onnx.ModelProto, file: Path, **changed: str) -> Path:
    """Write a model under a seal that fits, as one would who means harm."""
    facts = {**entries(folder), **changed}
    file.write_bytes(sealed(model.SerializeToString(), {key: value for key, value in facts.items() if value}))
    return file


def external(model: onnx.ModelProto, location: str) -> onnx.ModelProto:
    weight = model.graph.initializer[0]
    weight.ClearField("int64_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    return model


def test_a_graph_made_by_hand_runs(folder: Bundle, tmp_path: Path) -> None:
    """What the hostile ones below are made of is sound."""
    network = load_bundle(sealed_with(folder, tiny_graph(), tmp_path / "x.onnx")).network()
    answer = network.answer(np.full((4, 3, 32, 32), 7, dtype=np.uint8), describe=True)
    assert answer.logits.tolist() == [7.0] * 4
    assert answer.vectors[0].shape == (4, 3)


def hostile(kind: str) -> onnx.ModelProto:
    if kind == "custom operator":
        node = helper.make_node("Evil", ["image"], ["e"], domain="my.own")
        return tiny_graph([node], opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("my.own", 1)])
    if kind == "loop":
        inner = helper.make_graph([], "b", [], [])
        return tiny_graph([helper.make_node("Loop", ["", ""], [], body=inner)])
    if kind == "external in a node":
        node = helper.make_node(
            "Constant", [], ["c"], value=external(tiny_graph(), "../../etc/passwd").graph.initializer[0]
        )
        return tiny_graph([node])
    if kind == "function":
        made = helper.make_function("my.own", "F", ["x"], ["y"], [helper.make_node("Identity", ["x"], ["y"])], [])
        return tiny_graph(functions=[made])
    if kind == "sparse":
        model = tiny_graph()
        values = helper.make_tensor("s", TensorProto.FLOAT, [1], [1.0])
        places = helper.make_tensor("i", TensorProto.INT64, [1], [0])
        model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [4]))
        return model
    return external(tiny_graph(), kind)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("../../../etc/passwd", "keeps weights in another file"),
        ("/etc/passwd", "keeps weights in another file"),
        ("weights.bin", "keeps weights in another file"),
        ("external in a node", "keeps weights in another file"),
        ("custom operator", "holds the operator 'Evil', which is none of ONNX's own"),
        ("loop", "holds the operator 'Loop' with a graph"),
        ("function", "holds functions of its own"),
        ("sparse", "holds sparse weights"),
    ],
)
def test_what_could_reach_beyond_the_file_is_not_run(folder: Bundle, tmp_path: Path, kind: str, said: str) -> None:
    with pytest.raises(BundleError, match=said) as caught:
        load_bundle(sealed_with(folder, hostile(kind), tmp_path / "x.onnx"))
    assert "\n" not in str(caught.value)


def test_a_field_s_number_hides_nothing_above_32_bits(folder: Bundle, tmp_path: Path) -> None:
    """ONNX Runtime drops the 33rd bit: a field that is unknown with it is the name of a file without."""
    model = external(tiny_graph(), "weights.bin")
    weight = model.graph.initializer[0]
    plain, bit_33 = weight.external_data[0].SerializeToString(), 1 << 32
    weight.ClearField("external_data")
    weight.ClearField("data_location")

    def varint(value: int) -> bytes:
        return bytes([value & 0x7F | 0x80]) + varint(value >> 7) if value >= 0x80 else bytes([value])

    hidden = weight.SerializeToString()
    hidden += varint(13 << 3 | 2 | bit_33) + varint(len(plain)) + plain + varint(14 << 3 | bit_33) + b"\1"
    del model.graph.initializer[0]
    graph = model.graph.SerializeToString() + varint(5 << 3 | 2) + varint(len(hidden)) + hidden
    model.ClearField("graph")
    content = model.SerializeToString() + varint(7 << 3 | 2) + varint(len(graph)) + graph
    with pytest.raises(Exception, match="from external tensors"):  # it sees the file
        onnxruntime.InferenceSession(content)

    file = tmp_path / "x.onnx"
    file.write_bytes(sealed(content, entries(folder)))
    with pytest.raises(BundleError, match="is no ONNX file; it is not as veriscope exports, and is not run"):
        load_bundle(file)


def renamed(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with an operator that has no name in any encoding."""
    return onnx.ModelProto.FromString(model.SerializeToString().replace(b"Cast", b"C\xffst"))


def test_graphs_that_onnx_runtime_can_t_run_end_in_a_line(folder: Bundle, tmp_path: Path) -> None:
    for name, model in {
        "opset": tiny_graph(opset_imports=[helper.make_opsetid("", 999)]),
        "ir": tiny_graph(ir_version=999),
        "names": renamed(tiny_graph()),
        "operator": tiny_graph([helper.make_node("NoSuchOperator", ["image"], ["e"])]),
        "cycle": tiny_graph([helper.make_node("Add", ["a", "a"], ["a"])]),
    }.items():
        bundle = load_bundle(sealed_with(folder, model, tmp_path / f"{name}.onnx"))
        with pytest.raises(BundleError, match=r"^ONNX Runtime [\d.]+ can't run '") as caught:
            bundle.network()
        assert "\n" not in str(caught.value)
    other = tiny_graph()
    other.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 64
    with pytest.raises(BundleError, match="is another than its record says"):
        load_bundle(sealed_with(folder, other, tmp_path / "size.onnx")).network()


def test_many_pictures_are_answered_in_small_passes(graph: OnnxBundle) -> None:
    """A pass takes memory by its pictures: 32 of texture_best took 4.6 GB, and more than 2 GB ended its container."""
    rng = np.random.default_rng(0)
    side = graph.input.size_px
    image_BCHW = rng.integers(0, 256, (2 * MOST_ON_CPU + 1, 3, side, side), dtype=np.uint8)
    network = graph.network(device="cpu")
    sizes = []
    session = network._session

    class Counted:
        def run(self, names: list[str], given: dict[str, np.ndarray]) -> list[np.ndarray]:
            sizes.append(len(given["image"]))
            return session.run(names, given)

    network._session = Counted()
    together = network.answer(image_BCHW, describe=True)
    assert sizes == [MOST_ON_CPU, MOST_ON_CPU, 1]
    alone = [network.answer(image_BCHW[row : row + 1], describe=True) for row in range(len(image_BCHW))]
    np.testing.assert_allclose(together.logits, np.concatenate([one.logits for one in alone]), atol=1e-5)
    assert [len(vectors) for vectors in together.vectors] == [len(image_BCHW)] * len(alone[0].vectors)
    assert network.answer(image_BCHW[:0], describe=False).logits.shape == (0,)


def test_a_graph_that_answers_less_than_it_says_is_found(folder: Bundle, tmp_path: Path) -> None:
    lying = tiny_graph()
    lying.graph.initializer[1].int64_data[:] = [0]  # the mean over the batch, where the channels' is announced
    network = load_bundle(sealed_with(folder, lying, tmp_path / "x.onnx")).network()
    with pytest.raises(BundleError, match=r"answers \(3,\) for 4 pictures"):
        network.answer(np.zeros((4, 3, 32, 32), dtype=np.uint8), describe=False)


def test_graphs_of_others_say_what_they_lack(folder: Bundle, tmp_path: Path) -> None:
    file = tmp_path / "foreign.onnx"
    onnx.save(tiny_graph(), file)
    with pytest.raises(
        BundleError, match="is an ONNX graph, but no bundle: it lacks preprocessing, calibration"
    ) as caught:
        load_bundle(file)
    assert "\n" not in str(caught.value)
    model = onnx.load(sealed_with(folder, tiny_graph(), tmp_path / "ours.onnx"))
    model.metadata_props.add(key="somebody", value="was here")
    onnx.save(model, file)
    with pytest.raises(BundleError, match="was changed after veriscope exported it"):
        load_bundle(file)


def test_wrong_facts_are_refused(folder: Bundle, tmp_path: Path) -> None:
    record = json.loads(folder.record.to_json())
    for facts, said in (
        ({RECORD_KEY: ""}, "holds no record of a bundle"),
        ({EXPORT_KEY: ""}, "holds no record of a bundle"),
        ({RECORD_KEY: "{"}, "is damaged"),
        ({RECORD_KEY: json.dumps({**record, "format_version": 99})}, "has format version 99"),
        ({RECORD_KEY: json.dumps({**record, "class_map": {"real": 1, "fake": 0}})}, "is not real 0, fake 1"),
        ({EXPORT_KEY: FACTS.model_dump_json().replace("fp32", "fp8")}, "says of its export, at precision"),
    ):
        with pytest.raises(BundleError, match=said) as caught:
            load_bundle(sealed_with(folder, tiny_graph(), tmp_path / "x.onnx", **facts))
        assert "\n" not in str(caught.value)
    for text, said in (("", "another out-of-distribution reference"), ("?", "holds no out-of-distribution reference")):
        bundle = load_bundle(sealed_with(folder, tiny_graph(), tmp_path / "x.onnx", **{OOD_KEY: text}))
        with pytest.raises(BundleError, match=said):
            bundle.ood()
