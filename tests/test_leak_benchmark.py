"""`benchmarks/leak.py`: a split by chance pretends what a split by groups does not."""

import numpy as np
from data.tiny import Noise, noise

from darkjax.data.convert import convert
from darkjax.data.decode import Video


class Rooms(Noise):
    """A clip is its group's room and a little noise; groups are of one class."""

    def load(self, clip, root, **options):
        group = int(clip.group.strip("groupthe"))
        room = np.repeat(noise(group, (1, 20, 25, 3)), 3, 0)
        return Video(room // 2 + noise(1000 + clip.seed, room.shape) // 8, 25.0)

    def clips(self, root):
        return [
            type(c)(c.id, "", c.seed % 40 // 4 % 2, f"group{c.seed % 40 // 4}", "train", "dark",
                    seed=c.seed)
            for c in super().clips(root)
        ]  # fmt: skip


def test_rendered_sessions_are_recognised_under_a_split_by_chance_alone(bench):
    clips = bench.rendered(per_session=6, frames=4, height=32, seed=1)
    said, chance, groups = bench.table(clips, 1)
    assert chance > groups + 0.15 and groups < 0.25, said
    assert "180 clips of 6 classes (chance 0.167)" in said and "30 groups, 30 of them" in said


def test_records_of_rooms(bench, tmp_path, capsys):
    convert(Rooms(train=40, test=0), tmp_path)
    assert bench.main([f"--records={tmp_path}"]) == 0
    by = {line[:9]: line.split()[2:] for line in capsys.readouterr().out.splitlines()}
    assert by["by chance"] == ["1.000"] * 3
    assert float(by["by groups"][0]) < 0.75  # chance is 0.5


def test_folds(bench):
    labels = np.array([0] * 11 + [1] * 7)
    folds = bench.by_chance(labels, 0)
    counts = np.array([[(folds[labels == c] == f).sum() for f in range(1, 6)] for c in (0, 1)])
    assert (np.ptp(counts, 1) == 1).all() and counts.sum() == 18
    assert not np.array_equal(bench.by_chance(labels, 1), folds)
    groups = np.arange(18) // 3
    together = bench.dealt(labels, groups)
    assert all(len(set(together[groups == g])) == 1 for g in groups)


def test_nothing_to_compare_is_a_users_error(bench, tmp_path, capsys):
    assert bench.main([f"--records={tmp_path}"]) == 2
    assert "error: expected a converted dataset" in capsys.readouterr().err
    convert(Rooms(train=4, test=0), tmp_path / "one")
    assert bench.main([f"--records={tmp_path / 'one'}"]) == 2
    assert "at least 2 groups in 2 folds; found 1" in capsys.readouterr().err
