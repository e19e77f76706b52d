"""Balanced sampling: equal turns, every clip in time, a function of (seed, step) alone."""

import collections
import dataclasses
import itertools
import pathlib

import ml_collections
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import Noise, converted

from darkjax.data import balance, sources
from darkjax.data.clip import deal_folds
from darkjax.data.pipeline import mixed_batches, train_batches
from darkjax.data.records import Records
from darkjax.data.sources import Source
from darkjax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Uneven(Noise):
    """24 clips: 15 of "a", 7 of "b", 2 of "c"; the groups of a class have 1 to 8 of them."""

    name: str = "uneven"
    counts: tuple[int, ...] = (15, 7, 2)

    def class_names(self, root: pathlib.Path | None) -> tuple[str, ...]:
        return ("a", "b", "c")

    def clips(self, root):
        labels = [label for label, count in enumerate(self.counts) for _ in range(count)]
        plain = Noise(train=len(labels), test=3).clips(root)
        named = [
            dataclasses.replace(c, label=labels[n], group=f"room{int(np.log2(n % 8 + 1))}")
            if c.split == "train"
            else c
            for n, c in enumerate(plain)
        ]
        return deal_folds(named)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    with Records(converted(tmp_path_factory, Uneven(), shards=2)) as opened:
        yield opened


def _cfg(**changes):
    fields = {"frames": 2, "size": (6, 8), "crop": "centre", "flip": False}
    return ml_collections.ConfigDict(fields | changes)


def _data(**changes):
    fields = {"dir": "", "split": "official", "train_split": "train", "eval_split": "test"}
    fields |= {"fold": 1, "sources": (), "train_views": 1, "balance": "none", "read": "mmap"}
    return ml_collections.ConfigDict(fields | {"check_crc": False} | changes)


def _taken(records, how, steps, batch_size=6, **options):
    rows = records.select("train")
    options = {"cfg": _cfg(), "seed": 3, "num_threads": 0, "balance": how} | options
    with train_batches(records, rows, batch_size=batch_size, **options) as batches:
        return list(itertools.islice(batches, steps))


def _clips(batches):
    return [int(clip) for batch in batches for clip in batch["clip"]]


def _keys(records, clips, *names):
    return [tuple(records.clips[clip][name] for name in names) for clip in clips]


def _spread(counts):
    return max(counts) - min(counts)


LEVELS = {"class": ("label",), "group": ("group",), "class_group": ("label", "group")}


@pytest.mark.parametrize("how", sorted(LEVELS))
def test_each_has_as_many_turns_and_every_clip_is_seen(records, how):
    keys = LEVELS[how]
    rows = _keys(records, records.meta["clip"][records.select("train")], *keys)
    clips = _clips(_taken(records, how, 20))  # five epochs of 24
    first = [key[0] for key in _keys(records, clips, *keys)]
    for epoch in range(5):
        counts = collections.Counter(first[24 * epoch : 24 * (epoch + 1)])
        assert counts.keys() == {key[0] for key in rows} and _spread(counts.values()) <= 2
    for end in range(len({key[0] for key in rows}), len(first)):
        assert _spread(collections.Counter(first[:end]).values()) <= 1
    for own in set(first) if how == "class_group" else ():
        found = [k for k in _keys(records, clips, *keys) if k[0] == own]
        assert _spread(collections.Counter(found).values()) <= 1
        assert set(found) == {k for k in rows if k[0] == own}
    within = collections.defaultdict(list)
    for clip, key in zip(clips, _keys(records, clips, *keys), strict=True):
        within[key].append(clip)
    for key, seen in within.items():  # each clip once before any clip twice
        assert _spread([seen.count(c) for c in set(seen)]) <= 1
        assert len(set(seen)) == min(len(seen), rows.count(key))
    assert set(clips) == set(records.meta["clip"][records.select("train")].tolist())


def test_none_is_the_plain_shuffle(records):
    counts = collections.Counter(
        key for (key,) in _keys(records, _clips(_taken(records, "none", 4)), "label")
    )
    assert counts == {0: 15, 1: 7, 2: 2}


@pytest.mark.parametrize("how", sorted(LEVELS))
def test_a_batch_is_a_function_of_seed_and_step(records, how):
    whole = _clips(_taken(records, how, 9))
    assert _clips(_taken(records, how, 4, start_step=5)) == whole[30:]
    parts = [_taken(records, how, 9, process_index=p, process_count=3) for p in range(3)]
    assert [clip for step in zip(*parts, strict=True) for clip in _clips(step)] == whole
    assert _clips(_taken(records, how, 9, num_threads=2)) == whole
    assert _clips(_taken(records, how, 9, seed=4)) != whole
    assert _clips(_taken(records, how, 9, batch_size=3, cfg=_cfg())) == whole[:27]
    views = _taken(records, how, 9, batch_size=12, cfg=_cfg(train_views=2))
    for step, batch in enumerate(views):
        assert batch["clip"].tolist() == 2 * whole[6 * step : 6 * step + 6]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 7), min_size=1, max_size=5), min_size=1, max_size=6),
    st.integers(0, 2**31 - 1),
    st.integers(0, 300),
)
def test_turns_of_any_tree(sizes, seed, start):
    """Of classes with groups of such sizes: a whole round of each gives each the same."""
    numbers = itertools.count()
    tree = tuple(
        tuple(np.array([next(numbers) for _ in range(n)]) for n in groups) for groups in sizes
    )
    of = {int(row): (c, g) for c, t in enumerate(tree) for g, rows in enumerate(t) for row in rows}
    rounds = int(np.lcm.reduce([len(groups) for groups in sizes]))
    turns = len(sizes) * rounds
    wanted = range(start * turns, (start + 1) * turns)
    found = [of[balance.pick(tree, number, seed)] for number in wanted]
    counts = collections.Counter(found)
    for c, groups in enumerate(sizes):
        assert all(counts[c, g] == rounds // len(groups) for g in range(len(groups)))


def test_orders_differ_between_rounds_classes_and_sources():
    tree = tuple(np.arange(16) + 16 * k for k in range(2))

    def seen(source, first):
        taken = [balance.pick(tree, n, 0, source) for n in range(64)]
        return [row % 16 for row in taken if (row >= 16) == first][:32]

    orders = [seen(s, f)[k : k + 16] for s in (0, 1) for f in (False, True) for k in (0, 16)]
    assert len({tuple(order) for order in orders}) == 8
    assert all(sorted(order) == list(range(16)) for order in orders)


def test_labels_of_an_unlabelled_source_choose_nothing(records):
    """It is balanced by its groups where that is asked for, never by its classes."""
    given = (("", 0.5, True), (str(records.directory), 0.5, False))
    for how, others in (("class", 0), ("class_group", 3), ("group", 3)):
        own, other = sources.of(records, _data(balance=how, sources=given), 6)
        assert len(own.tree) == (3 if how != "group" else 4)
        rooms = {row["group"] for row in records.clips if row["split"] == "train"}
        assert (other.tree is None) if not others else len(other.tree) == len(rooms)
    assert all(s.tree is None for s in sources.of(records, _data(sources=given), 6))


def test_a_small_source_is_balanced_too(records):
    """Fewer clips than its part of a batch: the turns go on within the batch."""
    labels = np.arange(3, dtype=np.int32)
    few = records.select("train")[13:17]  # 2 of "a", 2 of "b"
    parts = (
        Source(records, few, 9, labels, balance.tree(records, few, ("class",))),
        Source(records, records.select("train"), 3, labels),
    )
    seen = collections.Counter()
    with mixed_batches(parts, cfg=_cfg(), seed=0, num_threads=0) as batches:
        for batch in itertools.islice(batches, 3):
            counts = collections.Counter(batch["label"][:9].tolist())
            assert counts.keys() == {0, 1} and _spread(counts.values()) == 1
            seen.update(batch["clip"][:9].tolist())
            assert len(seen) == 4 and _spread(seen.values()) <= 1


def test_an_unknown_way_is_refused(records):
    with pytest.raises(UserError, match=r"balance='classes'.*none, class, group, class_group"):
        _taken(records, "classes", 1)
