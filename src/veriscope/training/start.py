"""From a validated configuration to a running training: in this process, or in one process for each device."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from veriscope.audit.before import audit_before_training, write_facts
from veriscope.config.command import key_of, typed
from veriscope.config.schema import RunConfig
from veriscope.models.detector import build_detector, check_model
from veriscope.progress import say
from veriscope.provenance import collect, source_commit
from veriscope.run_folder import HARDWARE_FACTS, RunFolder, create_run_folder, naming_the_way_on
from veriscope.standing import standing
from veriscope.training.data import PreparedData, load_data, record_split
from veriscope.training.fit import check_hardware, extra_callbacks, lightning_precision, run_training
from veriscope.training.launch import launch_workers, num_processes
from veriscope.training.nodes import Node, alone, check_nodes, shared_folder, this_node, wait_for_node_0
from veriscope.training.parallel import check_parallel, describe_scale, scale_facts, scale_of
from veriscope.training.preview import write_preview


def start_training(config: RunConfig, *, overrides: Sequence[str], multirun_dir: Path | None) -> None:
    """Train one run in a new folder.

    Raises:
        VeriscopeError: what the user can mend.

    """
    if config.dry_run:
        say(Console(), typed([word for word in overrides if key_of(word) != "dry_run"]))
        return
    if multirun_dir is not None:  # a job of a cluster's launcher
        config = _in_group(config, multirun_dir.parent.name)
        begun = RunFolder(multirun_dir)
        where = standing(begun, config)
        if where == "complete":
            say(Console(stderr=True), f"the run in '{begun.path}' is complete")
            return
        if where == "begun":
            resume_training(config, begun, overrides=overrides)
            return
    data = prepare(config)
    folder = new_folder(config, multirun_dir=multirun_dir)
    start_run(config, folder, data, overrides=overrides)


def resume_training(config: RunConfig, folder: RunFolder, *, overrides: Sequence[str]) -> None:
    """Go on with the run in `folder`, whose own configuration is `config`.

    Raises:
        VeriscopeError: what the user can mend.

    """
    start_run(config, folder, load_data(config), overrides=overrides)


def _in_group(config: RunConfig, group: str) -> RunConfig:
    """Return the configuration with the group and job type that W&B is told, where it names none of its own."""
    logger = config.logger
    job_type = "trial" if config.split.fold is None else "fold"
    named = {"group": logger.group or group, "job_type": job_type if logger.job_type == "train" else logger.job_type}
    return config.model_copy(update={"logger": logger.model_copy(update=named)})


def prepare(config: RunConfig) -> PreparedData:
    """Find what the schema can't see, and return the data, before any folder is made; the costliest check comes last.

    Raises:
        ConfigError, ModelError: a part that doesn't exist, an argument that it doesn't take, hardware or weights that
            can't be had.
        DataError: the data can't be read, a split lacks a class, or the audit says stop.

    """
    check_model(config.model)
    extra_callbacks(config.callbacks)
    check_hardware(config.trainer)
    check_parallel(config.trainer)
    check_nodes(config)
    data = load_data(config)
    if not config.preview and this_node(config.trainer).rank == 0:
        audited = data.manifest.with_splits(data.splits)
        data = replace(data, audit=audit_before_training(config, audited, console=Console(stderr=True)))
    if not config.preview:
        # Once here: else every process downloads the weights for itself, or fails to.
        build_detector(config.model)
    return data


def new_folder(config: RunConfig, *, multirun_dir: Path | None) -> RunFolder:
    """Return the folder of a new run: made here, or by node 0 where this is another node.

    Raises:
        RunError: the folder exists and isn't empty, or can't be made.

    """
    if this_node(config.trainer).rank > 0:
        return shared_folder(config)
    return create_run_folder(config, multirun_dir=multirun_dir)


def start_run(config: RunConfig, folder: RunFolder, data: PreparedData, *, overrides: Sequence[str]) -> None:
    """Train as configured; afterwards `folder` holds the bundle and the figures on val.

    `overrides` is what the command line said, for the record. On a node other than the first, take part in the run
    that node 0 has begun in `folder`.

    Raises:
        VeriscopeError: what the user can mend.

    """
    node = this_node(config.trainer)
    console = Console(stderr=True)
    if node.rank > 0:
        _take_part(config, folder, data, node=node, console=console)
        return
    with folder.locked():
        _run(config, folder, data, overrides, node=node, console=console)


def _run(
    config: RunConfig, folder: RunFolder, data: PreparedData, overrides: Sequence[str], *, node: Node, console: Console
) -> None:
    record_split(data, folder)
    write_facts(folder.audit, data.audit)
    what = f"{config.model.name} on {config.data.name}: {data.describe()}"
    say(console, what)
    say(console, f"run folder: {folder.path}")
    scale = scale_of(config)
    say(console, describe_scale(config, scale))
    write_preview(config, data.cut.train, folder.path / "preview.png")
    commit = source_commit()
    facts = {
        **collect(seed=config.seed, data_hash=data.content_hash, commit=commit),
        "overrides": list(overrides),
        "precision": lightning_precision(config.trainer),
        **scale_facts(config, scale),
    }
    _warn_of_other_hardware(folder, facts, console=console)
    folder.save_provenance(facts, diff=commit.diff)
    if not folder.config.exists():
        folder.save_config(config)  # the last of what a run begins with: the other nodes wait for it
    if config.preview:
        say(console, f"preview: {folder.path / 'preview.png'}")
        return
    if node.count > 1:
        say(console, f"waiting at {node.address}:{node.port} for the other {node.count - 1} of {node.count} nodes")
    try:
        if scale.processes == 1:
            with naming_the_way_on(folder), alone():
                run_training(config, folder, data.for_training())
        else:
            launch_workers(folder.path, processes=num_processes(config.trainer), node=node)
    except KeyboardInterrupt:
        say(console, f"stopped; go on with: {folder.resume_command}")
        raise


def _warn_of_other_hardware(folder: RunFolder, facts: Mapping[str, Any], *, console: Console) -> None:
    """Say what 'auto' means now, where it meant something else when the run began."""
    first = folder.load_provenance() if folder.config.exists() else {}
    for key in HARDWARE_FACTS:
        if key in first and first[key] != facts[key]:
            say(console, f"warning: {key} was {first[key]} when the run began, and is {facts[key]} from here on")


def _take_part(config: RunConfig, folder: RunFolder, data: PreparedData, *, node: Node, console: Console) -> None:
    if config.preview:
        return
    say(console, f"node {node.rank} of {node.count}: {data.describe()}; waiting for node 0 in {folder.path}")
    facts = {**scale_facts(config, scale_of(config)), "data_hash": data.content_hash}
    wait_for_node_0(config, folder, node, facts=facts)
    launch_workers(folder.path, processes=num_processes(config.trainer), node=node)
    say(console, f"node {node.rank} has done its part; node 0 writes the bundle")
