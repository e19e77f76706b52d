"""Points of a sweep that Optuna draws instead of a grid [Akiba et al. 2019, arXiv:1907.10902].

Tree-structured Parzen estimators, whose randomness is folded from the number of the trial: what is
drawn is a function of what was found before, so that a search that was stopped and goes on draws
what it would have drawn. The study is `study.db` (SQLite) in the sweep's folder.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from darkjax import config as configs
from darkjax import judge
from darkjax.errors import UserError
from darkjax.sweeps import plan, running

NAME, FILE = "sweep", "study.db"
NOTE = (
    "The points were chosen by the numbers above, so the best of them is too good: judge it on "
    "clips that chose nothing (another split, darkjax.tools.evaluate)."
)
KINDS = "log:LOW,HIGH, float:LOW,HIGH, int:LOW,HIGH or choice:VALUE,VALUE"


class Space(NamedTuple):
    """What is searched.

    Attributes:
      config: one `FILE:words`, in a list.
      fields: set in all runs.
      search: `FIELD=KIND:VALUES`.
      repeated: of every point, as `plan.cells` takes it; a trial's value is the mean over them.
      metric: of `results.json`.
    """

    config: Sequence[str]
    fields: plan.Fields
    search: Sequence[str]
    repeated: Mapping[str, Sequence[str]]
    metric: str

    def said(self) -> dict[str, str]:
        """By flag, what a study must not change."""
        own = {f"--config.{field}": text for field, text in self.fields}
        again = {f"--{flag}": ",".join(values) for flag, values in self.repeated.items()}
        searched = {f"--search {s.partition('=')[0]}": s.partition("=")[2] for s in self.search}
        return {"--config": self.config[0], "--metric": self.metric, **own, **again, **searched}


class Range(NamedTuple):
    """A field and what is drawn for it."""

    field: str
    kind: str
    values: list[str]

    def drawn(self, trial: Any) -> str:
        """A value as text, numbers with four digits."""
        if self.kind == "choice":
            return str(trial.suggest_categorical(self.field, self.values))
        if self.kind == "int":
            return str(trial.suggest_int(self.field, *map(int, self.values)))
        low, high = map(float, self.values)
        value = trial.suggest_float(self.field, low, high, log=self.kind == "log")
        return repr(float(f"{value:.4g}"))


def run(
    space: Space, trials: int, workdir: pathlib.Path, jobs: int, gpus: Sequence[str] = ()
) -> tuple[list[running.Outcome], int | None]:
    """Go on until the study has so many trials; the outcomes of all of their runs, and the signal
    that ended it early. A trial with a failed run has failed and is not tried again.

    Raises:
      UserError: Optuna is not installed, a range is none, or the study was begun otherwise.
    """
    optuna = _optuna()
    if not space.search or trials < 1 or len(space.config) != 1:
        raise UserError(
            "--search: expected one --config, one range or more, and --trials=1 or more"
        )
    config = configs.load(space.config[0], space.fields)
    ranges = [range_of(text, config) for text in space.search]
    made = _made(space)  # every field and repetition, checked before anything is drawn
    repetitions = len(made([(r.field, r.values[0]) for r in ranges]))
    study = _study(optuna, space, workdir)
    outcomes: dict[int, list[running.Outcome]] = {}
    for old in study.trials:  # all runs that are there, also of failed trials
        if len(old.params) == len(ranges) and old.state.is_finished():
            outcomes[old.number] = [running.outcome(c, workdir) for c in made(_kept(old, ranges))]
    ended = None
    while ended is None:
        pending = [t for t in study.trials if not t.state.is_finished()]
        points = {t.number: _kept(t, ranges) for t in pending if len(t.params) == len(ranges)}
        for cut in (t for t in pending if t.number not in points):  # killed between two draws
            study.tell(cut.number, state=optuna.trial.TrialState.FAIL)
        while len(study.trials) < trials and len(points) < max(1, jobs // repetitions):
            study.sampler = optuna.samplers.TPESampler(seed=len(study.trials))
            trial = study.ask()
            points[trial.number] = [(r.field, r.drawn(trial)) for r in ranges]
        if not points:
            break
        cells = {number: made(point) for number, point in points.items()}
        every = list({cell.name: cell for own in cells.values() for cell in own}.values())
        found, ended = running.run(every, workdir, jobs, gpus)
        by_name = {one.cell.name: one for one in found}
        for number, own in cells.items():
            outcomes[number] = [by_name[cell.name] for cell in own]
            _tell(optuna, study, number, outcomes[number], space.metric)
    told = {one.cell.name: one for number in sorted(outcomes) for one in outcomes[number]}
    return list(told.values()), ended


def _made(space: Space) -> Any:
    """From the texts of a point's fields to its runs."""
    again = plan.cells(space.config, space.fields, (), space.repeated)

    def cells(point: Sequence[tuple[str, str]]) -> list[plan.Cell]:
        return [plan.checked(cell._replace(point=tuple(point))) for cell in again]

    return cells


def _kept(trial: Any, ranges: Sequence[Range]) -> list[tuple[str, str]]:
    """What was drawn for a trial earlier."""
    found = []
    for own in ranges:
        value = trial.params[own.field]
        text = repr(float(f"{value:.4g}")) if isinstance(value, float) else str(value)
        found.append((own.field, text))
    return found


def _tell(optuna: Any, study: Any, number: int, runs: Sequence[running.Outcome], name: str) -> None:
    """What a trial gave, once all its runs have ended."""
    if any(one.error for one in runs):
        study.tell(number, state=optuna.trial.TrialState.FAIL)
    elif all(one.results for one in runs):
        numbers = [one.results["numbers"] for one in runs]
        if any(name not in own for own in numbers):
            raise UserError(f"--metric={name}: the runs have {', '.join(numbers[0])}")
        value = sum(own[name] for own in numbers) / len(numbers)
        study.tell(number, value)
        print(f"trial {number}: {name} {value:.4f}; best so far {study.best_value:.4f}", flush=True)


def _study(optuna: Any, space: Space, workdir: pathlib.Path) -> Any:
    """The study in the folder, begun where there is none."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    workdir.mkdir(parents=True, exist_ok=True)
    path = workdir / FILE
    rising = any(
        space.metric.startswith(n.rstrip("5")) for up, _ in judge.NUMBERS.values() for n in up
    )
    try:
        study = optuna.create_study(
            storage=f"sqlite:///{path.absolute()}",
            study_name=NAME,
            direction="maximize" if rising else "minimize",
            load_if_exists=True,
        )
    except Exception as e:  # SQLAlchemy's own: not a database, a full disk
        raise UserError(
            f"{path} cannot be opened ({type(e).__name__}): move it away, or give another --workdir"
        ) from e
    said, before = space.said(), json.loads(study.user_attrs.get("said", "null"))
    for flag in {**said, **(before or said)}:
        was, now = (before or said).get(flag), said.get(flag)
        if was != now:
            raise UserError(
                f"{path} was begun with {flag}={was or 'none'}, now {now or 'none'}: give another "
                "--workdir, or what it was begun with"
            )
    study.set_user_attr("said", json.dumps(said))
    return study


def range_of(text: str, config: Any) -> Range:
    """Of `FIELD=KIND:VALUES`.

    Raises:
      UserError: it is none.
    """
    field, equals, rest = text.partition("=")
    kind, colon, values = rest.partition(":")
    listed = plan.listed(values) if equals and colon and values else []
    try:
        numbers = [(int if kind == "int" else float)(v) for v in listed if kind != "choice"]
    except ValueError:
        numbers = []
    ordered = len(numbers) == len(listed) == 2 and numbers[0] < numbers[1]
    fits = ordered and (kind != "log" or numbers[0] > 0)
    if kind not in ("log", "float", "int", "choice") or not (fits or (kind == "choice" and listed)):
        raise UserError(f"--search {text}: expected FIELD={KINDS}, as optim.lr=log:1e-4,1e-2")
    return Range(plan.whole(field, config), kind, listed)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise UserError(
            "--search needs Optuna, which is not installed: pip install 'darkjax[sweep]'"
        ) from None
    return optuna
