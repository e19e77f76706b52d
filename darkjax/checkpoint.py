"""Checkpoints by orbax: a step's state and what is needed to go on from it.

Each holds `state` (parameters, collections, optimiser, averages), `arrays` (shape and dtype of each
of them), `meta` (step, seed, data digest, resolved config) and, of methods that fit something to
their trained weights, `fitted`. Writing is asynchronous and atomic: a run that is killed while one
is written resumes from the last whole one. The last two are kept, and the best by a named metric.

Beside them lie the checksums of all files, written before the checkpoint gets its name; they are
compared before anything is read (`checkpoint_steps`).
"""

from __future__ import annotations

import asyncio
import json
import os
import pathlib
import re
import shutil
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from darkjax import checkpoint_steps, checksums, optim, process
from darkjax.errors import UserError
from darkjax.state import TrainState


class _Unnamed(ocp.path.atomicity.AtomicRenameTemporaryPath):
    """The folder of a checkpoint until it gets its name: by then every file is in its list.

    orbax adds the last files and renames in one call, so that call is given a name in between.
    """

    _final_path: epath.Path

    async def finalize(self) -> None:
        final = self._final_path
        if checkpoint_steps.is_step(final.name):  # not one of a checkpoint's items
            written = final.with_name(f"{final.name}{checkpoint_steps.HALF}-written")
            await asyncio.to_thread(shutil.rmtree, written, ignore_errors=True)  # a killed run's
            self._final_path = written
            await super().finalize()
            await asyncio.to_thread(checksums.write, written)
            written.rename(final)
            self._final_path = final
        else:
            await super().finalize()


class Checkpointer:
    """The checkpoints of one stage, in `directory`.

    `best`: the name of a metric, of which the highest value is kept beside the last two; None keeps
    those alone. On opening, all of them are verified and damaged ones are renamed; `lines` says so
    (and that the newest could not be verified). Every process of a job opens it at the same time.

    Raises:
      UserError: there are checkpoints and none is whole.
    """

    def __init__(self, directory: str | os.PathLike[str], best: str | None = None):
        self._directory = pathlib.Path(directory).absolute()
        self.lines = tuple(process.by_first(lambda: checkpoint_steps.set_aside(self._directory)))
        policies = ocp.checkpoint_managers
        # Two, so that a damaged one costs the steps since the one before it, not the run.
        keep: list[Any] = [policies.LatestN(2)]
        if best is not None:
            # BestN alone may delete the newest, from which a stopped run must resume.
            keep.append(
                policies.BestN(
                    get_metric_fn=lambda m: m[best], n=1, keep_checkpoints_without_metrics=False
                )
            )
        self._best = best
        self._manager = ocp.CheckpointManager(
            epath.Path(self._directory),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policies.AnyPreservationPolicy(keep),
                best_fn=(lambda m: m[best]) if best is not None else None,
                todelete_subdir=checkpoint_steps.DELETED,
                single_host_load_and_broadcast=jax.process_count() > 1,
                temporary_path_class=_Unnamed,
            ),
        )

    def save(
        self,
        state: TrainState,
        meta: dict[str, Any],
        metrics: dict[str, float] | None = None,
        fitted: Any = None,
    ) -> None:
        """Start writing the state of its step; the arrays may be donated afterwards."""
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        items: dict[str, Any] = {
            "state": ocp.args.StandardSave(_to_save(state)),
            "arrays": ocp.args.JsonSave(_listed(state)),
            "meta": ocp.args.JsonSave(meta),
        }
        if fitted is not None:
            items["fitted"] = ocp.args.StandardSave(fitted)
        self.wait()
        self._manager.save(
            step,
            args=ocp.args.Composite(**items),
            metrics=metrics,
            custom_metadata=checkpoint_steps.MARK,
        )

    def latest(self) -> int | None:
        """The newest whole step, or None."""
        return self._manager.latest_step()

    def best(self) -> int | None:
        """The step with the highest metric; the latest when none has one."""
        step = self._manager.best_step() if self._best is not None else None
        return self.latest() if step is None else step

    def meta(self, step: int) -> dict[str, Any]:
        """What was saved beside the arrays of `step`."""
        return json.loads((self._directory / str(step) / "meta" / "metadata").read_text())

    def restore(self, step: int, like: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """The state of `step`, with the shapes, dtypes and shardings of `like`, and its meta."""
        stored = _stored(self._directory / str(step))
        first = _first_version(self._directory / str(step))
        wanted = _as_dict(like)
        if first:  # as the first version wrote them
            wanted["batch_stats"] = wanted.pop("collections").get("batch_stats", {})
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, wanted)
        self._check_shapes(step, stored, abstract)
        items = ocp.args.Composite(
            state=ocp.args.StandardRestore(abstract), meta=ocp.args.JsonRestore()
        )
        found = self._manager.restore(step, args=items)
        arrays = found["state"]
        if first:
            stats = arrays.pop("batch_stats", {})
            arrays["collections"] = dict.fromkeys(like.collections, stats)
        return TrainState(**arrays), found["meta"]

    def _check_shapes(self, step: int, stored: dict[str, Any], wanted: Any) -> None:
        """Compare with what is stored before reading: a half-started read ends in noise."""
        stored, wanted = ({k: x.shape for k, x in f.items()} for f in (stored, _flat(wanted)))
        wrong = sorted(k for k in stored.keys() | wanted if stored.get(k) != wanted.get(k))
        if wrong:
            name = wrong[0]
            raise UserError(
                f"the checkpoint of step {step} in {self._directory} does not fit this "
                f"config's model: {len(wrong)} arrays differ, first {name} (stored "
                f"{stored.get(name, 'absent')}, expected {wanted.get(name, 'absent')}): take the "
                "config it was made with, or another --workdir"
            )

    def reached_preemption(self, step: int) -> bool:
        """Whether the cluster asks this job to stop; agrees on every process."""
        return self._manager.reached_preemption(step)

    def wait(self) -> None:
        """Until what was started is written and what is kept no longer is gone."""
        self._manager.wait_until_finished()
        if jax.process_index() == 0:
            checkpoint_steps.remove_deleted(self._directory)

    def close(self, at_once: bool = False) -> None:
        """Release the writer's threads; unless `at_once`, when all is written."""
        if not at_once:
            self.wait()
            self._manager.close()

    def __enter__(self) -> Checkpointer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(at_once=kind is KeyboardInterrupt)  # a second Ctrl-C


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


def _flat(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> dict[str, Any]:
    """Leaf by path; named tuples are stored as dictionaries or lists, so names are joined."""
    return {
        "/".join(str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in path): x
        for path, x in jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_leaf)
    }


def _listed(state: TrainState) -> dict[str, Any]:
    """Shape and dtype of every array by path, None of an empty dictionary: a part of a method
    without statistics is a part nevertheless."""
    every = _flat(_as_dict(state), is_leaf=lambda x: isinstance(x, dict) and not x)
    return {k: None if isinstance(x, dict) else [x.shape, x.dtype.name] for k, x in every.items()}


def load_variables(directory: str | os.PathLike[str], which: str = "best") -> dict[str, Any]:
    """What a method predicts with, as numpy arrays, of a stage's checkpoints.

    Args:
      directory: the folder of a stage's checkpoints.
      which: "best" (by the metric they were saved with, else the latest) or "latest".

    Returns:
      `{"params": ..., "batch_stats": ..., ...}` nested dicts: moving averages where kept, every
      other collection, and `fitted` where the method made it.

    Raises:
      UserError: no whole checkpoint there.
    """
    say = print if jax.process_index() == 0 else lambda _: None
    folder = checkpoint_steps.chosen(directory, which, say)
    tree = _parts(folder)
    found = _read(folder / "state", {k: v for k, v in tree.items() if v})
    params = optim.unflatten({**optim.flatten(found.pop("params")), **found.pop("ema", {})})
    fitted = {}
    if (folder / "fitted").exists():
        fitted = {"fitted": _read(folder / "fitted", _metadata(folder / "fitted"))}
    collections = found.pop("collections", {})
    return {"params": params, "batch_stats": {}, **found, **collections, **fitted}


def _parts(folder: pathlib.Path) -> dict[str, Any]:
    """What a method predicts with of a checkpoint's state, as `jax.ShapeDtypeStruct`s."""
    found: dict[str, Any] = {"params": {}, "ema": {}, "batch_stats": {}, "collections": {}}
    for path, leaf in _stored(folder, empty=True).items():
        part, _, rest = path.partition("/")
        if rest and part in found:
            found[part][rest] = leaf
    return {k: v if k == "ema" else optim.unflatten(v) for k, v in found.items()}  # ema is flat


def _stored(folder: pathlib.Path, empty: bool = False) -> dict[str, Any]:
    """Shape and dtype of the arrays of a checkpoint's state, by path; `empty` dictionaries too.

    Older checkpoints have no list of them: orbax then opens each array, a thousand a second.
    """
    file = folder / "arrays" / "metadata"
    if not file.exists():
        known = _flat(_metadata(folder / "state"), is_leaf=lambda x: isinstance(x, dict) and not x)
        every = {k: x if isinstance(x, dict) else (x.shape, x.dtype) for k, x in known.items()}
    else:
        every = {k: x or {} for k, x in json.loads(file.read_text()).items()}
    return {
        k: {} if isinstance(x, dict) else jax.ShapeDtypeStruct(tuple(x[0]), jnp.dtype(x[1]))
        for k, x in every.items()
        if empty or not isinstance(x, dict)
    }


def _first_version(folder: pathlib.Path) -> bool:
    """Whether a checkpoint is of the version that knew no collections but `batch_stats`."""
    return not (folder / "arrays").exists() and "collections" not in _metadata(folder / "state")


def reader() -> ocp.Checkpointer:
    """What reads an item in this process alone, of however many: orbax's own waits for all of them,
    and only process 0 reads a run's weights for its report."""
    here = jax.process_index()
    one = ocp.options.MultiprocessingOptions(primary_host=here, active_processes={here})
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=one)
    return ocp.Checkpointer(handler, multiprocessing_options=one)


def _metadata(item: pathlib.Path) -> dict[str, Any]:
    """The tree of an item with what is known of each array."""
    with reader() as alone:
        return alone.metadata(item).item_metadata.tree


def _read(item: pathlib.Path, wanted: Any) -> dict[str, Any]:
    """Some arrays of an item, as numpy."""
    args = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
    with reader() as alone:
        return alone.restore(
            item, args=ocp.args.PyTreeRestore(item=wanted, restore_args=args, partial_restore=True)
        )


def shapes(directory: str | os.PathLike[str], which: str = "best") -> dict[str, Any]:
    """What `load_variables` would return but for `fitted`, as `jax.ShapeDtypeStruct`s: no array is
    read."""
    parts = _parts(checkpoint_steps.chosen(directory, which))
    return {k: parts[k] for k in ("params", "batch_stats")} | parts["collections"]


def read_meta(directory: str | os.PathLike[str], which: str = "best") -> dict[str, Any]:
    """What was saved beside the arrays: step, seed, data digest, resolved config.

    Args and errors are those of `load_variables`, and so is the checkpoint that is taken.
    """
    return json.loads((checkpoint_steps.chosen(directory, which) / "meta" / "metadata").read_text())


def place(
    state: TrainState, sources: dict[str, dict[str, Any]], rules: Any
) -> tuple[TrainState, str]:
    """Copy weights of earlier stages into a fresh state.

    Args:
      state: freshly made.
      sources: `load_variables` by the name the rules use.
      rules: `((source, regex, replacement), ...)`: a parameter of the source, or an array of one of
        its collections, whose whole path matches goes to the path the replacement gives, where the
        state has it.

    Returns:
      The new state, and one line that says how many fitted and what did not.

    Raises:
      UserError: a rule that placed nothing, or a shape that differs.
    """
    matched, extra = 0, []
    new = {}
    for part, tree in state.variables().items():
        here = optim.flatten(tree)
        for source, pattern, replacement in rules:
            for path, value in optim.flatten(sources[source].get(part, {})).items():
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
    state = state.replace(params=new.pop("params"), collections=new)
    if state.ema:
        flat = optim.flatten(state.params)
        state = state.replace(ema={k: jax.numpy.copy(flat[k]) for k in state.ema})
    unused = f", {len(extra)} of the source not used ({extra[0]}, …)" if extra else ""
    return state, f"{matched} arrays taken from {', '.join(sorted(sources))}{unused}"
