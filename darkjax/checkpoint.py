"""Checkpoints by orbax: a step's state and what is needed to go on from it.

Each holds `state` (parameters, batch statistics, optimiser, averages) and `meta` (step, seed, data
digest, resolved config). Writing is asynchronous and atomic: a run that is killed while one is
written resumes from the last whole one. The latest is always kept, and the best by a named metric.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath

from darkjax import optim
from darkjax.errors import UserError
from darkjax.state import TrainState


class Checkpointer:
    """The checkpoints of one stage, in `directory`.

    `best`: the name of a metric, of which the highest value is kept beside the latest; None keeps
    the latest alone.
    """

    def __init__(self, directory: str, best: str | None = None):
        policies = ocp.checkpoint_managers
        keep: list[Any] = [policies.LatestN(1)]
        if best is not None:
            # BestN alone may delete the newest, from which a stopped run must resume.
            keep.append(
                policies.BestN(
                    get_metric_fn=lambda m: m[best], n=1, keep_checkpoints_without_metrics=False
                )
            )
        self._best = best
        self._manager = ocp.CheckpointManager(
            epath.Path(directory).absolute(),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policies.AnyPreservationPolicy(keep),
                best_fn=(lambda m: m[best]) if best is not None else None,
            ),
        )

    def save(
        self, state: TrainState, meta: dict[str, Any], metrics: dict[str, float] | None = None
    ) -> None:
        """Start writing the state of its step; the arrays may be donated afterwards."""
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(_to_save(state)), meta=ocp.args.JsonSave(meta)
        )
        self._manager.save(step, args=items, metrics=metrics)

    def latest(self) -> int | None:
        """The newest whole step, or None."""
        return self._manager.latest_step()

    def best(self) -> int | None:
        """The step with the highest metric; the latest when none has one."""
        step = self._manager.best_step() if self._best is not None else None
        return self.latest() if step is None else step

    def restore(self, step: int, like: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """The state of `step`, with the shapes, dtypes and shardings of `like`, and its meta."""
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, _as_dict(like))
        self._check_shapes(step, abstract)
        items = ocp.args.Composite(
            state=ocp.args.StandardRestore(abstract), meta=ocp.args.JsonRestore()
        )
        found = self._manager.restore(step, args=items)
        return TrainState(**found["state"]), found["meta"]

    def _check_shapes(self, step: int, wanted: Any) -> None:
        """Compare with what is stored before reading: a half-started read ends in noise."""
        with ocp.PyTreeCheckpointer() as reader:
            item = epath.Path(self._manager.directory) / str(step) / "state"
            stored = _shapes(reader.metadata(item).item_metadata.tree)
        wanted = _shapes(wanted)
        wrong = sorted(k for k in stored.keys() | wanted if stored.get(k) != wanted.get(k))
        if wrong:
            name = wrong[0]
            raise UserError(
                f"the checkpoint of step {step} in {self._manager.directory} does not fit this "
                f"config's model: {len(wrong)} arrays differ, first {name} (stored "
                f"{stored.get(name, 'absent')}, expected {wanted.get(name, 'absent')}): take the "
                "config it was made with, or another --workdir"
            )

    def reached_preemption(self, step: int) -> bool:
        """Whether the cluster asks this job to stop; agrees on every process."""
        return self._manager.reached_preemption(step)

    def wait(self) -> None:
        """Until what was started is written."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Wait and release the writer's threads."""
        self._manager.wait_until_finished()
        self._manager.close()

    def __enter__(self) -> Checkpointer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _as_dict(state: TrainState) -> dict[str, Any]:
    return {name: getattr(state, name) for name in TrainState.__dataclass_fields__}


def _to_save(state: TrainState) -> dict[str, Any]:
    """The state's arrays; of one process's replicated ones a single copy.

    orbax would have each device write its part of a replicated array, and compile a program for
    every shape to cut it: on one machine that costs more than it saves.
    """
    tree = _as_dict(state)
    if jax.process_count() > 1:
        return tree
    return jax.tree.map(lambda x: x.addressable_data(0) if x.is_fully_replicated else x, tree)


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """Shape by path; named tuples are stored as dictionaries or lists, so names are joined."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        "/".join(str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in path): (
            tuple(leaf.shape)
        )
        for path, leaf in leaves
    }


def load_variables(directory: str | os.PathLike[str], which: str = "best") -> dict[str, Any]:
    """Parameters and batch statistics alone, as numpy arrays, of a stage's checkpoints.

    Args:
      directory: the folder of a stage's checkpoints.
      which: "best" (by the metric they were saved with, else the latest) or "latest".

    Returns:
      `{"params": ..., "batch_stats": ...}` nested dicts, moving averages taken where kept.

    Raises:
      UserError: no whole checkpoint there.
    """
    item = _chosen(directory, which) / "state"
    with ocp.PyTreeCheckpointer() as reader:
        tree = reader.metadata(item).item_metadata.tree
        wanted = {k: tree[k] for k in ("params", "batch_stats", "ema") if tree.get(k)}
        args = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=_numpy()), wanted)
        found = reader.restore(
            item, args=ocp.args.PyTreeRestore(item=wanted, restore_args=args, partial_restore=True)
        )
    params = optim.unflatten({**optim.flatten(found["params"]), **found.get("ema", {})})
    return {"params": params, "batch_stats": found.get("batch_stats", {})}


def shapes(directory: str | os.PathLike[str], which: str = "best") -> dict[str, Any]:
    """What `load_variables` would return, as `jax.ShapeDtypeStruct`s: no array is read."""
    item = _chosen(directory, which) / "state"
    with ocp.PyTreeCheckpointer() as reader:
        tree = reader.metadata(item).item_metadata.tree
    return {
        part: jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree.get(part) or {})
        for part in ("params", "batch_stats")
    }


def read_meta(directory: str | os.PathLike[str], which: str = "best") -> dict[str, Any]:
    """What was saved beside the arrays: step, seed, data digest, resolved config.

    Args and errors are those of `load_variables`, and so is the checkpoint that is taken.
    """
    return json.loads((_chosen(directory, which) / "meta" / "metadata").read_text())


def _chosen(directory: str | os.PathLike[str], which: str) -> epath.Path:
    """The folder of the best or the latest step."""
    path = epath.Path(directory).absolute()
    steps = _steps(path)
    if not steps:
        raise UserError(
            f"{directory} holds no whole checkpoint: train that stage first, or name the folder "
            "'checkpoints' of a run"
        )
    return path / str(_best_step(path, steps) if which == "best" else max(steps))


def _numpy() -> type:
    import numpy as np

    return np.ndarray


def _steps(path: epath.Path) -> list[int]:
    """Whole checkpoints: a half-written one has a longer name until it is renamed."""
    if not path.is_dir():
        return []
    return sorted(int(p.name) for p in path.iterdir() if p.name.isdigit())


def _best_step(path: epath.Path, steps: list[int]) -> int:
    """The step whose saved metric is highest; ties go to the later one."""
    scored = []
    for step in steps:
        file = path / str(step) / "metrics" / "metrics"
        if file.exists():
            values = json.loads(file.read_text())
            scored += [(max(values.values()), step)] if values else []
    return max(scored)[1] if scored else max(steps)


def place(
    state: TrainState, sources: dict[str, dict[str, Any]], rules: Any
) -> tuple[TrainState, str]:
    """Copy weights of earlier stages into a fresh state.

    Args:
      state: freshly made.
      sources: `load_variables` by the name the rules use.
      rules: `((source, regex, replacement), ...)`: a parameter or statistic of the source whose
        whole path matches goes to the path the replacement gives, where the state has it.

    Returns:
      The new state, and one line that says how many fitted and what did not.

    Raises:
      UserError: a rule that placed nothing, or a shape that differs.
    """
    matched, extra = 0, []
    new = {}
    for part in ("params", "batch_stats"):
        here = optim.flatten(getattr(state, part))
        for source, pattern, replacement in rules:
            for path, value in optim.flatten(sources[source][part]).items():
                if not re.fullmatch(pattern, path):
                    continue
                target = re.sub(pattern, replacement, path, count=1)
                if target not in here:
                    extra.append(target)
                    continue
                if here[target].shape != value.shape:
                    raise UserError(
                        f"init_from: {source}'s {path} is {value.shape}, {target} is "
                        f"{here[target].shape}: the models differ; leave it out with a regex "
                        "such as (?!head/)(.*)"
                    )
                here[target] = jax.device_put(value, here[target].sharding)
                matched += 1
        new[part] = optim.unflatten(here)
    if not matched:
        raise UserError(f"init_from={rules} placed no weight: no path matches in both stages")
    state = state.replace(**new)
    if state.ema:
        flat = optim.flatten(state.params)
        state = state.replace(ema={k: jax.numpy.copy(flat[k]) for k in state.ema})
    unused = f", {len(extra)} of the source not used ({extra[0]}, …)" if extra else ""
    return state, f"{matched} arrays taken from {', '.join(sorted(sources))}{unused}"
