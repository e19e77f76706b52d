"""The zoo by a word: every network is a config that can be built, from nothing or from weights."""

import itertools
import os

import both_orders
import jax
import ml_collections
import pytest
import tiny_run
import tiny_zoo

from darkjax import config as configs
from darkjax import experiment, preflight, run_data, sharding, spec
from darkjax.errors import UserError
from darkjax.weights import preprocess, zoo

SMALL = ("demo", "arid6")
# Of each network: frames, stride, height and width of its clips, as it was published.
CLIPS = {
    "c3d": (16, 1, 112),
    "r3d50": (16, 1, 112),
    "resnext101": (64, 1, 112),
    "r2plus1d34": (32, 1, 112),
    "i3d": (64, 1, 224),
    "s3d": (128, 2, 224),
    "p3d199": (16, 1, 160),
    "slowfast_r50_8x8": (32, 2, 224),
    "tsn_resnet50": (8, 1, 224),
    "tsm_resnet50": (8, 8, 224),
    "vit_b16": (8, 8, 224),
    "timesformer_b": (8, 32, 224),
    "swin3d_b": (32, 2, 224),
    "mvit_b_16x4": (16, 4, 224),
    "r2plus1d34_bert": (64, 1, 112),
}


def load(*words):
    return configs.load(f"{tiny_run.ROOT}/configs/supervised.py:{','.join(words)}")


def refused(pair):
    """Whether two words make no sense together; written apart from the config's own table."""
    two = set(pair)
    networks = two & set(zoo.NAMES)
    return (
        len(networks) == 2
        or two == set(SMALL)
        or ("pretrained" in two and bool(two & {"c3d", *SMALL}))
    )


def pairs():
    others = (*SMALL, "pretrained")
    yield from itertools.combinations(others, 2)
    yield from itertools.product(zoo.NAMES, others)
    yield from (("r3d18", "i3d"), ("vit_b16", "vit_b16_miil"))


def traced(c, classes):
    names = [str(k) for k in range(classes)]
    preflight.build(c, "classifier", spec.bare(c, "classifier", names))


@pytest.mark.parametrize("pair", list(pairs()), ids=",".join)
def test_every_pair_is_one_config_in_both_orders_or_is_refused_by_name(pair):
    both_orders.agree(load, pair, refused(pair))


def test_a_word_means_the_same_beside_any_other():
    assert load().to_json_best_effort() == load("r3d18").to_json_best_effort()
    assert load("demo").to_json_best_effort() == load("demo", "r3d18").to_json_best_effort()
    for name in zoo.NAMES:
        assert load(name).classifier.model.to_dict() == {"name": name}
        assert load(name, "demo").data.synthetic is not None
        assert load(name, "arid6").data.split == "fold"
    for name in set(zoo.NAMES) - {"c3d"}:
        c = configs.resolve(load(name, "pretrained"))
        assert c.classifier.init_from == ((f"weights/{name}", r"(?!head/)(.*)", r"\1"),)
        assert (c.classifier.mean, c.classifier.std) == ("weights", "weights")


def test_a_network_that_is_not_there_is_answered_with_the_nearest():
    with pytest.raises(UserError, match=r"'r3d19' is not one of .*: did you mean 'r3d18'"):
        load("r3d19", "demo")


@pytest.mark.parametrize("name", CLIPS)
def test_clips_are_those_of_the_publication(name):
    data = load(name).data
    assert (data.frames, data.stride, *data.size) == (*CLIPS[name], CLIPS[name][2])


def test_frames_are_normalised_as_the_publication_did():
    def levels(name):
        s = load(name).classifier
        return pytest.approx(s.mean), pytest.approx(s.std)

    assert levels("r3d18_tv") == ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))
    assert levels("i3d") == ((0.5,) * 3, (0.5,) * 3)
    # Frames of 0 to 255, from which the mean is taken and nothing divided.
    assert levels("resnext101") == ((114.7748 / 255, 107.7354 / 255, 99.475 / 255), (1 / 255,) * 3)
    assert levels("r3d18") == ((0.4345, 0.4051, 0.3775), (0.2768, 0.2713, 0.2737))  # of 2020
    assert (load("c3d").classifier.mean, load("c3d").classifier.std) == ((), ())  # BGR


def first_of_each_family():
    """Every network; tests/models traces them too, so most take their time."""
    firsts = ("r3d18", "r2plus1d18", "c3d", "vit")
    return [
        name if name in firsts else pytest.param(name, marks=pytest.mark.slow) for name in zoo.NAMES
    ]


@pytest.mark.parametrize("name", first_of_each_family())
def test_every_small_network_can_be_trained_as_the_demo_does(name):
    """Initialisation and loss are traced with the shapes of the demo's batches."""
    traced(configs.resolve(load(name, "demo")), 6)


@pytest.mark.slow
@pytest.mark.parametrize("name", zoo.NAMES)
def test_every_network_can_be_trained_on_its_own_clips(name):
    for words in ((name,), (name, "arid6")):
        c = configs.resolve(load(*words))
        c.classifier.batch_size = 2
        traced(c, 11)


# ---- end to end ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A folder with `weights/r3d18`, converted from a tiny file of that family."""
    return tiny_zoo.published(tmp_path_factory.mktemp("published"), "r3d18")


def shrunk(records, *words, **model):
    """The config of these words with tiny clips and a tiny network."""
    c = load(*words)
    tiny = tiny_run.config(records)
    for field in ("dir", "synthetic", "num_classes"):
        c.data[field] = tiny.data[field]
    c.data.size, c.data.frames, c.data.stride, c.data.views_crops = (16, 16), 4, 1, 1
    c.eval_batch_size, c.report_clips, c.log_every = 8, 2, 1
    s = c.classifier
    with c.unlocked():
        s.model = ml_collections.ConfigDict(model)
    s.batch_size, s.steps, s.eval_every, s.optim.warmup_steps, s.augment.affine.p = 8, 2, 0, 0, 0.0
    return c


def run_to_the_end(c, work):
    found = experiment.run(c, str(work))
    assert found["numbers"]["n"] > 0 and os.path.exists(work / "classifier" / "done.json")


@pytest.mark.slow  # a stage that begins from weights: tests/test_starts.py
def test_from_converted_weights_to_the_end(
    tiny_folder, tmp_path, published, monkeypatch, capsys, one_device
):
    monkeypatch.chdir(published)
    model = dict(tiny_zoo.TINY["tiny"].model)
    c = shrunk(tiny_folder, "r3d18", "pretrained", **model)
    settled = preprocess.settle(configs.resolve(c)).classifier
    assert settled.mean == pytest.approx([114.7748 / 255, 107.7354 / 255, 99.475 / 255])
    run_to_the_end(c, tmp_path)
    assert "weights/r3d18: tiny, trained on" in capsys.readouterr().out


@pytest.mark.slow
def test_from_nothing_to_the_end(tiny_folder, tmp_path):
    model = tiny_zoo.TINY["tiny2d"].model
    run_to_the_end(shrunk(tiny_folder, "tsn_resnet50", "demo", **model), tmp_path)


def test_weights_that_are_not_there_are_asked_for_by_the_command_that_makes_them(
    tiny_folder, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for name, file in (("r3d50", "resnet-50-kinetics.pth"), ("c3d_bn", "FILE")):
        made = (
            f"python -m darkjax.weights.convert --arch={name} --checkpoint={file} "
            f"--out=weights/{name}"
        )
        with pytest.raises(UserError) as error:
            experiment.run(load(name, "pretrained"), str(tmp_path / "run"))
        assert made in str(error.value) and "\n" not in str(error.value)


def test_own_records_choose_sizes_that_fit_them(tmp_path, tiny_folder, capsys, monkeypatch):
    tiny_run.records(tiny_run.config(tiny_folder)).close()
    capsys.readouterr()
    c = load(f"own={tiny_folder}")
    said = capsys.readouterr().err
    assert (
        said.count("\n") == 1 and "33 clips of 3 classes" in said and "judged on split test" in said
    )
    # 12 frames of 36 x 40: 8 of them at 28 pixels, 33 clips hold 16 twice.
    assert (c.data.dir, c.data.frames, c.data.stride) == (str(tiny_folder), 8, 1)
    assert c.data.size == (28, 28) and c.classifier.batch_size == 16 and "small" in said
    assert c.classifier.epochs == 100 and c.data.num_classes == 0
    experiment_is_whole(c)
    c = load("i3d", "pretrained", f"own={tiny_folder}")
    assert c.data.size == (224, 224) and c.classifier.init_from[0][0] == "weights/i3d"
    capsys.readouterr()
    monkeypatch.chdir(tmp_path)
    c = load("own")  # not converted yet, or --config.data.dir names others
    assert c.data.dir == "records/mine"
    assert "records/mine has no card.json: nothing was chosen by it" in capsys.readouterr().err
    for words in (("own", "demo"), ("own=a", "own=b")):
        with pytest.raises(UserError, match="own, demo and arid6 name the clips: give one"):
            load(*words)


def experiment_is_whole(c):
    """Whether what is chosen is a run that may begin."""
    c = configs.resolve(c)
    opened = run_data.open_stages(c, "")
    preflight.check(c, opened, sharding.make_mesh((1, 1), jax.devices()[:1]), "nowhere", "all")
