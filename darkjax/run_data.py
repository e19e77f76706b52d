"""The datasets of a run: opened, and the rendered ones drawn where they are not there yet."""

from __future__ import annotations

import os
from typing import Any

from darkjax import config as configs
from darkjax import process
from darkjax.data import sources, split
from darkjax.data.records import Records
from darkjax.errors import UserError

WORKERS = min(os.cpu_count() or 1, 8)  # processes that draw clips; 0: this one


def open_stages(config: Any, workdir: str) -> dict[str, Records]:
    """The dataset of every stage; one that several share is opened once."""
    found: dict[str, Records] = {}
    opened: dict[str, Records] = {}
    for name in config.stages:
        data = configs.data_of(config, name)
        drawn = f"records-{name}" if "synthetic" in config[name].get("data", {}) else "records"
        key = data.dir or drawn
        if key not in opened:
            opened[key] = open_records(data, os.path.join(workdir, drawn))
        found[name] = opened[key]
    return found


def open_records(data: Any, drawn_in: str) -> Records:
    """The dataset of a data section; a rendered one is drawn first when it is not there.

    Args:
      data: the section.
      drawn_in: the folder of rendered clips where `data.dir` names none.
    """
    folder = data.dir
    if data.synthetic is not None:
        folder = folder or drawn_in
        _draw(data.synthetic.to_dict(), folder, bool(data.dir), "data.synthetic")
    if not folder:
        raise UserError(
            "data.dir is empty: convert a dataset (python -m darkjax.data.convert --help) and give "
            "--config.data.dir=FOLDER, or try the rendered one, --config=configs/lift_arid.py:demo"
        )
    return Records(folder, read=data.read, check_crc=data.check_crc)


def _render(options: dict[str, Any], folder: str) -> None:
    """Draw the clips of a data section's `synthetic`; with `flow`, beside it, add their flow."""
    from darkjax.data import convert
    from darkjax.data.catalog import get_dataset

    flow = options.pop("flow", None)
    colours = folder if flow is None else f"{folder}-colours"
    convert.convert(get_dataset("synthetic", **options), colours, workers=WORKERS)
    if flow is not None:
        from darkjax.data import flow as flows

        with Records(colours) as records:
            flows.add(records, folder, flows.Recipe(**flow))


def draw_sources(config: Any, workdir: str) -> None:
    """Draw the rendered clips of `data.source_synthetic` of every stage that has them, where they
    are not there; the config's `source_dir` becomes their folder, in the workdir unless it is set.
    """
    for name in config.stages:
        data, own = configs.data_of(config, name), config[name].get("data", {})
        if data.source_synthetic is None:
            continue
        alone = "source_synthetic" in own or "source_dir" in own
        drawn = f"records-{name}-source" if alone else "records-source"
        folder = data.source_dir or os.path.join(workdir, drawn)
        if data.synthetic is None:  # what is wrong with it is said before minutes of drawing
            with open_records(data, workdir) as records:
                split.held_rows(records, data)
        options = data.source_synthetic.to_dict()
        _draw(options, folder, bool(data.source_dir), "data.source_synthetic")
        with config.unlocked():
            (own if alone else config.data).source_dir = folder


def _draw(options: dict[str, Any], folder: str, given: bool, field: str) -> None:
    """Render a dataset into a folder. One that is there is only compared with the options, and that
    not where the folder was `given` by the user."""

    def render() -> list[str]:
        drawn = os.path.exists(os.path.join(folder, "card.json"))
        if drawn and given:
            return []
        if not drawn:
            print(f"rendering clips into {folder}")
        try:
            _render(options, folder)
        except UserError as e:
            hint = f" ({field}: delete {folder}, or another --workdir)" if drawn else ""
            raise UserError(f"{e}{hint}") from e
        return []

    process.by_first(render)


def told(config: Any, name: str, records: Records) -> str:
    """One line about a stage's data."""
    data = configs.data_of(config, name)
    parts = sources.of(records, data, config[name].batch_size)
    _, held, split_name = split.rows(records, data)
    trained = " and ".join(
        f"{len(part.rows)} clips{'' if part.labels.max() >= 0 else ' without labels'}"
        + (f" of {part.records.directory}" if len(parts) > 1 else "")
        for part in parts
    )
    return f"data: {records.directory}, {trained} to train on, {len(held)} of {split_name}"


def shared(config: Any, name: str, records: Records) -> str:
    """One line where the authors' own split has groups on both sides; said, and not mended."""
    data = configs.data_of(config, name)
    train, held, split_name = split.rows(records, data)
    shared, groups = split.shared_groups(records, train, held)
    if not shared or data.split != "official":
        return ""
    return (
        f"{split_name}: {shared} of {groups} groups are on both sides of this official split; "
        "data.split=fold keeps every group on one"
    )
