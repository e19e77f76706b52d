"""Dark-48, the dataset of DTCM: 48 actions in the dark, from Moments in Time and Kinetics-700."""

import dataclasses
import pathlib
import re

from darkjax.data.class_names import DARK48
from darkjax.data.clip import Clip
from darkjax.data.datasets import listed, lists
from darkjax.data.datasets.files import Files, need_root
from darkjax.data.datasets.listed import Entry
from darkjax.data.datasets.tree import Tree

SOURCE = "github.com/yzfly/Dark48, annotations"


@dataclasses.dataclass(frozen=True)
class Dark48(Files):
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

    def class_names(self, root: pathlib.Path | None) -> tuple[str, ...]:
        """The 48 actions. UserError where a `classInd.txt` says otherwise."""
        path = Tree(need_root(root, self.name)).named("classInd.txt")
        return listed.same(path, DARK48)

    def protocols(self, root: pathlib.Path | None) -> tuple[str, ...]:
        """The splits whose lists are there."""
        return tuple(self._lists(Tree(need_root(root, self.name))))

    def clips(self, root: pathlib.Path | None) -> list[Clip]:
        """Every clip of every list. UserError when no list is there, or one is wrong."""
        tree = Tree(need_root(root, self.name))
        found = {
            protocol: [
                Entry(_file(row), lists.integer(row[-1], where), part, where)
                for part, path in parts.items()
                for where, row in lists.rows(path, 3, last=True, fewer=2)
            ]
            for protocol, parts in self._lists(tree).items()
        }
        return listed.clips(tree, found, DARK48, _group, self.domain)

    def _lists(self, tree: Tree) -> dict[str, dict[str, pathlib.Path]]:
        parts = ("train", "test")
        names = {str(k): {p: [f"{p}_split{k}.txt"] for p in parts} for k in (1, 2, 3)}
        return listed.find(tree, names, SOURCE)


def _file(row: list[str]) -> str:
    """A list of frames names the clip without a suffix."""
    return row[0] if len(row) == 2 else f"{row[0]}.mp4"


def _group(file: str) -> str:
    stem = pathlib.PurePosixPath(file).stem
    source = re.sub(r"_\d{6}_\d{6}$", "", stem)
    return source if source != stem else stem.rpartition("_")[0] or stem
