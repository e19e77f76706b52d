"""Dark-48, the dataset of DTCM: 48 actions in the dark, from Moments in Time and Kinetics-700."""

import dataclasses
import pathlib
import re
from typing import ClassVar

from darkjax.data.class_names import DARK48
from darkjax.data.datasets import listed, lists
from darkjax.data.datasets.listed import Entry, Listed
from darkjax.data.datasets.tree import Tree

SOURCE = "github.com/yzfly/Dark48, annotations"


@dataclasses.dataclass(frozen=True)
class Dark48(Listed):
    """8,815 clips, and three splits of them.

    ```
    root/**/classInd.txt       0<TAB>adult_female_singing                 (optional)
    root/**/train_split1.txt   bouncing/meGuchxNyKg_106.mp4 6             (also test_split1.txt)
    root/**/bouncing/meGuchxNyKg_106.mp4
    ```

    The lists of `frame_file_list` (path, number of frames, label) are taken too where they are the
    only ones. The protocols are the splits found, "1" to "3". A group is the source video: the name
    without its last number, or the two of Kinetics (`AdBJAjn-yVM_000040_000050`).
    """

    name: str = "dark48"
    domain: str = "dark"
    classes = DARK48
    table = "classInd.txt"
    columns: ClassVar = {"columns": 3, "last": True, "fewer": 2}

    def _lists(self, tree: Tree) -> dict[str, dict[str, pathlib.Path]]:
        return listed.three_splits(tree, "{part}_split{k}.txt", SOURCE)

    def _entry(self, key: str, row: list[str], where: str) -> Entry:
        file = row[0] if len(row) == 2 else f"{row[0]}.mp4"  # a list of frames has no suffixes
        return Entry(file, lists.integer(row[-1], where), key, where)

    def _group(self, file: str) -> str:
        stem = pathlib.PurePosixPath(file).stem
        source = re.sub(r"_\d{6}_\d{6}$", "", stem)
        return source if source != stem else stem.rpartition("_")[0] or stem
