"""What is read of a checkpoint, and what damage to its files does."""

import json
import pathlib
import shutil
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from darkjax import checkpoint, checkpoint_steps
from darkjax.errors import UserError
from darkjax.state import TrainState
from darkjax.tools import describe as tool


def state(step):
    w = jnp.arange(6, dtype=jnp.float32).reshape(2, 3) + step
    flat = {"a/w": w}
    return TrainState(
        step=jnp.asarray(step, jnp.int32),
        params={"a": {"w": w}, "b": w[0].astype(jnp.bfloat16)},
        collections={"batch_stats": {"bn": {"mean": w[1] / 7}}},
        opt_state=optax.adamw(1e-3).init(flat),
        ema={"a/w": w + 0.5},
    )


def meta(step):
    return {"step": step, "seed": 7, "data": "digest", "config": {"size": [1, 2]}}


def save(folder, scores, best="top-1"):
    """Steps 1, 2, … with these values of the metric; None has none."""
    with checkpoint.Checkpointer(folder, best) as saver:
        for step, score in enumerate(scores, start=1):
            metrics = None if score is None else {"top-1": score}
            saver.save(state(step), meta(step), metrics)


def resume(folder):
    """As a run does: (step, state, meta, lines), and the next step is saved."""
    with checkpoint.Checkpointer(folder, "top-1") as saver:
        step = saver.latest()
        found, said = saver.restore(step, state(0))
        saver.save(state(step + 1), meta(step + 1))
        return step, found, said, saver.lines


def same(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(np.asarray(x), np.asarray(y)), a, b)


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def flip(path, bit):
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Steps 1 (the best), 2 and 3 (the latest)."""
    folder = tmp_path_factory.mktemp("kept")
    save(folder, (0.9, 0.5, 0.6))
    return folder


@pytest.fixture
def copy(kept, tmp_path):
    return shutil.copytree(kept, tmp_path / "copy")


def falls_back(folder, bad=3, step=2):
    """The run goes on from the step before, bit for bit, and says in one line why."""
    before = files(folder / str(bad)) if (folder / str(bad)).is_dir() else None
    found_step, found, said, lines = resume(folder)
    assert found_step == step and said == meta(step)
    same(found, state(step))
    assert len(lines) == 1 and "\n" not in lines[0]
    assert f"{folder / str(bad)} is damaged (" in lines[0]
    assert f"set aside as {bad}.damaged, step {step} is taken" in lines[0]
    if before is not None:
        assert files(folder / f"{bad}.damaged") == before  # nothing is deleted
    assert (folder / str(step + 1) / "state").is_dir()
    return lines[0]


def test_the_last_two_and_the_best_are_kept_each_with_checksums(tmp_path):
    save(tmp_path, (0.9, 0.5, 0.6, 0.7, None))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "4", "5"]
    for step in ("1", "4", "5"):
        listed = json.loads((tmp_path / step / "checksums.json").read_text())["files"]
        assert set(files(tmp_path / step)) - set(listed) == {"checksums.json"}
    step, found, said, lines = resume(tmp_path)
    assert step == 5 and said == meta(5) and lines == ()
    same(found, state(5))


def test_what_a_killed_process_left_half_written_goes(copy):
    half = copy / f"4{checkpoint_steps.HALF}-123"
    shutil.copytree(copy / "3", half)
    (copy / "mine.orbax-notes").mkdir()  # hers stays
    step, found, _, lines = resume(copy)
    assert step == 3 and not lines and not half.exists() and (copy / "mine.orbax-notes").exists()
    same(found, state(3))
    assert checkpoint_steps.HALF == ocp.utils.TMP_DIR_SUFFIX  # orbax's name for it


def test_meta_and_shapes_are_those_of_the_variables(kept):
    best, latest = (checkpoint.read_meta(kept, which) for which in ("best", "latest"))
    assert (best, latest) == (meta(1), meta(3))
    variables = checkpoint.load_variables(kept)
    expected = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), variables)
    assert checkpoint.shapes(kept) == expected
    np.testing.assert_array_equal(variables["params"]["a"]["w"], state(1).ema["a/w"])


def test_shapes_need_no_array_to_be_opened(kept, tmp_path, monkeypatch):
    """orbax opens each of them for it: seconds of a network with a thousand."""
    opened = checkpoint._flat(checkpoint._metadata(kept / "3" / "state"))
    known = checkpoint._stored(kept / "3")
    assert {k: (x.shape, x.dtype) for k, x in opened.items()} == {
        k: (x.shape, x.dtype) for k, x in known.items()
    }
    monkeypatch.setattr(checkpoint, "_metadata", None)
    assert checkpoint.shapes(kept)["params"]["b"].dtype == jnp.bfloat16
    same(checkpoint.load_variables(kept, "latest")["params"]["a"], {"w": state(3).ema["a/w"]})
    resume(shutil.copytree(kept, tmp_path / "resumed"))


def test_a_flipped_bit_in_any_file_is_noticed(copy):
    rng = np.random.default_rng(0)
    names = files(copy / "3")
    assert len(names) > 15 and "meta/metadata" in names
    for name in names:
        path = copy / "3" / name
        for bit in rng.integers(8 * path.stat().st_size, size=5):
            flip(path, int(bit))
            found = checkpoint_steps.look(copy / "3")
            assert found.state == "damaged" and name in found.why
            flip(path, int(bit))
    assert checkpoint_steps.look(copy / "3").state == "whole"


@pytest.mark.slow
def test_two_hundred_flipped_bits_are_noticed(kept, tmp_path, capfd):
    rng = np.random.default_rng(1)
    names = files(kept / "3")
    sizes = np.array([(kept / "3" / n).stat().st_size for n in names])
    for number in range(200):
        # Half by size, half by file: small files matter as much as the arrays.
        weights = sizes / sizes.sum() if number % 2 else np.full(len(names), 1 / len(names))
        name = names[rng.choice(len(names), p=weights)]
        folder = shutil.copytree(kept, tmp_path / str(number))
        flip(folder / "3" / name, int(rng.integers(8 * (folder / "3" / name).stat().st_size)))
        assert name in falls_back(folder)
        assert "Traceback" not in "".join(capfd.readouterr())
        shutil.rmtree(folder)


def arrays(step):
    """The largest file of arrays."""
    return max(step.glob("state/**/d/*"), key=lambda p: p.stat().st_size)


DAMAGE = {
    "arrays cut": lambda s: arrays(s).write_bytes(arrays(s).read_bytes()[:-7]),
    "arrays empty": lambda s: arrays(s).write_bytes(b""),
    "arrays longer": lambda s: arrays(s).write_bytes(arrays(s).read_bytes() + b"\0"),
    "a file deleted": lambda s: arrays(s).unlink(),
    "a bit flipped": lambda s: flip(arrays(s), 100),
    "a bit of meta flipped": lambda s: flip(s / "meta/metadata", 80),
    "a file is a folder": lambda s: ((s / "meta/metadata").unlink(), (s / "meta/metadata").mkdir()),
    "no manifest": lambda s: (s / "state/manifest.ocdbt").unlink(),
    "no meta": lambda s: shutil.rmtree(s / "meta"),
    "no state": lambda s: shutil.rmtree(s / "state"),
    "no metric": lambda s: shutil.rmtree(s / "metrics"),
    "no checksums": lambda s: (s / "checksums.json").unlink(),
    "checksums empty": lambda s: (s / "checksums.json").write_text(""),
    "checksums of nothing": lambda s: (s / "checksums.json").write_text("{}"),
    "no step metadata": lambda s: (s / "_CHECKPOINT_METADATA").unlink(),
    "not committed": lambda s: (s / "commit_success.txt").unlink(),
    "empty folder": lambda s: (shutil.rmtree(s), s.mkdir()),
    "a file": lambda s: (shutil.rmtree(s), s.write_text("12")),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_latest_is_set_aside_and_the_one_before_is_taken(copy, name, capfd):
    DAMAGE[name](copy / "3")
    falls_back(copy)
    assert "Traceback" not in "".join(capfd.readouterr())


def test_two_damaged_leave_the_best(copy):
    DAMAGE["arrays cut"](copy / "3")
    DAMAGE["no meta"](copy / "2")
    (copy / "2.damaged").mkdir()  # of an earlier time
    with checkpoint.Checkpointer(copy, "top-1") as saver:
        assert saver.latest() == 1
        assert len(saver.lines) == 2
        assert "set aside as 3.damaged, step 1 is taken" in saver.lines[0]
        assert "set aside as 2.damaged-2, step 1 is taken" in saver.lines[1]
    assert resume(copy)[3] == ()  # said once


def test_none_whole_is_one_line_and_nothing_is_renamed(copy):
    for step in "123":
        DAMAGE["arrays cut"](copy / step)
    before = files(copy)
    for read in (
        resume,
        checkpoint.load_variables,
        lambda folder: checkpoint.load_variables(folder, "latest"),
        checkpoint.read_meta,
        checkpoint.shapes,
    ):
        with pytest.raises(UserError, match=r"bytes, .* were written") as e:
            read(copy)
        assert "\n" not in str(e.value)
    with pytest.raises(UserError, match=r"no checkpoint in .* is whole \(1: .*2: .*3: "):
        resume(copy)
    assert files(copy) == before


def test_reading_the_latest_takes_the_one_before_and_says_so(copy, capsys):
    DAMAGE["arrays cut"](copy / "3")
    before = files(copy)
    found = checkpoint.load_variables(copy, "latest")
    np.testing.assert_array_equal(found["params"]["a"]["w"], state(2).ema["a/w"])
    (line,) = capsys.readouterr().out.splitlines()
    assert "3 is damaged (state/" in line and "step 2 is taken" in line
    assert checkpoint.read_meta(copy, "latest") == meta(2)
    assert files(copy) == before  # a reader changes nothing


def test_a_damaged_best_is_never_replaced_by_itself(copy, capsys):
    best = DAMAGE["arrays cut"]
    best(copy / "1")
    for read in (checkpoint.load_variables, checkpoint.read_meta, checkpoint.shapes):
        with pytest.raises(UserError, match=r"1 is damaged \(state/.*rename it to 1\.damaged"):
            read(copy)
    (copy / "1").rename(copy / "1.damaged")
    found = checkpoint.load_variables(copy)
    np.testing.assert_array_equal(found["params"]["a"]["w"], state(3).ema["a/w"])
    assert "1.damaged" in capsys.readouterr().out
    (copy / "2.damaged").mkdir()  # step 2 was written anew since: nothing to say of it
    checkpoint.load_variables(copy)
    assert "2.damaged" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["no metric", "empty folder", "no checksums", "a file"])
def test_which_is_best_is_not_guessed(copy, name):
    DAMAGE[name](copy / "1")
    with pytest.raises(UserError, match=r"1 is damaged .*best cannot be told"):
        checkpoint.load_variables(copy)


def test_damage_to_another_than_the_best_does_not_stop_its_reader(copy):
    DAMAGE["arrays cut"](copy / "3")
    found = checkpoint.load_variables(copy)
    np.testing.assert_array_equal(found["params"]["a"]["w"], state(1).ema["a/w"])


def as_of_old(folder):
    """What was written before there were checksums."""
    for step in "123":
        (folder / step / "checksums.json").unlink()
        path = folder / step / "_CHECKPOINT_METADATA"
        old = json.loads(path.read_text())
        path.write_text(json.dumps({**old, "custom_metadata": {}}))


def test_checkpoints_without_checksums_are_read_with_a_line(copy, capsys):
    as_of_old(copy)
    found = checkpoint.load_variables(copy)
    np.testing.assert_array_equal(found["params"]["a"]["w"], state(1).ema["a/w"])
    assert "1 carries no checksums: it could not be verified" in capsys.readouterr().out
    step, found, said, lines = resume(copy)
    assert step == 3 and said == meta(3) and len(lines) == 1
    assert "3 carries no checksums: it could not be verified" in lines[0]
    same(found, state(3))


@pytest.mark.parametrize("name", ["arrays cut", "no manifest", "no meta", "no state", "a file"])
def test_checkpoints_without_checksums_that_cannot_be_read_are_set_aside(copy, name, capfd):
    as_of_old(copy)
    DAMAGE[name](copy / "3")
    step, found, said, lines = resume(copy)
    assert step == 2 and said == meta(2) and len(lines) == 2
    assert "set aside as 3.damaged, step 2 is taken" in lines[0] and "no checksums" in lines[1]
    same(found, state(2))
    assert "Traceback" not in "".join(capfd.readouterr())


def test_describe_verifies(copy, capsys):
    def describe(folder):
        code = tool.main([f"--checkpoint={folder}"])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err

    stage = copy.parent
    copy.rename(stage / "checkpoints")
    steps = stage / "checkpoints"
    for folder, expected in ((stage, "123"), (steps, "123"), (steps / "2", "2")):
        code, lines, _ = describe(folder)
        assert code == 0
        assert [line.split(", ")[0] for line in lines] == [f"{steps / s}: whole" for s in expected]
    flip(steps / "2/meta/metadata", 80)
    code, lines, _ = describe(stage)
    assert code == 1 and lines[1].startswith(f"{steps / '2'}: damaged, meta/metadata is not what")
    assert lines[3].startswith("1 of 3 damaged")
    as_of_old(steps)
    assert describe(steps / "1")[1][0].startswith(f"{steps / '1'}: unverified")
    code, lines, err = describe(stage / "nothing")
    assert (code, lines) == (2, []) and err.startswith("error: --checkpoint=")


def test_two_processes_take_the_same_one(tmp_path):
    with socket.socket() as s:
        s.bind(("localhost", 0))
        port = s.getsockname()[1]
    here, folder = pathlib.Path(__file__).parent, tmp_path / "checkpoints"
    command = [sys.executable, str(here / "two_readers.py"), str(port)]
    logs = [open(tmp_path / f"{p}.log", "w+") for p in range(2)]  # noqa: SIM115
    pair = [
        subprocess.Popen([*command, str(p), str(folder)], stdout=log, stderr=log, cwd=here)
        for p, log in enumerate(logs)
    ]
    codes = [process.wait(timeout=240) for process in pair]
    texts = []
    for log in logs:
        log.seek(0)
        texts.append(log.read())
        log.close()
    assert codes == [0, 0], "\n".join(texts)[-3000:]
    for first, text in zip((2.0, 6.0), texts, strict=True):
        assert f"TAKEN 2 2 {[[first, first + 1], [first + 2, first + 3]]}" in text
        assert f"LINE the checkpoint {folder / '3'} is damaged (state/ocdbt.process_1/d/" in text
        assert f"ERROR no checkpoint in {folder} is whole (2: meta/metadata has" in text
    assert sorted(p.name for p in folder.iterdir()) == ["2", "3.damaged"]


def old_layout(folder, step, found):
    """A checkpoint as the first version wrote them: batch statistics beside the parameters."""
    tree = {name: getattr(found, name) for name in ("step", "params", "opt_state", "ema")}
    tree["batch_stats"] = found.collections["batch_stats"]
    with ocp.CheckpointManager(folder.absolute()) as manager:
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(tree), meta=ocp.args.JsonSave(meta(step))
        )
        manager.save(step, args=items)


def test_checkpoints_of_the_first_version_are_read(tmp_path):
    old_layout(tmp_path / "old", 3, state(3))
    save(tmp_path / "new", [None, None, None])
    step, found, _, _ = resume(tmp_path / "old")
    assert step == 3
    same(found, state(3))
    old_layout(tmp_path / "again", 3, state(3))
    same(*(checkpoint.load_variables(tmp_path / f) for f in ("again", "new")))
    assert checkpoint.shapes(tmp_path / "again") == checkpoint.shapes(tmp_path / "new")


def test_every_collection_and_what_was_fitted_come_back(tmp_path):
    queue = {"keys": jnp.arange(6, dtype=jnp.float32), "next": jnp.asarray(2, jnp.int32)}
    full = state(1).replace(collections={**state(1).collections, "queue": queue})
    fitted = {"codes": np.ones((3, 2), np.float32), "label": np.asarray([0, 2, 1], np.int32)}
    with checkpoint.Checkpointer(tmp_path) as saver:
        saver.save(full, meta(1), fitted=fitted)
        saver.wait()
        same(saver.restore(1, full)[0], full)
        with pytest.raises(UserError, match="arrays differ, first collections/queue/"):
            saver.restore(1, state(1))
    found = checkpoint.load_variables(tmp_path)
    assert set(found) == {"params", "batch_stats", "queue", "fitted"}
    same(found["queue"], queue)
    same(found["fitted"], fitted)
    (damaged,) = (tmp_path / "1" / "fitted").glob("manifest.ocdbt")
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"fitted/manifest\.ocdbt"):
        checkpoint.load_variables(tmp_path)


def test_what_is_divided_among_devices_is_kept_whole(tmp_path):
    """And read back to another number of them."""
    mesh = jax.make_mesh((2, 4), ("data", "model"))
    split, copied = (jax.sharding.NamedSharding(mesh, jax.P(*a)) for a in ((None, "model"), ()))
    w = np.arange(24, dtype=np.float32).reshape(3, 8)
    placed = {"split": jax.device_put(w, split), "copied": jax.device_put(w + 1, copied)}
    full = state(1).replace(params=placed)
    alone = state(1).replace(params={"split": jnp.zeros((3, 8)), "copied": jnp.zeros((3, 8))})
    with checkpoint.Checkpointer(tmp_path) as saver:
        saver.save(full, meta(1))
        saver.wait()
        for like in (full, alone):
            found = saver.restore(1, like)[0].params
            same(found, {"split": w, "copied": w + 1})
            assert found["split"].sharding.is_equivalent_to(like.params["split"].sharding, 2)


def test_a_part_without_statistics_is_a_part(tmp_path):
    """Of a method of several networks some have none: the names of all are there."""
    bare = state(1).replace(collections={"batch_stats": {"features": {}}})
    with checkpoint.Checkpointer(tmp_path) as saver:
        saver.save(bare, meta(1))
    assert checkpoint.load_variables(tmp_path)["batch_stats"] == {"features": {}}
    (tmp_path / "1" / "arrays" / "metadata").unlink()
    assert checkpoint._parts(tmp_path / "1")["collections"] == {"batch_stats": {"features": {}}}
