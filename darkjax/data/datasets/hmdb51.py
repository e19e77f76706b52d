"""HMDB51, Kuehne et al., ICCV 2011: 51 actions, most of them from films."""

import dataclasses
import pathlib
import re
from typing import ClassVar

from darkjax.data.class_names import HMDB51
from darkjax.data.datasets.listed import Entry, Listed
from darkjax.data.datasets.tree import Tree
from darkjax.errors import UserError

SOURCE = "test_train_splits.rar of serre-lab.clps.brown.edu (HMDB51)"
PARTS = {"0": "other", "1": "train", "2": "test"}
# Which part of the body, camera motion, number of people, viewpoint, quality, number.
TAIL = r"_[a-z]+_(?:cm|nm)_np\d+_[a-z]+_[a-z]+_\d+$"


@dataclasses.dataclass(frozen=True)
class Hmdb51(Listed):
    """6,766 clips, and three splits of 70 training and 30 test clips of each class.

    ```
    root/**/brush_hair_test_split1.txt   April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1
    root/**/brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi
    ```

    A flag 1 is train, 2 test, 0 neither, the part "other" here. The protocols are the splits found,
    "1" to "3". A group is the source film, the name up to the class, in whatever class it is.
    """

    name: str = "hmdb51"
    classes = HMDB51
    columns: ClassVar = {"columns": 2, "last": True}

    def _lists(self, tree: Tree) -> dict[str, dict[str, pathlib.Path]]:
        """{split: {class: its list}}; every class that has one list has them all."""
        found: dict[str, dict[str, pathlib.Path]] = {}
        for k in ("1", "2", "3"):
            paths = {name: tree.named(f"{name}_test_split{k}.txt") for name in HMDB51}
            here = {name: path for name, path in paths.items() if path is not None}
            if here:
                found[k] = here
        if not found:
            raise UserError(
                f"expected the official lists ({HMDB51[0]}_test_split1.txt, …) anywhere under "
                f"{tree.root}; found none: they are in {SOURCE}; clips without lists are read by "
                "--dataset=folder"
            )
        listed_classes = {name for here in found.values() for name in here}
        for k, here in found.items():
            if missing := sorted(listed_classes - here.keys()):
                raise UserError(
                    f"expected {missing[0]}_test_split{k}.txt, as of the other splits; found none "
                    f"under {tree.root}: the lists are in {SOURCE}"
                )
        return found

    def _entry(self, key: str, row: list[str], where: str) -> Entry:
        if row[-1] not in PARTS:
            raise UserError(f"expected a flag 0, 1 or 2; found {row[-1]!r} in {where}")
        return Entry(f"{key}/{row[0]}", HMDB51.index(key), PARTS[row[-1]], where)

    def _group(self, file: str) -> str:
        path = pathlib.PurePosixPath(file)
        return re.sub(f"_{re.escape(path.parent.name)}{TAIL}", "", path.stem)
