"""The conversion as a Beam pipeline: the same bytes, whatever happens to a worker or to all."""

import dataclasses
import pathlib
import signal
import subprocess
import sys

import pytest
from test_stopping import FLAGS, files, reference, stopped  # noqa: F401
from tiny import Noise, converted

from darkjax.data import beam as ours
from darkjax.data import shards
from darkjax.data.convert import convert, main
from darkjax.errors import UserError

# Beam warns of packages of its own that are old or absent.
pytestmark = pytest.mark.filterwarnings("ignore")
DATASET = Noise(train=8, test=4, bad=(5,))
DIRECT = "--runner=DirectRunner"


@pytest.fixture
def direct():
    return pytest.importorskip("apache_beam", reason="Apache Beam is not installed")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return files(converted(tmp_path_factory, DATASET, shards=3, max_bad_fraction=1))


@dataclasses.dataclass(frozen=True)
class Stubborn(Noise):
    """Noise one clip of which is no bad file but a failure, until there is a file `mended`."""

    train: int = 8
    test: int = 4
    bad: tuple[int, ...] = (5,)
    mended: str = ""
    failure: type[Exception] = OSError

    def __repr__(self):
        return repr(DATASET)

    def load(self, clip, root, **options):
        if clip.seed == 2 and not pathlib.Path(self.mended).exists():
            raise self.failure(28, "No space left on device")
        return super().load(clip, root, **options)


# ---------------------------------------------------------------- the pipeline


def test_the_same_bytes(direct, tmp_path, plain):
    card = convert(DATASET, tmp_path, shards=3, max_bad_fraction=1, runner="DirectRunner")
    assert files(tmp_path) == plain and len(card["bad"]) == 1
    convert(
        DATASET, tmp_path, shards=3, max_bad_fraction=1, runner="DirectRunner"
    )  # nothing is left to do
    assert files(tmp_path) == plain


def test_many_machines_give_their_parts(direct, tmp_path, plain):
    parts = {"shards": 3, "max_bad_fraction": 1, "shard_count": 2, "runner": "DirectRunner"}
    assert convert(DATASET, tmp_path, shard_index=0, **parts) is None
    assert convert(DATASET, tmp_path, shard_index=1, **parts) is not None
    assert files(tmp_path) == plain


def test_paths_do_not_depend_on_where_a_worker_starts(direct, tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(direct, "Create", lambda jobs: given.extend(jobs) or direct.Impulse())
    monkeypatch.setattr(ours, "write", _elsewhere)
    monkeypatch.chdir(tmp_path)
    relative = dataclasses.replace(_job(pathlib.Path("out"), 1), root=pathlib.Path("raw"))
    with pytest.raises(UserError):
        ours.run([relative], "DirectRunner")
    assert [(job.out, job.root) for job in given] == [(tmp_path / "out", tmp_path / "raw")]


@pytest.mark.parametrize("failure", [OSError, RuntimeError])
def test_an_error_in_a_worker(direct, tmp_path, plain, failure):
    dataset = Stubborn(mended=str(tmp_path / "mended"), failure=failure)
    out = tmp_path / "out"
    with pytest.raises(UserError) as error:
        convert(dataset, out, shards=3, max_bad_fraction=1, runner="DirectRunner")
    said = str(error.value)
    assert "No space left on device" in said and "run the same command again" in said
    assert "\n" not in said and "while running" not in said
    assert ("could not write" in said) == (failure is OSError)
    assert not (out / "card.json").exists() and not list(out.glob("*.part-*"))
    (tmp_path / "mended").touch()
    convert(dataset, out, shards=3, max_bad_fraction=1, runner="DirectRunner")
    assert files(out) == plain


def test_a_shard_that_another_worker_wrote_is_left_alone(direct, tmp_path, monkeypatch):
    convert(DATASET, tmp_path, shards=3, max_bad_fraction=1)
    report = tmp_path / "noise-train-00001-of-00003.json"
    job = _job(tmp_path, 1)
    assert job.report == report
    monkeypatch.setattr(shards, "write", None)
    assert ours.write(job) == "noise-train-00001-of-00003.tfrecord"


def test_a_worker_without_the_folders(direct, tmp_path):
    """What a machine of a cluster without the shared folder would do: nothing is listed as bad."""
    job = dataclasses.replace(_job(tmp_path, 1), root=tmp_path / "raw")
    with pytest.raises(UserError, match=f"expected the folder --raw={tmp_path}/raw on each worker"):
        ours.write(job)
    with pytest.raises(UserError, match="could not write"):
        ours.write(_job(tmp_path / "not mounted", 1))


def test_workers_that_wrote_elsewhere(direct, tmp_path, monkeypatch):
    monkeypatch.setattr(ours, "write", _elsewhere)
    with pytest.raises(UserError, match="must be one folder that this machine and all workers"):
        convert(DATASET, tmp_path, shards=3, max_bad_fraction=1, runner="DirectRunner")


def _elsewhere(job):
    return job.shard.name


def _job(out, number):
    from darkjax.data import convert as module

    clips = DATASET.clips(None)
    jobs = module._plan(DATASET, None, out, clips, ("a", "b"), shards.Settings(), 3)
    return next(job for job in jobs if (job.split, job.number) == ("train", number))


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_pipeline_is_taken_up_by_the_same_command(
    direct,
    reference,  # noqa: F811
    tmp_path,
    sign,
):
    command = [sys.executable, "-m", "darkjax.data.convert", *FLAGS, DIRECT]
    for attempt in range(5):
        out = tmp_path / f"out{attempt}"
        status, _, before = stopped(out, 0, sign, command=command)
        if len(before) < 4:
            break
    assert 1 <= len(before) < 4 and not (out / "card.json").exists()
    assert status == (-9 if sign == signal.SIGKILL else 128 + sign)
    done = subprocess.run([*command, f"--out={out}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert files(out) == reference


@pytest.mark.slow
def test_two_worker_processes(direct, reference, tmp_path):  # noqa: F811
    flags = ["--direct_num_workers=2", "--direct_running_mode=multi_processing"]
    command = [sys.executable, "-m", "darkjax.data.convert", *FLAGS, DIRECT, f"--out={tmp_path}"]
    done = subprocess.run([*command, "--", *flags], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert files(tmp_path) == reference


# ---------------------------------------------------------------- the command line


def test_errors_of_the_command_line(tmp_path, capsys, monkeypatch):
    command = ["--dataset=synthetic", f"--out={tmp_path}"]
    assert main([*command, "--", "--direct_num_workers=2"]) == 2
    assert "give --runner too" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    assert main([*command, DIRECT]) == 2
    assert "needs Apache Beam: pip install 'darkjax[beam]'" in capsys.readouterr().err


def test_an_unknown_runner_is_one_line(direct, tmp_path):
    with pytest.raises(UserError, match=r"pipeline of NoRunner failed: .*NoRunner") as error:
        convert(DATASET, tmp_path, shards=3, max_bad_fraction=1, runner="NoRunner")
    assert "\n" not in str(error.value)


def test_what_a_distant_runner_tells_of_a_users_error():
    text = (
        "Pipeline failed in state FAILED: bundle_5. Original traceback is\\nTraceback (most recent "
        'call last):\\n  File "shards.py", line 2\\ndarkjax.errors.UserError: could not write '
        "/x/a.tfrecord: No space left: run the same command again; finished shards are kept "
        "[while running 'write-ptransform-32']\\n\\nDuring handling of …"
    )
    assert ours._told(RuntimeError(text), "FlinkRunner") == (
        "could not write /x/a.tfrecord: No space left: run the same command again; finished "
        "shards are kept"
    )
