"""One folder of videos for each class."""

import dataclasses
import logging
import pathlib

from darkjax.data import folders
from darkjax.data.clip import Clip, deal_folds, printable
from darkjax.data.datasets import lists
from darkjax.data.datasets.files import Files, need_root
from darkjax.errors import UserError

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Folder(Files):
    """One folder per class, or per split and class; InfAR, KTH, UCF and the like.

    `root/CLASS/**/*.mp4` or `root/SPLIT/CLASS/**/*.mp4` with splits called train, val, valid,
    validate, validation or test, in capitals or not (`folders.scan` says what is done with other
    folders and files). Classes are sorted by name, hidden files ignored. A group is the file's
    stem unless `root/groups.csv` (columns path, group, and domain if wanted) says otherwise.
    Training clips are dealt into five folds by group.
    """

    name: str = "folder"
    domain: str = "visible"

    def class_names(self, root: pathlib.Path | None) -> tuple[str, ...]:
        """The names of the class folders, sorted. UserError when there is no video."""
        files = folders.scan(need_root(root, self.name)).files
        return tuple(sorted({name for _, name, _ in files}))

    def clips(self, root: pathlib.Path | None) -> list[Clip]:
        """Every video file, sorted by split, class and path; what is left out is logged."""
        root = need_root(root, self.name)
        files, notes = folders.scan(root)
        for note in notes:
            log.warning("%s: %s", root, note)
        classes = sorted({name for _, name, _ in files})
        table = root / "groups.csv"
        rows = lists.table(table, ("path", "group")) if table.is_file() else None
        groups = None if rows is None else {row["path"]: row for row in rows}
        clips = []
        for split, name, path in files:
            stem = pathlib.PurePosixPath(path).stem
            row = {"group": stem} if groups is None else groups.get(path)
            if row is None:
                raise UserError(
                    f"expected a group for each file; {printable(path)} is not in {table}: add it"
                )
            domain = printable(row.get("domain") or self.domain)
            group = printable(row["group"])
            clips.append(Clip(printable(path), path, classes.index(name), group, split, domain))
        return deal_folds(clips)
