"""Whatever value a field is given: it is taken, or refused by one line before anything is built.

Real records, real configs of all kinds with small networks, random values (the same ones each
time). What is taken is also given to what will read it: views, schedule, optimiser; the slow test
traces models and losses as well.
"""

import functools
import string

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
import tiny_run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from darkjax import config as configs
from darkjax import optim, overrides, preflight, ranges, sharding
from darkjax.data.sources import Source
from darkjax.data.views import EvalViews, TrainViews, ViewConfig
from darkjax.errors import UserError

NET = {"name": "r2plus1d", "variant": (1, 1), "width": 4, "stem_mid": 4, "stem_kernel": 3}


def small(folder, file, words, stages):
    """One of the configs on the tiny records, its networks small."""
    tiny = tiny_run.config(folder)
    if file == "lift_arid":
        return tiny
    c = configs.load(f"{tiny_run.ROOT}/configs/{file}.py:{words}")
    with c.unlocked():
        c.data, c.eval_batch_size = tiny.data, 8
        for name in stages:
            stage = c[name]
            stage.batch_size = 8
            if stage.get("model", {}).get("name") == "views_bert":
                stage.model.backbone = ml_collections.ConfigDict(NET)
                del stage.model.backbone.name
            elif "model" in stage:
                stage.model = ml_collections.ConfigDict(NET)
            if stage.data.get("sources"):  # a second dataset, which is not drawn here
                stage.data.sources = ()
            if "enhancer" in stage and stage.enhancer.name != "sci":
                stage.enhancer.update({"width": 8, "k": 2})
    return c


@functools.cache
def base(folder, file):
    words, stages = {
        "lift_arid": ("demo", ("teacher", "student")),
        "dtcm_arid": ("demo", ("enhancer", "dtcm")),
        "zero_dce": ("demo", ("enhancer",)),
        "darklight_arid": ("demo,md_bert", ("darklight",)),
        "actlumos_arid": ("demo", ("pretrain", "teacher", "student")),
        "enhance_matrix": ("quick", ("classifier", "joint")),
    }[file]
    return small(folder, file, words, stages)


FILES = (
    "lift_arid", "dtcm_arid", "zero_dce", "enhance_matrix", "darklight_arid", "actlumos_arid",
)  # fmt: skip
numbers = st.one_of(
    st.integers(-3, 40),
    st.integers(),
    st.sampled_from([10**9, 2**31, 2**63, 10**30, -(10**12), np.int64(3), np.float32(0.5)]),
    st.floats(-2, 2),
    st.floats(),
)
words = st.one_of(
    st.sampled_from(["", "(", "[a-", r"\1", "a{2,1}", ".*", "top1", "nan", "34", "/", "\0", "é"]),
    st.sampled_from(["data", "model", "teacher", "float32", "gamma", "cosine", "reflect", "r3d18"]),
    st.text(string.printable, max_size=8),
)
plain = st.one_of(st.none(), st.booleans(), numbers, words, st.binary(max_size=4))
values = st.one_of(
    plain,
    st.lists(plain, max_size=4).map(tuple),
    st.lists(st.lists(plain, max_size=4).map(tuple), max_size=3).map(tuple),
    st.lists(numbers, max_size=4),
    st.dictionaries(st.sampled_from(["name", "p", "train", "x"]), plain, max_size=3),
    st.builds(object),
)
NASTY = [
    None, True, False, -1, 0, 1, 10**30, -0.0, float("nan"), float("inf"), -float("inf"), "", "(",
    "\0", b"x", (), [], {}, (None,), ((),), (("(",),), ("(", "(", "("), (("a", "(b)", r"\9"),),
    (1.5, "x"), ((1, 2), 3), set(), object(), lambda: 0, np.zeros(2), np.float32(1), range(2), ...,
    1j, "x" * 10**5, (float("nan"),) * 2, ("a", "a"), (("a", ("data", 3)),), (True, 1),
    ml_collections.ConfigDict({"x": 1}), type,
]  # fmt: skip


def given_to_its_readers(config, records):
    """What is taken does not fail where it is read."""
    views = ViewConfig.of(config.data)
    rows = np.arange(8)
    source = Source(records, rows, 4, np.arange(len(records.classes), dtype=np.int32))
    batch = TrainViews((source,), views, config.seed).batch(5)
    assert len(batch) == 4 * views.train_views
    assert EvalViews(records.meta, views, rows)[0].record == 0
    params = {"stem/kernel": jnp.ones(3), "enhancer/bias": jnp.ones(2)}
    for name in config.stages:
        made = optim.make(config[name].optim, 10)
        optim.split({"stem": {"kernel": params["stem/kernel"]}}, config[name].freeze)
        assert np.isfinite(float(optim.schedule(config[name].optim, 10)(3)))
        state = jax.eval_shape(made.init, params)
        with jax.numpy_dtype_promotion("standard"):
            jax.eval_shape(made.update, params, state, params)


def tried(config, records, workdir):
    """True where a config is taken; UserErrors are one line, and nothing else comes out."""
    try:
        resolved = configs.resolve(config)
        mesh = sharding.make_mesh(resolved.mesh)
        preflight.check(resolved, dict.fromkeys(resolved.stages, records), mesh, str(workdir))
    except UserError as e:
        assert str(e) and "\n" not in str(e)
        return False
    given_to_its_readers(resolved, records)
    return True


def put(config, path, value):
    """The value in the place of a field, as in a notebook, whatever was there."""
    section = config
    for part in path.split(".")[:-1]:
        section = section[part]
    with config.unlocked(), config.ignore_type():
        section[path.rpartition(".")[2]] = value


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder, workdir = (tmp_path_factory.mktemp(name) for name in ("records", "run"))
    return folder, workdir, tiny_run.records(tiny_run.config(folder))


def thrown(places, examples, files=FILES, fields=lambda path: True):
    """Random values at random fields of the configs; how many were taken."""
    folder, workdir, records = places
    paths = [
        (file, path) for file in files for path in ranges.paths(base(folder, file)) if fields(path)
    ]
    taken = []

    @settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(paths), values)
    def throw(place, value):
        file, path = place
        config = base(folder, file).copy_and_resolve_references()
        put(config, path, value)
        taken.append(tried(config, records, workdir))

    throw()
    return sum(taken)


def test_configs_without_wrong_values_are_taken(places):
    folder, workdir, records = places
    assert tried(base(folder, "zero_dce").copy_and_resolve_references(), records, workdir)


@pytest.mark.parametrize("file", FILES)
def test_every_check_answers_about_anything(file, places):
    for field in ranges.walk(base(places[0], file)):
        for value in NASTY:
            assert field.check.holds(value) in (True, False), (field.path, value)
            assert "\n" not in ranges.wrong(field.path, field.check, value)


def test_any_value_of_any_field_is_taken_or_refused_by_one_line(places, monkeypatch):
    paths = ["stem/kernel", "enhancer/bias"]
    monkeypatch.setattr(preflight, "_traced", lambda *_: paths)  # of the slow test
    monkeypatch.setattr(preflight, "_BUILT", {})
    assert 5 < thrown(places, 300) < 200


@pytest.mark.slow
def test_any_value_is_taken_only_by_what_can_be_traced(places, monkeypatch):
    """Models, losses and augmentations with random values, none of which ends in a traceback."""
    monkeypatch.setattr(preflight, "_BUILT", {})
    traced = ("model", "enhancer", "augment", "mean", "std", "gamma", "w_", "exposure", "data.")
    assert thrown(places, 300, fields=lambda p: any(word in p for word in traced)) > 10


@settings(max_examples=100, derandomize=True, deadline=None, database=None)
@given(st.data())
def test_any_text_on_the_command_line_is_taken_or_refused_by_one_line(data):
    c = LIFT.copy_and_resolve_references()
    path = data.draw(st.one_of(st.sampled_from(ranges.paths(c)), words))
    text = data.draw(st.one_of(words, values.map(repr)))
    try:
        overrides.apply(c, path, text)
    except UserError as e:
        assert str(e).startswith("--config.") and "\n" not in str(e)
        assert c == LIFT
        return
    try:
        ranges.check(c)
    except UserError as e:  # the other net's fields stand beside its name until they are set too
        assert path.rpartition(".")[2] in ("name", "luminous_net"), str(e)
        assert "\n" not in str(e) and str(e).count("first_stride") < 2


LIFT = configs.load(f"{tiny_run.ROOT}/configs/lift_arid.py:demo")
