"""ARID, Xu et al., arXiv:2006.03876: eleven actions in the dark."""

import dataclasses
import pathlib
import re
from collections.abc import Iterable

from darkjax.data.clip import Clip, deal_folds, printable
from darkjax.data.datasets import lists
from darkjax.data.datasets.files import Files, need_root
from darkjax.errors import UserError


@dataclasses.dataclass(frozen=True)
class AridEE6222(Files):
    """The course subset of ARID (EE6222): lists, a class table and two folders.

    ```
    root/mapping_table_23.txt   0<TAB>Jump
    root/train.txt              index<TAB>label<TAB>Jump/Jump_11_10.mp4   (under root/train/)
    root/validate.txt           index<TAB>label<TAB>file.mp4              (under root/validate/)
    root/manifest.csv           path,...,session_fold                     (optional)
    ```

    A group is a recording session, the file name without its last number (`Jump_11_10` was cut
    from session `Jump_11`); a file named otherwise is its own group. Folds are the manifest's,
    or else the sessions are dealt into five. The split "validate" is empty when its list or its
    clips are not there.
    """

    name: str = "arid_ee6222"

    def class_names(self, root: pathlib.Path | None) -> tuple[str, ...]:
        """Class names in the order of the table. UserError when it is absent or has gaps."""
        path = need_root(root, self.name) / "mapping_table_23.txt"
        rows = lists.lines(path, 2)
        names = {lists.integer(number, path): printable(name) for number, name in rows}
        if sorted(names) != list(range(len(rows))):
            raise UserError(
                f"expected labels 0 to {len(rows) - 1}, each once; found {sorted(names)} in {path}"
            )
        return tuple(names[label] for label in sorted(names))

    def clips(self, root: pathlib.Path | None) -> list[Clip]:
        """The clips of both lists, in the lists' order, "train" first."""
        root = need_root(root, self.name)
        classes = self.class_names(root)
        clips = self._listed(root, "train", classes)
        if (root / "validate.txt").is_file() and (root / "validate").is_dir():
            clips += self._listed(root, "validate", classes)
        if (root / "manifest.csv").is_file():
            return _manifest_folds(clips, root / "manifest.csv")
        return deal_folds(clips)

    def _listed(self, root: pathlib.Path, split: str, classes: tuple[str, ...]) -> list[Clip]:
        path = root / f"{split}.txt"
        clips = []
        for _, number, file in lists.lines(path, 3):
            label = lists.integer(number, path)
            if not 0 <= label < len(classes):
                raise UserError(
                    f"expected a label from 0 to {len(classes) - 1}; found {label} for {file} "
                    f"in {path}: correct the list or mapping_table_23.txt"
                )
            relative = f"{split}/{file}"
            group = printable(_session(file))
            clips.append(Clip(printable(relative), relative, label, group, split, "dark"))
        return clips


def _session(file: str) -> str:
    stem = pathlib.PurePosixPath(file).stem
    return stem.rpartition("_")[0] if re.fullmatch(r"[A-Za-z]+_\d+_\d+", stem) else stem


def _manifest_folds(clips: Iterable[Clip], path: pathlib.Path) -> list[Clip]:
    rows = lists.table(path, ("path", "session_fold"))
    fold_of = {row["path"]: lists.integer(row["session_fold"], path) for row in rows}
    dealt = []
    for clip in clips:
        if clip.split == "train" and clip.path not in fold_of:
            raise UserError(
                f"expected a fold for each clip of train.txt; {clip.path} is not in {path}: "
                "add it, or remove the file to have folds dealt"
            )
        dealt.append(dataclasses.replace(clip, fold=fold_of.get(clip.path, -1)))
    return dealt
