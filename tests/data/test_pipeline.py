"""Batches: a pure function of (seed, step), whoever reads them."""

import collections
import itertools

import ml_collections
import numpy as np
import pytest
from tiny import Noise, converted

from darkjax.data import pipeline
from darkjax.data.convert import convert
from darkjax.data.pipeline import eval_batches, train_batches
from darkjax.data.records import Records
from darkjax.data.resize import resize_clip
from darkjax.data.views import ViewConfig
from darkjax.errors import UserError

DATASET = Noise(train=22, test=5)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    with Records(converted(tmp_path_factory, DATASET, shards=2)) as opened:
        yield opened


def _cfg(**changes):
    cfg = ml_collections.ConfigDict(
        {
            "frames": 4,
            "stride": 1,
            "sampling": "dense",
            "size": (6, 8),
            "crop": "random",
            "scale": (0.3, 1.0),
            "flip": True,
            "views_clips": 1,
            "views_crops": 1,
        }
    )
    cfg.update(changes)
    return cfg.lock()


def _take(records, count, *, cfg=None, rows=None, **options):
    rows = records.select("train") if rows is None else rows
    options = {"cfg": cfg or _cfg(), "seed": 3, "batch_size": 6} | options
    with train_batches(records, rows, **options) as batches:
        return list(itertools.islice(batches, count))


def _same(a, b):
    assert len(a) == len(b)
    for one, other in zip(a, b, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key], err_msg=key)


def test_shapes_and_types(records):
    (batch,) = _take(records, 1)
    assert {k: (v.dtype.name, v.shape) for k, v in batch.items()} == {
        "video": ("uint8", (6, 4, 6, 8, 3)),
        "label": ("int32", (6,)),
        "clip": ("int32", (6,)),
        "view": ("int32", (6,)),
        "domain": ("int32", (6,)),
        "mask": ("float32", (6,)),
    }
    assert (batch["mask"] == 1).all() and (batch["view"] == 0).all()
    for k, clip in enumerate(batch["clip"]):
        row = records.clips[clip]
        assert batch["label"][k] == row["label"] and row["split"] == "train"
        assert records.domains[batch["domain"][k]] == row["domain"]


def test_every_view_is_a_window_of_its_clip(records):
    flips = collections.Counter()
    for batch in _take(records, 4):
        for video, clip in zip(batch["video"], batch["clip"], strict=True):
            truth = DATASET.frames(int(clip))
            found = [
                (t, y, x, flip)
                for t in range(len(truth) - 3)
                for y in range(5)
                for x in range(5)
                for flip in (1, -1)
                if np.array_equal(video[:, :, ::flip], truth[t : t + 4, y : y + 6, x : x + 8])
            ]
            assert len(found) == 1
            flips[found[0][-1]] += 1
    assert flips[1] > 4 and flips[-1] > 4  # 24 fair coins: fails by chance once in 700


def test_an_epoch_sees_every_clip_once(records):
    rows = records.select("train")
    epochs = [
        np.concatenate([b["clip"] for b in _take(records, 3, start_step=3 * epoch)])
        for epoch in range(3)
    ]
    for clips in epochs:
        assert len(set(clips.tolist())) == 18  # 22 less the remainder of 4
    assert not np.array_equal(epochs[0], epochs[1])
    whole = np.concatenate([b["clip"] for b in _take(records, 2, batch_size=11)])
    assert sorted(whole.tolist()) == records.meta["clip"][rows].tolist()


def test_augmentation_differs_between_epochs_and_seeds(records):
    rows = records.select("train")[:1]
    videos = [b["video"] for b in _take(records, 6, rows=rows, batch_size=1)]
    videos += [_take(records, 1, rows=rows, batch_size=1, seed=4)[0]["video"]]
    assert len({v.tobytes() for v in videos}) >= 6


def test_resume(records):
    whole = _take(records, 9)
    for start in (1, 4, 7):
        _same(_take(records, 9 - start, start_step=start), whole[start:])


@pytest.mark.parametrize("count", [2, 3])
def test_processes_share_the_same_global_batches(records, count):
    whole = _take(records, 5)
    parts = [_take(records, 5, process_index=p, process_count=count) for p in range(count)]
    for step, batch in enumerate(whole):
        for key, value in batch.items():
            together = np.concatenate([part[step][key] for part in parts])
            np.testing.assert_array_equal(together, value)


def test_threads_and_workers_change_nothing(records):
    plain = _take(records, 4, num_threads=0)
    _same(_take(records, 4, num_threads=3), plain)
    _same(_take(records, 4, num_threads=0, workers=1), plain)


def test_workers_run_without_absl(records, monkeypatch):
    from absl import flags

    fresh = flags.FlagValues()
    monkeypatch.setattr(flags, "FLAGS", fresh)
    assert not fresh.is_parsed()
    pipeline._allow_workers()
    assert fresh.is_parsed()


def test_read_ahead_is_small_and_explicit(monkeypatch, records):
    import grain

    given = []
    options = grain.ReadOptions
    monkeypatch.setattr(grain, "ReadOptions", lambda **k: given.append(k) or options(**k))
    _take(records, 1)
    assert given == [{"num_threads": 2, "prefetch_buffer_size": 4}]


def test_close(records):
    batches = train_batches(
        records, records.select("train"), cfg=_cfg(), seed=0, batch_size=2, num_threads=2
    )
    next(batches)
    batches.close()
    batches.close()
    with pytest.raises(ValueError, match="closed"):
        next(batches)


def test_resized_crops(records):
    cfg = _cfg(crop="resized", size=(20, 24), scale=(0.5, 1.0))  # larger than the frames
    (batch,) = _take(records, 1, cfg=cfg)
    assert batch["video"].shape == (6, 4, 20, 24, 3)
    full = _cfg(crop="resized", size=(5, 6), scale=(1.0, 1.0), flip=False)
    with eval_batches(records, records.select("test"), cfg=full, batch_size=5) as batches:
        video = next(batches)["video"][0]
    # 5 frames of 10x12: the whole frame has the aspect of 5x6, the middle 4 frames begin at 1
    np.testing.assert_array_equal(video, resize_clip(DATASET.frames(100)[1:], (5, 6)))


def test_centre_and_segments(records):
    cfg = _cfg(crop="centre", sampling="segments", flip=False, frames=3)
    (batch,) = _take(records, 1, cfg=cfg)
    for video, clip in zip(batch["video"], batch["clip"], strict=True):
        truth = DATASET.frames(int(clip))[:, 2:8, 2:10]
        numbers = [np.flatnonzero([np.array_equal(f, t) for t in truth])[0] for f in video]
        edges = np.arange(4) * len(truth) / 3
        for k, number in enumerate(numbers):
            assert np.floor(edges[k]) <= number < np.ceil(edges[k + 1])


@pytest.mark.parametrize(("clips", "crops"), [(1, 1), (2, 3), (1, 10)])
def test_evaluation_sees_every_view_once(records, clips, crops):
    rows = records.select("test")
    cfg = _cfg(views_clips=clips, views_crops=crops)
    with eval_batches(records, rows, cfg=cfg, batch_size=4) as batches:
        found = list(batches)
    views = clips * crops
    assert len(found) == -(-5 * views // 4)
    merged = {k: np.concatenate([b[k] for b in found]) for k in found[0]}
    real = merged["mask"] == 1
    assert real.sum() == 5 * views and set(merged["mask"].tolist()) <= {0.0, 1.0}
    assert merged["clip"][real].tolist() == [c for c in range(22, 27) for _ in range(views)]
    assert merged["view"][real].tolist() == list(range(views)) * 5
    assert not real[5 * views :].any() and (merged["video"][~real] == 0).all()
    assert (merged["clip"][~real] == -1).all() and (merged["label"][~real] == 0).all()
    centre = DATASET.frames(100)  # 5 frames of 10x12; the middle clip of 4 starts at frame 1
    if views == 1:
        np.testing.assert_array_equal(merged["video"][0], centre[1:5, 2:8, 2:10])
    if (clips, crops) == (2, 3):
        np.testing.assert_array_equal(merged["video"][0], centre[0:4, 2:8, 0:8])
        np.testing.assert_array_equal(merged["video"][5], centre[1:5, 2:8, 4:12])
    if crops == 10:
        np.testing.assert_array_equal(merged["video"][5], merged["video"][0][:, :, ::-1])


def test_views_without_overlap_are_as_many_as_a_clip_has_room_for(records):
    """Clips of 5 to 9 frames, 2 at a time and 5 crops: from 2 to 4 in time."""
    rows = records.select("test")
    cfg = _cfg(views_clips=0, views_crops=5, frames=2)
    with eval_batches(records, rows, cfg=cfg, batch_size=8) as batches:
        found = list(batches)
    merged = {k: np.concatenate([b[k] for b in found]) for k in found[0]}
    real = merged["mask"] == 1
    counts = [5 * (n // 2) for n in (5, 6, 7, 8, 9)]
    assert len(real) == -(-sum(counts) // 8) * 8
    assert merged["clip"][real].tolist() == np.repeat(range(22, 27), counts).tolist()
    assert merged["view"][real].tolist() == [v for n in counts for v in range(n)]
    last = DATASET.frames(104)[6:8, 2:8, 2:10]  # its fourth pair, the middle
    np.testing.assert_array_equal(merged["video"][real][-1], last)
    with pytest.raises(UserError, match=r"views_clips=0.*needs sampling='dense'"):
        ViewConfig.of(_cfg(views_clips=0, sampling="segments"))
    halves = []
    for part in (0, 1):
        with eval_batches(
            records, rows, cfg=cfg, batch_size=8, process_index=part, process_count=2
        ) as batches:
            halves.append([batch["video"] for batch in batches])
    for whole, *parts in zip(found, *halves, strict=True):
        np.testing.assert_array_equal(whole["video"], np.concatenate(parts))


@pytest.mark.parametrize("crop", ["random", "centre", "resized"])
def test_the_centre_alone_is_looked_at(tmp_path, crop):
    """Frames that are black but for the middle: no view shows anything else."""

    class Rim(Noise):
        def load(self, clip, root, **options):
            video = super().load(clip, root, **options)
            frames = np.zeros_like(video.frames)
            frames[:, 1:9, 2:10] = 200
            return video._replace(frames=frames)

    convert(Rim(train=8, test=2), tmp_path)
    cfg = _cfg(centre=(8, 8), size=(6, 6), crop=crop)
    with Records(tmp_path) as opened:
        with train_batches(
            opened, opened.select("train"), cfg=cfg, seed=0, batch_size=4
        ) as batches:
            assert (next(batches)["video"] == 200).all()
        with eval_batches(opened, opened.select("test"), cfg=cfg, batch_size=2) as batches:
            assert (next(batches)["video"] == 200).all()
    if crop != "resized":
        with pytest.raises(UserError, match=r"centre \(5, 8\) to hold the size \(6, 6\)"):
            ViewConfig.of(_cfg(centre=(5, 8), size=(6, 6), crop=crop))


def test_evaluation_on_processes(records):
    rows = records.select("test")
    cfg = _cfg(views_crops=3)
    options = {"cfg": cfg, "batch_size": 8}
    with eval_batches(records, rows, **options) as batches:
        whole = list(batches)
    parts = []
    for process in range(4):
        with eval_batches(
            records, rows, process_index=process, process_count=4, num_threads=0, **options
        ) as batches:
            parts.append(list(batches))
    assert {len(part) for part in parts} == {2}
    for step, batch in enumerate(whole):
        for key, value in batch.items():
            joined = np.concatenate([part[step][key] for part in parts])
            np.testing.assert_array_equal(joined, value)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({}, {"batch_size": 30}, "at least 30 clips for one batch; found 22"),
        ({}, {"batch_size": 5, "process_count": 2}, "2 processes can share equally; found 5"),
        ({}, {"process_index": 2, "process_count": 2}, "process_index < process_count"),
        ({}, {"rows": []}, "found none selected"),
        ({"size": (11, 8)}, {}, r"at least 11×8 pixels to crop; found 10×12 in clip clip0"),
        (
            {"crop": "center"},
            {},
            "expected crop out of random, resized, corners, centre; found 'center'",
        ),
        ({"sampling": "tsn"}, {}, "expected sampling out of dense, segments"),
        ({"frames": 0}, {}, "frames of at least 1"),
        ({"scale": (0.5, 2.0)}, {}, "scale"),
        ({"views_crops": 4}, {}, "views_crops out of 1, 3, 5, 10"),
    ],
)
def test_refused(records, changes, options, message):
    with pytest.raises(UserError, match=message):
        _take(records, 1, cfg=_cfg(**changes), **options)


def test_config_needs_frames_and_size(records):
    with pytest.raises(UserError, match="expected the field frames"):
        _take(records, 1, cfg=ml_collections.ConfigDict({"size": (6, 8)}))
