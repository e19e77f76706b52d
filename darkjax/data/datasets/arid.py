"""ARID, Xu et al., arXiv:2006.03876: eleven actions in the dark."""

import dataclasses
import pathlib
import re
from collections.abc import Iterable
from typing import ClassVar

from darkjax.data.class_names import ARID11
from darkjax.data.clip import Clip, deal_folds, printable
from darkjax.data.datasets import listed, lists
from darkjax.data.datasets.files import Files, need_root
from darkjax.data.datasets.listed import Entry, Listed
from darkjax.data.datasets.tree import Tree
from darkjax.errors import UserError

WHERE = "github.com/xuyu0010/ARID_v1, dataset/ARID/raw/list_cvt"


@dataclasses.dataclass(frozen=True)
class Arid(Listed):
    """ARID v1.0: 3,784 clips of eleven actions, and three splits of them.

    ```
    root/**/ARID_split1_train.txt   index<TAB>label<TAB>Drink/Drink_11_1.avi   (also _test, _other)
    root/**/mapping_table.txt       0<TAB>Drink   (optional)
    root/**/Drink/Drink_11_1.avi    (or .mp4, as it is distributed)
    ```

    The lists come from the authors' code, not with the videos; put them anywhere below the root.
    The protocols are the splits found, "1" to "3", with the parts train, test and other. A group is
    a recording session of a class, the name without its last number: 18 scenes were recorded, and
    the official splits have clips of the same session on both sides. That is how the published
    numbers were made, so it is kept, and said when a run begins.
    """

    name: str = "arid"
    domain: str = "dark"
    classes = ARID11
    table = "mapping_table.txt"
    columns: ClassVar = {"columns": 3}

    def _lists(self, tree: Tree) -> dict[str, dict[str, pathlib.Path]]:
        names = {"train": ("train",), "test": ("test",), "other": ("other", "others")}
        return listed.find(
            tree,
            {
                str(k): {part: [f"ARID_split{k}_{n}.txt" for n in names[part]] for part in names}
                for k in (1, 2, 3)
            },
            WHERE,
        )

    def _entry(self, key: str, row: list[str], where: str) -> Entry:
        return Entry(row[2], lists.integer(row[1], where), key, where)

    def _group(self, file: str) -> str:
        return session(file)


@dataclasses.dataclass(frozen=True)
class AridUG2(Files):
    """The dark videos of UG2+ 2021, track 2.1: six of ARID's actions.

    ```
    root/**/ARID1.1_t1_train_pub.csv   VideoID,Video,ClassID    0,Wave/Wave_10_1.mp4,10
    root/**/Wave/Wave_10_1.mp4
    ```

    ClassID counts ARID's classes, 5 to 10; labels are 0 to 5 here. The labels of the validation and
    test clips were never published (the test list has dummies), so only "train" is converted, with
    folds of recording sessions.
    """

    name: str = "arid_ug2"
    domain: str = "dark"

    def class_names(self, root: pathlib.Path | None) -> tuple[str, ...]:
        """Run, Sit, Stand, Turn, Walk, Wave."""
        return ARID11[5:]

    def clips(self, root: pathlib.Path | None) -> list[Clip]:
        """The training clips. UserError when the list is missing or wrong."""
        tree = Tree(need_root(root, self.name))
        path = listed.find(tree, {"": {"train": ["ARID1.1_t1_train_pub.csv"]}}, UG2)[""]["train"]
        rows = lists.table(path, ("Video", "ClassID"), once="Video")
        entries = [
            Entry(row["Video"], lists.integer(row["ClassID"], path) - 5, "train", str(path))
            for row in rows
        ]
        return listed.clips(tree, {"": entries}, ARID11[5:], session, self.domain)


UG2 = "github.com/xuyu0010/ARID_UG2_2.1, dataset/ARID/raw/list_cvt"


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
            group = printable(session(file))
            clips.append(Clip(printable(relative), relative, label, group, split, "dark"))
        return clips


def session(file: str) -> str:
    """The recording session of an ARID file: `Jump_11` of `Jump_11_10.mp4`; else its stem."""
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
