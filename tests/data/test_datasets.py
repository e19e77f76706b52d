"""Every entry of the catalogue: a small copy of its download is listed, converted, trained on."""

import collections
import itertools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trees
from test_split import data_section

from darkjax.data import catalog, split
from darkjax.data.catalog import DATASETS, get_dataset
from darkjax.data.convert import convert
from darkjax.data.pipeline import train_batches
from darkjax.data.records import Records
from darkjax.tools import check_data

CLASSES = 160  # one step for all: as many outputs as the entry with the most classes needs
VIEW = types.SimpleNamespace(
    frames=4, stride=1, sampling="dense", size=(24, 32), crop="random", scale=(1.0, 1.0),
    centre=(), flip=True, train_views=1, views_clips=1, views_crops=1,
)  # fmt: skip


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    return trees.Clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture
def make(tmp_path, clips):
    """A function from an entry's name to what its copy under `tmp_path / "raw"` must be."""

    def of(name):
        numbers = itertools.count()
        (tmp_path / "raw").mkdir(exist_ok=True)
        return trees.TREES[name](tmp_path / "raw", lambda path: clips.put(next(numbers), path))

    return of


@jax.jit
def step(weights, video, label):
    """One step of a linear classifier of the mean frame."""

    def loss(weights):
        seen = video.astype(jnp.float32).mean(1).reshape(video.shape[0], -1) / jnp.float32(255)
        logits = jax.nn.log_softmax(seen @ weights)
        return -jnp.take_along_axis(logits, label[:, None], 1).mean()

    value, gradient = jax.value_and_grad(loss)(weights)
    return weights - jnp.float32(0.01) * gradient, value


def test_every_entry_has_a_tree():
    drawn_or_older = {"arid_ee6222", "images", "synthetic"}  # tests of their own
    assert set(trees.TREES) | drawn_or_older == set(DATASETS)


@pytest.mark.parametrize("name", trees.TREES)
def test_listed_converted_checked_and_trained_on(name, make, tmp_path, caplog):
    expected = make(name)
    dataset = get_dataset(name, **expected.options)
    raw = tmp_path / "raw"
    clips = dataset.clips(raw)
    assert len(clips) == expected.clips and len(dataset.class_names(raw)) == expected.classes
    assert len(caplog.records) == expected.notes, caplog.text
    protocols = catalog.protocols_of(dataset, raw)
    found = collections.Counter(
        (p, part)
        for clip in clips
        for p, part in zip(protocols or [""], clip.assigned or [clip.split], strict=True)
    )
    assert found == expected.sizes
    assert {clip.id: clip.group for clip in clips if clip.id in expected.groups} == expected.groups
    pool = [clip for clip in clips if clip.split in ("all", "train")]
    assert all(1 <= clip.fold <= 5 for clip in pool)

    card = convert(dataset, tmp_path / "out", raw=raw)
    assert not card["bad"] and len(card["clips"]) == expected.clips
    with Records(tmp_path / "out") as records:
        faults = check_data.check(records)["faults"]
        assert all("official" in fault for fault in faults), faults  # few clips, and no other
        official = ("", "test") in found or bool(protocols)
        fields = {"split": "official" if official else "fold", "fold": pool[0].fold}
        train, held, where = split.rows(records, data_section(**fields))
        assert where.startswith(f"{name}-{protocols[0]}-test" if protocols else name)
        assert not set(train) & set(held)
        with train_batches(records, train, cfg=VIEW, seed=0, batch_size=2) as batches:
            batch = next(batches)
        before = jnp.zeros((24 * 32 * 3, CLASSES), jnp.float32)
        after, loss = step(before, batch["video"], batch["label"])
        assert np.isclose(loss, np.log(CLASSES)) and not np.array_equal(before, after)
    assert step._cache_size() == 1  # compiled once for all entries
