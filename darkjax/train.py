"""The one training loop. It knows methods only by their contract.

Read `run` from top to bottom: data, model and optimiser, state, checkpoints, the update, the loop.
"""

from __future__ import annotations

import collections
import contextlib
import json
import math
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from darkjax import (
    checkpoint,
    identity,
    intake,
    loggers,
    methods,
    optim,
    sharding,
    starts,
    stops,
    writers,
)
from darkjax import config as configs
from darkjax import spec as specs
from darkjax import state as states
from darkjax.data import pipeline, sources
from darkjax.data.records import Records
from darkjax.errors import UserError

# jax 0.10 on several CPU devices deadlocks with some 64 steps queued; accelerators lose nothing.
MAX_IN_FLIGHT = 8
Evaluate = Callable[[methods.Method, dict[str, Any]], dict[str, float]]
Given = Callable[[], dict[str, dict[str, Any]]]


class Outcome(NamedTuple):
    """What a stage ended with; `finished` is False when it was stopped early, at `saved_at`, by the
    signal of that number, or by `max_steps`. `judged_at`: the last step that `evaluate` was called
    at in this run."""

    state: states.TrainState
    method: methods.Method
    finished: bool
    saved_at: int | None
    signal: int | None
    judged_at: int | None = None


def run(
    config: Any,
    name: str,
    records: Records,
    *,
    workdir: str | os.PathLike[str],
    mesh: jax.sharding.Mesh,
    evaluate: Evaluate | None = None,
    given: Given = dict,
    origins: Mapping[str, str | None] | None = None,
    extend: bool = False,
    max_steps: int | None = None,
    begun: Callable[[], None] | None = None,
    on_step: Callable[[int, dict[str, float]], None] | None = None,
) -> Outcome:
    """Train one stage, from its last checkpoint if there is one.

    Args:
      config: the whole resolved config; `seed`, `data`, `sharding` and `log_every` are used.
      name: of the stage: `config[name]` has its method, model, optim, epochs or steps, …
      records: the dataset.
      workdir: the stage's folder: `checkpoints/`, `metrics.jsonl`, `tensorboard/`.
      mesh: see `sharding.make_mesh`.
      evaluate: called with the method and its variables every `stage.eval_every` epochs.
      given: gives weights by the names that `stage.init_from` uses; called for a fresh state.
      origins: marks of those weights (`identity.origin`), compared when a run is taken up again.
      extend: a checkpoint of a shorter training may be gone on from.
      max_steps: stop (and save) there as a signal would; for tests and notebooks.
      begun: called when nothing is refused any more, before the first step.
      on_step: called with each step's number and metrics, in order, up to 8 steps late.

    Raises:
      UserError: the config does not fit the data or the checkpoint; a loss term is NaN or inf.
    """
    stage, data = config[name], configs.data_of(config, name)
    # ---- data -------------------------------------------------------------------------------
    parts = sources.of(records, data, stage.batch_size)
    sharding.check_batch(mesh, stage.batch_size)
    sharding.check_batch(mesh, stage.batch_size // stage.accumulate, "batch_size / accumulate")
    steps_per_epoch = sources.steps_per_epoch(parts)
    total_steps = stage.steps or stage.epochs * steps_per_epoch

    def batches(start_step: int) -> Any:
        return pipeline.mixed_batches(
            parts,
            cfg=data,
            seed=config.seed,
            start_step=start_step,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            num_threads=data.num_threads,
            workers=data.workers,
        )

    # ---- method and optimiser ---------------------------------------------------------------
    method = methods.make(stage, specs.of(config, name, records))
    tx = optim.make(stage.optim, total_steps)
    rate = optim.schedule(stage.optim, total_steps)

    # ---- state ------------------------------------------------------------------------------
    state, shardings = states.create(
        method,
        tx,
        seed=config.seed,
        ema=stage.ema > 0,
        mesh=mesh,
        rules=config.sharding,
    )
    chief = jax.process_index() == 0
    say = print if chief else lambda *_: None
    trainable, frozen = optim.split(state.params, method.frozen)
    say(f"parameters: {_count(trainable):,} trained, {_count(frozen):,} frozen")

    # ---- checkpoints: resume, or start from earlier stages --------------------------------------
    best = (stage.keep_best or None) if evaluate is not None else None
    saver = checkpoint.Checkpointer(os.path.join(workdir, "checkpoints"), best)
    for line in saver.lines:
        say(line)
    meta = {
        "seed": config.seed,
        "data": records.digest,
        "classes": list(records.classes),
        "intake": intake.of(config, name, records).as_json(),
        "total_steps": total_steps,
        "config": config.to_json_best_effort(),
        "identity": identity.of(config, name, sources.digest(records, data), origins or {}),
    }
    resume = saver.latest()
    if resume is None:
        state, line = _fresh(state, stage, name, method.frozen, given)
    else:
        state, line = _resumed(saver, resume, state, meta, name, extend, workdir)
    say(line)
    if begun is not None:
        begun()

    update = make_update(method, tx, stage, config.seed, total_steps, mesh, shardings)

    # ---- the loop ---------------------------------------------------------------------------
    step = int(state.step)
    end = total_steps if max_steps is None else min(total_steps, max_steps)
    save_every = stage.save_every or max(steps_per_epoch, 1)
    eval_every = stage.eval_every * steps_per_epoch if evaluate else 0
    saved_at = resume
    judged_at = None
    stopped = False
    about = loggers.About(
        pathlib.Path(workdir).absolute().parent.name,
        name,
        identity.flat(json.loads(config.to_json_best_effort())),
    )
    with (
        jax.set_mesh(mesh),
        saver,
        writers.Writer(
            workdir,
            process_index=jax.process_index(),
            log_to=config.log_to,
            about=about,
            resume_step=step + 1,
        ) as writer,
        writers.Progress(
            total_steps, stage.batch_size, process_index=jax.process_index()
        ) as progress,
        stops.listening(saver.reached_preemption) as stop,
        _closing(batches(step)) as stream,
    ):
        flight = _Flight(writer, config.log_every, rate, on_step)
        while step < end and not stopped:
            with progress.waiting():
                batch = sharding.to_global(mesh, next(stream))
            with jax.transfer_guard("disallow"):
                state, metrics = update(state, batch)
            step += 1
            flight.launched(step, metrics)
            progress.update(step, flight.latest)
            stopped = stop.asked(step)
            last = step == end or stopped
            evaluates = evaluate is not None and (
                step == total_steps or (eval_every and step % eval_every == 0)
            )
            if last or evaluates or step % save_every == 0:
                # Everything up to here is known to be finite before it may replace a checkpoint.
                flight.land()
                with progress.paused():
                    score = fitted = None
                    if (evaluates or step == total_steps) and not stopped:
                        variables = state.variables(averaged=True)
                        if method.fits:
                            fitted = fit(
                                method, variables, parts, data, config.eval_batch_size, mesh
                            )
                            variables["fitted"] = fitted
                        if evaluate is not None and evaluates:
                            numbers, judged_at = evaluate(method, variables), step
                            if numbers:
                                writer.write(step, {f"val/{k}": v for k, v in numbers.items()})
                            score = {best: numbers[best]} if best else None
                    saver.save(state, meta | {"step": step}, score, fitted)
                    saved_at = step
        flight.land()
    finished = step >= total_steps
    if not finished:
        say(f"stopped at step {saved_at} of {total_steps}; the same command goes on from there")
    return Outcome(state, method, finished, saved_at, stop.number, judged_at)


def _fresh(
    state: states.TrainState, stage: Any, name: str, frozen: tuple[str, ...], given: Given
) -> tuple[Any, str]:
    """The state to begin with, and where its weights come from."""
    weights = given() if stage.init_from else {}
    starts.check_frozen(name, stage, frozen, state.params, weights)
    if not stage.init_from:
        return state, "weights as initialised"
    return checkpoint.place(state, weights, stage.init_from)


def _resumed(
    saver: checkpoint.Checkpointer,
    step: int,
    state: states.TrainState,
    meta: dict[str, Any],
    name: str,
    extend: bool,
    workdir: str | os.PathLike[str],
) -> tuple[Any, str]:
    """The state of a checkpoint, when all that its weights depend on is as it was."""
    found = saver.meta(step)
    line = f"resumed from the checkpoint of step {step}"
    changed = identity.changes(identity.of_meta(found, name), meta["identity"])
    if not changed:
        return saver.restore(step, state)[0], line
    length = identity.only_length(changed, name)
    before, now = found.get("total_steps", step), meta["total_steps"]
    if extend and length and now > before:
        return saver.restore(step, state)[0], (
            f"{line}; extended from {before} to {now} steps: the schedule of the learning rate is "
            "drawn anew over all of them, so the result is not that of one training of this length"
        )
    if extend and length:
        advice = f"--extend only lengthens, and {now} steps are not more than {before}"
    elif length:
        advice = "give the former length, or add --extend to train on from there"
    else:
        advice = "a run that goes on must go on as it began: give those again, or another --workdir"
    raise UserError(
        f"{workdir} was trained to step {step} with other settings: {identity.told(changed)}: "
        f"{advice}"
    )


def fit(
    method: methods.Method,
    variables: dict[str, Any],
    parts: Sequence[sources.Source],
    data: Any,
    batch_size: int,
    mesh: jax.sharding.Mesh,
) -> Any:
    """What a method makes of its trained weights: one unaugmented view of each training clip, or
    the views of the evaluation, in the order of the cards, the sources one after another."""
    cfg = data.copy_and_resolve_references()
    if not method.fits_views:
        cfg.views_clips = cfg.views_crops = 1
    found = pipeline.ordered_batches(
        parts,
        cfg=cfg,
        batch_size=batch_size,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )

    def batches() -> Iterator[Any]:
        for source in found:
            with source:
                for batch in source:
                    yield sharding.to_global(mesh, batch)

    return method.fit(variables, batches())


def make_update(
    method: methods.Method,
    tx: optax.GradientTransformation,
    stage: Any,
    seed: int,
    total_steps: int,
    mesh: jax.sharding.Mesh,
    shardings: Any,
) -> Any:
    """The compiled step: `update(state, batch) -> (new state, metrics)`; donates the state.

    Call it inside `jax.set_mesh(mesh)`. Random numbers are folded from (seed, step), so the same
    step of the same seed is the same step on any devices.
    """

    def update(state: states.TrainState, batch: Any) -> tuple[states.TrainState, Any]:
        rng = jax.random.fold_in(jax.random.key(seed), state.step)
        progress = state.step.astype(jnp.float32) / total_steps
        trainable, frozen = optim.split(state.params, method.frozen)

        def loss(trainable, collections, batch, rng):
            params = optim.unflatten({**trainable, **frozen})
            return method.loss({"params": params, **collections}, batch, rng, progress)

        grads, collections, metrics = accumulated(
            loss, trainable, state.collections, batch, rng, stage.accumulate
        )
        with jax.numpy_dtype_promotion("standard"):  # optax mixes step counts with floats
            updates, opt_state = tx.update(grads, state.opt_state, trainable)
        trainable = optax.apply_updates(trainable, updates)
        metrics["grad_norm"] = optax.tree.norm(grads)
        for kind, flat in (("grad", grads), ("update", updates), ("param", trainable)):
            metrics |= {f"{kind}_norm/{part}": norm for part, norm in optim.norms(flat).items()}
        ema = {k: stage.ema * v + (1 - stage.ema) * trainable[k] for k, v in state.ema.items()}
        params = optim.unflatten({**trainable, **frozen})
        new = states.TrainState(state.step + 1, params, collections, opt_state, ema)
        return new, metrics

    return jax.jit(update, donate_argnums=0, out_shardings=(shardings, sharding.replicated(mesh)))


def accumulated(
    loss: Callable[..., tuple[jax.Array, methods.Aux]],
    trainable: optim.Flat,
    collections: Mapping[str, Any],
    batch: Any,
    rng: jax.Array,
    n: int,
) -> tuple[optim.Flat, dict[str, Any], dict[str, jax.Array]]:
    """Gradients, collections and metrics of a batch taken in `n` parts, one after another.

    Example i goes to part i mod n, so that every part is spread over all devices. Gradients and
    metrics are means over the parts; batch statistics and other collections run through them.
    """

    def part(carry: Any, i: Any) -> tuple[Any, Any]:
        grads, stats = carry
        piece = jax.tree.map(lambda x: x.reshape(-1, n, *x.shape[1:])[:, i], batch)
        key = jax.random.fold_in(rng, i)
        (value, aux), new = jax.value_and_grad(loss, has_aux=True)(trainable, stats, piece, key)
        if unknown := aux.collections.keys() - stats.keys():
            raise UserError(
                f"the method's loss gives the collections {', '.join(sorted(unknown))}, which its "
                f"init did not make: it made {', '.join(stats) or 'none'}"
            )
        stats = {**stats, **aux.collections}
        return (jax.tree.map(jnp.add, grads, new), stats), {"loss": value, **aux.metrics}

    carry = (jax.tree.map(jnp.zeros_like, trainable), dict(collections))
    if n == 1:
        (grads, stats), metrics = part(carry, 0)
        return grads, stats, metrics
    if jax.default_backend() == "cpu":
        # A convolution inside a loop loses its threads on the CPU, so the parts are unrolled.
        rows = []
        for i in range(n):
            carry, metrics = part(carry, i)
            rows.append(metrics)
        metrics = jax.tree.map(lambda *x: jnp.stack(x), *rows)
    else:
        carry, metrics = jax.lax.scan(part, carry, jnp.arange(n))
    grads, stats = carry
    grads = jax.tree.map(lambda g: g / n, grads)
    return grads, stats, jax.tree.map(lambda x: x.mean(0), metrics)


class _Flight:
    """The steps that are queued on the devices; each is checked when it lands."""

    def __init__(self, writer: Any, log_every: int, rate: Any, on_step: Any):
        self._queue: collections.deque[tuple[int, Any]] = collections.deque()
        self._writer, self._log_every, self._rate, self._on_step = writer, log_every, rate, on_step
        self.latest: dict[str, float] = {}

    def launched(self, step: int, metrics: Any) -> None:
        self._queue.append((step, metrics))
        while len(self._queue) > MAX_IN_FLIGHT:
            self._land_one()

    def land(self) -> None:
        while self._queue:
            self._land_one()

    def _land_one(self) -> None:
        step, metrics = self._queue.popleft()
        numbers = {k: float(v) for k, v in sharding.to_host(metrics).items()}
        # Norms of parts overflow before anything else does: what is wrong is said by the others.
        bad = [k for k, v in numbers.items() if not math.isfinite(v) and "_norm/" not in k]
        if bad:
            self._writer.write(step, numbers, echo=False)
            raise UserError(
                f"step {step}: {', '.join(f'{k} is {numbers[k]}' for k in bad)}; the run stops and "
                "the last checkpoint is kept: lower optim.lr, set optim.clip, or look at the data "
                "of this step"
            )
        self.latest = {k: v for k, v in numbers.items() if "_norm/" not in k}
        if self._on_step is not None:
            self._on_step(step, numbers)
        if step == 1 or step % self._log_every == 0:
            row = {**numbers, "lr": float(self._rate(step - 1))}
            self._writer.write(step, row, echo=False)


@contextlib.contextmanager
def _closing(data: Any) -> Iterator[Any]:
    """An iterator of batches, its threads stopped at the end."""
    with contextlib.closing(data):
        yield iter(data)


def _count(flat: optim.Flat) -> int:
    return sum(math.prod(v.shape) for v in flat.values())
