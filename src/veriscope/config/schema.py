"""The validated configuration of a run. YAML under conf/ holds the values; this module says what may stand there."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from veriscope.config.audit import AuditConfig
from veriscope.config.crossval import CrossvalConfig
from veriscope.config.data import DataConfig as DataConfig
from veriscope.config.data import SyntheticConfig as SyntheticConfig
from veriscope.config.judging import CalibrationConfig, OodConfig, ThresholdConfig, UnsureConfig
from veriscope.config.ranges import Factors, Probability, Quality, Range
from veriscope.config.targets import TargetSpec
from veriscope.types import Frozen, InputSpec

Scalar = bool | int | float | str | None
OptionValue = Scalar | tuple[Scalar, ...]
PhaseName = Annotated[str, Field(pattern=r"^[\w-]{1,64}$", description="names a folder of checkpoints")]
Decay = Annotated[float, Field(ge=0, lt=1)]
Trainable = Literal["all", "none"] | tuple[str, ...]


class BackboneConfig(Frozen):
    """The feature extractor: any timm name, or a name registered in veriscope.models."""

    name: str = Field(min_length=1)
    pretrained: bool = Field(default=True, description="take timm's pretrained weights (Hugging Face hub)")
    weights: Path | None = Field(default=None, description="local .safetensors file; wins over pretrained")
    trainable: Trainable = Field(
        default="all", description="all, none, or the module names that train; the rest is frozen, batch-norm too"
    )
    options: dict[str, OptionValue] = Field(default_factory=dict, description="further constructor arguments")


class HeadConfig(Frozen):
    """The classifier on the features. Further keys are the head's own arguments, checked against its signature."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False)
    __pydantic_extra__: dict[str, OptionValue] = Field(init=False)

    name: str = Field(min_length=1)
    tap: str | tuple[str | None, ...] | None = Field(
        default=None, description="backbone module that the head reads, several for texture_stats; null: the last map"
    )

    @property
    def taps(self) -> tuple[str | None, ...]:
        """The modules that the head reads, in order; None stands for the backbone's last map."""
        return self.tap if isinstance(self.tap, tuple) else (self.tap,)

    @property
    def options(self) -> dict[str, OptionValue]:
        """The head's own arguments."""
        return dict(self.__pydantic_extra__)


class ModelConfig(Frozen):
    """A Detector: backbone, head, and what it is shown."""

    name: str = Field(min_length=1)
    backbone: BackboneConfig
    head: HeadConfig
    input: InputSpec
    stream: Literal["rgb", "residual"] = Field(
        default="rgb", description="residual: the picture less its local mean; content goes, texture stays"
    )
    flip_average: bool = Field(
        default=False, description="in evaluation, average the logits of the picture and its mirror image"
    )


class SplitConfig(Frozen):
    """How train, val and test are cut where the data set's own folders or columns don't say."""

    name: Literal["holdout", "kfold"] = "holdout"
    val_fraction: float = Field(
        default=0.15,
        gt=0,
        lt=1,
        description="share that becomes val: of the training samples; of everything where no split is named",
    )
    test_fraction: float = Field(default=0.15, ge=0, lt=1, description="used only where nothing is labelled by split")
    num_folds: int = Field(default=5, ge=2)
    fold: int | None = Field(default=None, ge=0, description="train this fold of num_folds")
    seed: int = Field(default=42, ge=0)

    @property
    def all_folds(self) -> bool:
        """Whether a cross-validation is meant, and not one fold or a holdout."""
        return self.name == "kfold" and self.fold is None

    @model_validator(mode="after")
    def _fold_in_range(self) -> Self:
        if self.fold is not None and self.fold >= self.num_folds:
            raise ValueError(f"split.fold={self.fold} is out of range: folds are 0 to {self.num_folds - 1}")
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError("split.val_fraction + split.test_fraction must stay below 1")
        return self


class AugmentConfig(Frozen):
    """One training policy. Order: blur, rescale, noise, recompress on the native picture; then the fit (resize, or a
    random crop); then flip, affine, colour. A probability of 0, or null, turns an operation off."""

    name: str
    crop_px: int | None = Field(default=None, ge=32, description="side of the random native-resolution training crop")
    flip_p: Probability = 0.0
    rotate_deg: float = Field(default=0.0, ge=0, le=180, description="largest rotation either way")
    shift_fraction: float = Field(default=0.0, ge=0, lt=1, description="largest shift, as a share of the side")
    shear_deg: float = Field(default=0.0, ge=0, lt=90)
    zoom_fraction: float = Field(default=0.0, ge=0, lt=1, description="scale drawn from 1 - z to 1 + z")
    brightness: Range | None = None
    contrast: Range | None = None
    saturation: Range | None = None
    hue: float = Field(default=0.0, ge=0, le=0.5, description="largest hue turn, as a share of the circle")
    blur_p: Probability = 0.0
    rescale_p: Probability = 0.0
    rescale: Factors = (0.5, 1.0)
    noise_p: Probability = 0.0
    recompress_p: Probability = 0.0
    recompress_quality: Quality = (40, 95)
    recompress_formats: tuple[Literal["jpeg", "webp"], ...] = ("jpeg",)


class LossConfig(Frozen):
    """Binary cross-entropy on logits."""

    class_weight: Literal["none", "balanced"] = Field(
        default="none", description="balanced: each class weighs num_train / (2 * its count)"
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)


class OptimConfig(Frozen):
    """The optimiser. Parameters of the head take head_lr where it is set."""

    name: Literal["adam", "adamw", "sgd"]
    lr: float = Field(gt=0)
    head_lr: float | None = Field(default=None, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1, description="sgd only; one_cycle moves it by itself")
    betas: tuple[Decay, Decay] = Field(
        default=(0.9, 0.999), description="adam and adamw; one_cycle moves the first by itself"
    )
    lr_rule: Literal["none", "linear", "sqrt"] = Field(
        default="none",
        description="every learning rate, times processes * accumulate_batches (linear; Goyal et al. 2017), its root",
    )


class PhaseConfig(Frozen):
    """One stretch of training with its own learning rates, frozen parts and stopping rule; it starts from the best
    checkpoint of the phase before it."""

    epochs: int = Field(ge=1)
    lr: float | None = Field(default=None, gt=0, description="null: optim.lr")
    head_lr: float | None = Field(default=None, gt=0, description="null: this phase's lr where set, else optim.head_lr")
    trainable: Trainable | None = Field(default=None, description="null: model.backbone.trainable")
    lr_schedule: Literal["constant", "cosine", "one_cycle", "plateau"] = "constant"
    warmup_fraction: float = Field(
        default=0.25,
        gt=0,
        lt=1,
        description="one_cycle: share of steps that rise; momentum or first beta falls from 0.95 to 0.85 meanwhile",
    )
    plateau_factor: float = Field(default=0.3, gt=0, lt=1)
    plateau_patience: int = Field(default=3, ge=0)
    min_lr: float = Field(default=0.0, ge=0, description="cosine and plateau: the lowest learning rate")
    early_stopping: int | None = Field(default=None, ge=1, description="epochs without a better monitor; null: never")


class ScheduleConfig(Frozen):
    """The phases of a run, in order."""

    name: str
    phases: dict[PhaseName, PhaseConfig] = Field(min_length=1)


class CallbacksConfig(Frozen):
    """What watches a run."""

    monitor: Literal["val/auroc", "val/ap", "val/accuracy", "val/loss"] = Field(
        default="val/auroc", description="chooses the best checkpoint, drives early stopping and plateau"
    )
    ema_decay: float | None = Field(default=None, gt=0, lt=1, description="exponential moving average of the weights")
    extra: dict[str, TargetSpec] = Field(default_factory=dict, description="further Lightning callbacks")


class TrainerConfig(Frozen):
    """Hardware and limits."""

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int | Literal["auto"] = Field(default=1)
    num_nodes: int = Field(default=1, ge=1)
    strategy: Literal["auto", "ddp", "fsdp"] = Field(
        default="auto",
        description="auto, ddp: each process holds the whole network; fsdp: a share of weights and optimiser state",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="auto: bf16 where the hardware multiplies it natively, else fp32"
    )
    channels_last: bool = True
    max_epochs: int | None = Field(default=None, ge=1, description="stop after so many epochs in all")
    limit_train_batches: int | None = Field(default=None, ge=1, description="batches an epoch; null: all")
    limit_val_batches: int | None = Field(default=None, ge=1)
    gradient_clip_norm: float | None = Field(default=None, gt=0)
    accumulate_batches: int = Field(default=1, ge=1)
    sync_batchnorm: bool = Field(
        default=False, description="batch norm takes its statistics over all processes; GPUs only"
    )
    progress: bool = True

    @model_validator(mode="after")
    def _devices_positive(self) -> Self:
        if isinstance(self.devices, int) and self.devices < 1:
            raise ValueError("trainer.devices must be at least 1, or auto")
        return self

    @model_validator(mode="after")
    def _fsdp_combines(self) -> Self:
        if self.strategy != "fsdp":
            return self
        if self.sync_batchnorm:
            raise ValueError("trainer.strategy=fsdp can't synchronise batch norm; take trainer.sync_batchnorm=false")
        if self.precision == "fp16":
            raise ValueError("trainer.strategy=fsdp doesn't scale the gradients of fp16; take bf16, fp32 or auto")
        return self


class LoggerConfig(Frozen):
    """Where curves go beside the run folder's own history.csv."""

    name: Literal["csv", "wandb", "tensorboard"] = "csv"
    project: str = "veriscope"
    entity: str | None = None
    group: str | None = None
    job_type: str = "train"
    tags: tuple[str, ...] = ()
    mode: Literal["auto", "online", "offline"] = Field(
        default="auto", description="wandb: auto goes offline, and says so, without a key or a network"
    )


class PathsConfig(Frozen):
    """Where things lie."""

    data: Path = Field(description="folder that holds the named data sets")
    runs: Path = Field(description="folder that receives one folder a run")
    cache: Path = Field(description="folder for what can be made again, as the synthetic data")
    run_dir: Path | None = Field(default=None, description="this run's folder; null: a dated one under runs")


class RunConfig(Frozen):
    """Everything that decides a training run."""

    seed: int = Field(default=42, ge=0, lt=2**32)
    tag: str | None = Field(default=None, description="goes into the name of the run folder")
    preview: bool = Field(default=False, description="write the picture sheet of what the network will see, and stop")
    dry_run: bool = Field(default=False, description="list the commands, run nothing; --dry-run says the same")
    model: ModelConfig
    data: DataConfig
    split: SplitConfig
    augment: AugmentConfig
    loss: LossConfig
    optim: OptimConfig
    schedule: ScheduleConfig
    callbacks: CallbacksConfig
    trainer: TrainerConfig
    logger: LoggerConfig
    paths: PathsConfig
    crossval: CrossvalConfig = CrossvalConfig()
    calibration: CalibrationConfig = CalibrationConfig()
    threshold: ThresholdConfig = ThresholdConfig()
    unsure: UnsureConfig = UnsureConfig()
    ood: OodConfig = OodConfig()
    audit: AuditConfig = AuditConfig()

    @property
    def planned_epochs(self) -> int:
        """Epochs that the run may take at most."""
        epochs = sum(phase.epochs for phase in self.schedule.phases.values())
        return min(epochs, self.trainer.max_epochs or epochs)

    @model_validator(mode="after")
    def _folds_of_one_machine(self) -> Self:
        if self.split.all_folds and self.trainer.num_nodes > 1:
            raise ValueError("trainer.num_nodes is for one run: on several machines start each fold by split.fold=K")
        return self

    @model_validator(mode="after")
    def _preview_of_one_fold(self) -> Self:
        if self.preview and self.split.all_folds:
            raise ValueError("preview=true shows the pictures of one run: add split.fold=0")
        return self

    @model_validator(mode="after")
    def _ensemble_of_folds(self) -> Self:
        if self.crossval.ensemble and self.split.name != "kfold":
            raise ValueError("crossval.ensemble=true averages the models of a cross-validation: add split=kfold")
        return self

    @model_validator(mode="after")
    def _one_cycle_moves_momentum(self) -> Self:
        cycled = any(phase.lr_schedule == "one_cycle" for phase in self.schedule.phases.values())
        own = self.optim.momentum if self.optim.name == "sgd" else self.optim.betas[0]
        if cycled and own != 0.9:
            key = "optim.momentum" if self.optim.name == "sgd" else "the first of optim.betas"
            raise ValueError(f"{key} has no effect: one_cycle moves it between 0.85 and 0.95; take another lr_schedule")
        return self

    @model_validator(mode="after")
    def _average_is_whole(self) -> Self:
        if self.trainer.strategy == "fsdp" and self.callbacks.ema_decay is not None:
            raise ValueError(
                "callbacks.ema_decay averages a whole network, with trainer.strategy=fsdp a process holds a share; set "
                "callbacks.ema_decay=null, or trainer.strategy=ddp"
            )
        return self

    @model_validator(mode="after")
    def _crop_fits(self) -> Self:
        if self.augment.crop_px is not None and self.model.input.fit != "crop":
            raise ValueError(
                "augment.crop_px is a crop of native pixels, which model.input.fit=resize does away with; set "
                "model.input.fit=crop, or augment.crop_px=null for a policy without the crop"
            )
        return self
