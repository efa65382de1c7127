"""From a validated configuration to a running training: in this process, or in one process for each device."""

from collections.abc import Sequence

from pytorch_lightning import Callback
from rich.console import Console

from veriscope.config.schema import RunConfig
from veriscope.config.targets import resolve
from veriscope.errors import ConfigError
from veriscope.models.detector import build_detector, check_model
from veriscope.provenance import collect, source_commit
from veriscope.training.data import prepare_data
from veriscope.training.fit import check_hardware, lightning_precision, run_training
from veriscope.training.launch import launch_workers, num_processes
from veriscope.training.preview import write_preview
from veriscope.training.run_folder import RunFolder, naming_the_way_on


def check(config: RunConfig) -> None:
    """Find what the schema can't see, before any data is read or any folder made.

    Raises:
        ConfigError, ModelError: a part that doesn't exist, an argument that it doesn't take, hardware or weights that
            can't be had.

    """
    check_model(config.model)
    for name, spec in config.callbacks.extra.items():
        kind, _ = resolve(spec, key=f"callbacks.extra.{name}")
        if not issubclass(kind, Callback):
            raise ConfigError(f"callbacks.extra.{name}._target_={spec.target!r} is no Lightning callback")
    check_hardware(config.trainer)
    num_processes(config.trainer)
    if not config.preview:
        # Once here: else every process downloads the weights for itself, or fails to.
        build_detector(config.model)


def start_run(config: RunConfig, folder: RunFolder, *, resume: bool, overrides: Sequence[str]) -> None:
    """Train as configured; afterwards `folder` holds the bundle and the figures on val.

    `overrides` is what the command line said, for the record.

    Raises:
        VeriscopeError: what the user can mend.

    """
    console = Console(stderr=True)
    if not resume:
        folder.save_config(config)
    data = prepare_data(config, folder)
    console.print(
        f"[bold]{config.model.name}[/] on {config.data.name}: {data.describe()}", highlight=False, soft_wrap=True
    )
    console.print(f"run folder: {folder.path}", highlight=False, soft_wrap=True)
    facts = {
        **collect(seed=config.seed, data_hash=data.content_hash),
        "overrides": list(overrides),
        "precision": lightning_precision(config.trainer),
    }
    folder.save_provenance(facts, diff=source_commit().diff)
    write_preview(config, data.cut.train, folder.path / "preview.png")
    if config.preview:
        console.print(f"preview: {folder.path / 'preview.png'}", highlight=False, soft_wrap=True)
        return
    processes = num_processes(config.trainer)
    if processes * config.trainer.num_nodes == 1:
        with naming_the_way_on(folder):
            run_training(config, folder, data)
    else:
        launch_workers(folder.path, processes=processes)
