"""UCF101, Soomro et al., arXiv:1212.0402: 101 actions from YouTube."""

import dataclasses
import pathlib
import re
from typing import ClassVar

from darkjax.data.class_names import UCF101
from darkjax.data.datasets import listed, lists
from darkjax.data.datasets.listed import Entry, Listed
from darkjax.data.datasets.tree import Tree
from darkjax.errors import UserError

SOURCE = "UCF101TrainTestSplits-RecognitionTask.zip of crcv.ucf.edu/data/UCF101.php"


@dataclasses.dataclass(frozen=True)
class Ucf101(Listed):
    """13,320 clips, and three splits that keep groups whole.

    ```
    root/**/classInd.txt      1 ApplyEyeMakeup                                    (optional)
    root/**/trainlist01.txt   ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1
    root/**/testlist01.txt    ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi         (no label)
    root/**/ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi
    ```

    The protocols are the splits found, "1" to "3". A group is one of the 25 that a class has
    (`v_ApplyEyeMakeup_g08`): clips of one source video.
    """

    name: str = "ucf101"
    classes = UCF101
    table = "classInd.txt"
    columns: ClassVar = {"columns": 2, "last": True, "fewer": 1}

    def _lists(self, tree: Tree) -> dict[str, dict[str, pathlib.Path]]:
        return listed.three_splits(tree, "{part}list0{k}.txt", SOURCE)

    def _entry(self, key: str, row: list[str], where: str) -> Entry:
        folder = pathlib.PurePosixPath(row[0]).parent.name
        if folder not in UCF101:
            raise UserError(
                f"expected CLASS/FILE of a class of UCF101; found {row[0]!r} in {where}"
            )
        label = lists.integer(row[1], where) - 1 if len(row) > 1 else UCF101.index(folder)
        return Entry(row[0], label, key, where)

    def _group(self, file: str) -> str:
        return re.sub(r"_c\d+$", "", pathlib.PurePosixPath(file).stem)
