import pytest

from veriscope.config.named_data import data_title, named_data
from veriscope.errors import ConfigError


def test_a_name_a_folder_a_list(tmp_path, monkeypatch):
    config, paths = named_data("gan_faces", settings=[f"paths.data={tmp_path}"])
    assert (config.kind, config.root, data_title(config)) == ("folder", tmp_path / "gan_faces", "gan_faces")
    assert paths.data == tmp_path
    assert config.class_map["began"] == "fake"
    odd = tmp_path / "it's a {folder}, $x=1"
    odd.mkdir()
    config, _ = named_data(str(odd), settings=["data.class_map={ai: fake}"])
    assert (config.kind, config.root, data_title(config)) == ("folder", odd, odd.name)
    assert config.class_map == {"ai": "fake"}
    config, _ = named_data(str(odd / "list.CSV"), settings=["data.group_column=person"])
    assert (config.kind, config.file, config.group_column, data_title(config)) == (
        "manifest", odd / "list.CSV", "person", "list",
    )  # fmt: skip
    saved = tmp_path / "saved"
    saved.mkdir()
    (saved / "dataset_dict.json").write_text("{}")
    config, _ = named_data(str(saved))
    assert (config.kind, config.file, data_title(config)) == ("hf", saved, "saved")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cifake").mkdir()
    assert named_data("cifake")[0].name == "cifake"
    assert named_data("./cifake")[0].name == "folder"


@pytest.mark.parametrize(
    ("text", "settings", "words"),
    [
        ("cifaek", [], "Did you mean 'cifake'"),
        ("/no/such/folder", [], "no folder"),
        ("cifake", ["optim.lr=1"], "key of data or paths"),
        ("cifake", ["data.batch_size"], "KEY=VALUE"),
        ("cifake", ["data.rot=x"], "root"),
        ("", [], "no folder"),
    ],
)
def test_what_names_nothing(text, settings, words):
    with pytest.raises(ConfigError, match=words):
        named_data(text, settings=settings)
