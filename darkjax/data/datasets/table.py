"""A table of clips: what is in no known layout, and long videos that are cut."""

from __future__ import annotations

import dataclasses
import logging
import math
import pathlib
from collections.abc import Mapping, Sequence

from darkjax.data.clip import Clip, deal_folds, printable
from darkjax.data.datasets import lists
from darkjax.data.datasets.files import Files, need_root
from darkjax.errors import UserError

log = logging.getLogger(__name__)
COLUMNS = ("path", "label")


@dataclasses.dataclass(frozen=True)
class Table(Files):
    """The clips of a comma-separated table with a header.

    ```
    path,label,start,end,group,split
    kitchen/monday.mp4,pour,12.5,17,anna,train
    kitchen/monday.mp4,drink,17,,anna,train
    ```

    `path` is relative to the root and `label` a class name. `start` and `end` are seconds, empty
    for the video's own. A `group` that is empty is the video, so that cuts of one video stay on one
    side; a `split` that is empty is "train"; `domain` may be a column too. The clips of "train" are
    dealt into five folds by group.

    Attributes:
      table: the file; None is `clips.csv` in the root.
      classes_file: class names in label order, one a line; None: the labels, sorted.
    """

    name: str = "csv"
    domain: str = "visible"
    table: str | None = dataclasses.field(default=None, repr=False)  # the clips say what it said
    classes_file: str | None = dataclasses.field(default=None, repr=False)

    def class_names(self, root: pathlib.Path | None) -> tuple[str, ...]:
        """Of `classes_file`, or the labels, sorted."""
        path, rows = self._rows(root)
        return self._classes(rows, path)

    def clips(self, root: pathlib.Path | None) -> list[Clip]:
        """A clip for each row, in the table's order. UserError says which row is wrong."""
        root = need_root(root, self.name)
        path, rows = self._rows(root)
        number = {name: label for label, name in enumerate(self._classes(rows, path))}
        made: dict[str, Clip] = {}
        for at, row in enumerate(rows, 1):
            clip = self._clip(row, number, f"{path}, row {at}", path)
            if clip.id in made:
                raise UserError(
                    f"expected each clip once; found {clip.id} again in {path}, row {at}"
                )
            made[clip.id] = clip
        missing = sorted({clip.path for clip in made.values() if not (root / clip.path).is_file()})
        if missing:
            told = f"{len(missing)} of the videos, as {printable(missing[0])}"
            if len(missing) == len({clip.path for clip in made.values()}):
                raise UserError(f"expected the videos of {path} in {root}; found none of {told}")
            log.warning("%s: in the table and not there: %s: bad clips", root, told)
        return deal_folds(list(made.values()))

    def _rows(self, root: pathlib.Path | None) -> tuple[pathlib.Path, list[dict[str, str]]]:
        if self.table is None:
            path = need_root(root, self.name) / "clips.csv"
        else:
            path = pathlib.Path(self.table)
        if not path.is_file():
            raise UserError(
                f"expected a table with the columns {', '.join(COLUMNS)} at {path}; found none: "
                "give its file with --table"
            )
        rows = lists.table(path, COLUMNS, once="")
        if not rows:
            raise UserError(f"expected at least one clip in {path}; found none")
        return path, rows

    def _classes(self, rows: Sequence[Mapping[str, str]], path: pathlib.Path) -> tuple[str, ...]:
        if self.classes_file is not None:
            return lists.classes(pathlib.Path(self.classes_file))
        return tuple(sorted({printable(row["label"].strip()) for row in rows}))

    def _clip(
        self, row: Mapping[str, str], number: Mapping[str, int], where: str, path: pathlib.Path
    ) -> Clip:
        file, name = row["path"].strip(), printable(row["label"].strip())
        if not file or not name:
            raise UserError(f"expected a path and a label; found {file!r} and {name!r} in {where}")
        if name not in number:
            raise UserError(
                f"expected a class of {self.classes_file}; found the label {name!r} in {where}"
            )
        start, end = (_seconds(row.get(column, ""), column, where) for column in ("start", "end"))
        if end is not None and end <= (start or 0.0):
            raise UserError(f"expected start before end; found {start} and {end} in {where}")
        cut = "" if start is end is None else f"@{_told(start)}-{_told(end)}"
        return Clip(
            id=printable(file) + cut,
            path=file,
            label=number[name],
            group=printable(row.get("group", "").strip() or file),
            split=lists.split(row.get("split", "").strip() or "train", path),
            domain=printable(row.get("domain", "").strip()) or self.domain,
            start=start,
            end=end,
        )


def _seconds(text: str, column: str, where: str) -> float | None:
    if not text.strip():
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < 1e9:
        raise UserError(f"expected seconds in the column {column}; found {text!r} in {where}")
    return seconds


def _told(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:g}"
