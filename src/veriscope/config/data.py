"""Where the pictures are: folders, lists, shards, Hugging Face data sets, or the built-in ones."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from veriscope.config.ranges import Probability, Quality
from veriscope.types import ClassName, Frozen, Split


class SyntheticConfig(Frozen):
    """The built-in data set: a check of the machinery, no claim about real deepfakes."""

    num_train: int = Field(default=1000, ge=2, description="images, half of each class")
    num_val: int = Field(default=300, ge=2)
    num_test: int = Field(default=300, ge=2)
    size_px: int = Field(default=128, ge=64, le=512)
    jpeg_quality: Quality = Field(default=(85, 95), description="lowest and highest, the same for both classes")
    seed: int = Field(default=42, ge=0)


_COLUMN_KINDS = {
    "group_column": ("manifest", "shards", "hf"),
    "source_column": ("manifest", "shards", "hf"),
    "image_column": ("shards", "hf"),
    "label_column": ("shards", "hf"),
    "window_shards": ("shards",),
}


class DataConfig(Frozen):
    """Where the pictures are, what their folders mean, and how they are loaded."""

    name: str = Field(min_length=1)
    kind: Literal["folder", "manifest", "shards", "hf", "synthetic"]
    root: Path | None = Field(
        default=None, description="folder of the class or split folders; of a manifest's paths; of the shards"
    )
    file: Path | None = Field(
        default=None, description="CSV or Parquet manifest (kind=manifest); folder or hub name of a data set (kind=hf)"
    )
    class_map: dict[str, ClassName] = Field(
        default_factory=dict,
        description="folder or label name, any letter case, to real or fake; adds to the usual names",
    )
    splits: dict[str, Split] = Field(
        default_factory=dict, description="folder name (any letter case) to split; adds to the usual ones"
    )
    group_column: str | None = Field(
        default=None,
        description="column of what must not cross splits, as identity; null: 'group' where there is one",
    )
    source_column: str | None = Field(
        default=None,
        description="column of the data set that a row came from; null: 'source' where there is one",
    )
    image_column: str | None = Field(
        default=None, description="hf: the pictures' column; shards: their ending, as jpg; null: the only one"
    )
    label_column: str | None = Field(
        default=None, description="hf: the labels' column; shards: their name in the JSON; null: the only one, 'label'"
    )
    window_shards: int | None = Field(
        default=None, ge=1, description="shards: so many are read side by side; null: all pictures are shuffled freely"
    )
    synthetic: SyntheticConfig | None = None
    batch_size: int = Field(default=32, ge=1, le=65_536)
    num_workers: int = Field(default=2, ge=0, description="loader processes of each training process")
    max_unreadable: Probability = Field(default=0.05, description="training stops above this unreadable share")
    max_pixels: int = Field(default=178_956_970, ge=1, description="larger images are refused as decompression bombs")
    shuffle_labels: bool = Field(default=False, description="null check: labels permuted; a sound run then scores 0.5")

    @model_validator(mode="after")
    def _kind_has_its_source(self) -> Self:
        if self.kind == "manifest" and self.file is None:
            raise ValueError("data.kind=manifest needs data.file=PATH.csv or PATH.parquet")
        for key, kinds in _COLUMN_KINDS.items():
            if getattr(self, key) is not None and self.kind not in kinds:
                choices = " or ".join(f"data={kind}" for kind in kinds)
                raise ValueError(f"data.{key} has no effect on data.kind={self.kind}: it is for {choices}")
        if self.kind == "hf" and self.file is None:
            raise ValueError("data.kind=hf needs data.file=DIR or the name of a data set on the hub")
        if self.kind == "shards" and self.root is None:
            raise ValueError("data.kind=shards needs data.root=DIR")
        if self.kind == "folder" and self.root is None:
            raise ValueError("data.kind=folder needs data.root=DIR")
        if self.kind == "synthetic" and self.synthetic is None:
            raise ValueError("data.kind=synthetic needs data.synthetic, see conf/data/synthetic.yaml")
        return self
