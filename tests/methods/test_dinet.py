"""3D-DiNet: lambda, who learns from whom, statistics of two domains, a whole run, errors."""

import functools
import json
import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import padding
import pytest
import tiny_run

from configs import common
from darkjax import config as configs
from darkjax import experiment, losses, methods, optim, sharding
from darkjax.errors import UserError
from darkjax.methods import base, dinet
from darkjax.tools import embed

NET = {"name": "outside.net:Net"}
PARTS = tuple(methods.Part(4, labelled, ("a", "b", "c")) for labelled in (True, True))


def section(**fields):
    """The stage of `:demo`, without augmentation, with a network that compiles at once; lambda
    grows as published."""
    c = configs.load(f"{tiny_run.ROOT}/configs/dinet_infar.py:demo")
    with c.unlocked():
        c.dinet.model, c.dinet.augment, c.dinet.domain_head = NET, {}, (5, 4)
        c.dinet.lambda_max = 1.0
        c.dinet.update(fields)
    return configs.resolve(c).dinet


def made(sources=PARTS, **fields):
    spec = methods.Spec(("a", "b", "c"), ("day", "night"), sources=sources)
    return methods.make(section(**fields), spec)


def clips(seed=0, labels=(0, 1, 2, 0, 1, 2, 2, 0)):
    """Four clips of the source, four of the target, which are darker."""
    rng = np.random.default_rng(seed)
    video = (
        rng.integers(0, 200, (8, 4, 16, 16, 3)) // np.repeat([1, 4], 4)[:, None, None, None, None]
    )
    return {
        "video": jnp.asarray(video, jnp.uint8),
        "label": jnp.asarray(labels, jnp.int32),
        "domain": jnp.asarray([0] * 4 + [1] * 4, jnp.int32),
        "mask": jnp.ones(8, jnp.float32),
    }


@functools.cache
def step_of(method):
    """Compiled once for a method, of which most tests take several steps."""

    @jax.jit
    def run(params, rest, batch):
        def loss(params):
            return method.loss(
                {"params": params, **rest}, batch, jax.random.key(1), jnp.float32(0.1)
            )

        (value, aux), grads = jax.value_and_grad(loss, has_aux=True)(params)
        return value, aux.metrics, aux.collections, grads

    return run


def stepped(method, variables, batch):
    """(loss, metrics, collections, gradients)."""
    rest = {k: v for k, v in variables.items() if k != "params"}
    return step_of(method)(variables["params"], rest, batch)


def exactly(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize(
    ("p", "value"), [(0, 0.0), (0.1, 0.4621171573), (0.5, 0.9866142982), (1, 0.9999092043)]
)
def test_lambda_of_eq_8(p, value):
    assert value == pytest.approx(2 / (1 + math.exp(-10 * p)) - 1, abs=1e-9)
    assert float(dinet.strength(section(), p)) == pytest.approx(value, abs=1e-6)
    half = section(lambda_max=0.5, lambda_gamma=5.0)
    assert float(dinet.strength(half, p)) == pytest.approx(1 / (1 + math.exp(-5 * p)) - 0.5)
    late = section(lambda_start=0.5)
    late_value = 2 / (1 + math.exp(-10 * max(p - 0.5, 0) * 2)) - 1
    assert float(dinet.strength(late, p)) == pytest.approx(late_value, abs=1e-6)


def test_one_step_is_min_max_by_hand():
    """Features: down the action loss, up the domain loss times lambda; each head down its own."""
    method = made()
    variables = method.init(jax.random.key(0), clips())
    value, metrics, _, grads = stepped(method, variables, clips())

    def parts(params):
        features, _ = method.net.apply({"params": params["features"]}, method.view(
            base.to_float(clips()["video"])), train=True)  # fmt: skip
        logits = features @ params["head"]["kernel"] + params["head"]["bias"]
        action = losses.cross_entropy(logits[:4], clips()["label"][:4]).mean()
        x = features
        for name in ("fc1", "fc2"):
            x = jax.nn.relu(x @ params["domain"][name]["kernel"] + params["domain"][name]["bias"])
        guess = (x @ params["domain"]["fc3"]["kernel"] + params["domain"]["fc3"]["bias"])[:, 0]
        night = jnp.asarray([0.0] * 4 + [1.0] * 4)
        p = jax.nn.sigmoid(guess)
        return action, -(night * jnp.log(p) + (1 - night) * jnp.log(1 - p)).mean()

    params = variables["params"]
    action, domain = jax.jit(parts)(params)
    by_action, by_domain = jax.jit(jax.jacrev(parts))(params)
    assert float(value) == pytest.approx(float(action + domain), abs=1e-6)
    assert float(metrics["action_loss"]) == pytest.approx(float(action), abs=1e-6)
    assert float(metrics["domain_loss"]) == pytest.approx(float(domain), abs=1e-6)
    lam = 2 / (1 + math.exp(-1)) - 1
    assert float(metrics["lambda"]) == pytest.approx(lam, abs=1e-6)
    expected = {
        "features": jax.tree.map(
            lambda a, d: a - lam * d, by_action["features"], by_domain["features"]
        ),
        "head": by_action["head"],
        "domain": by_domain["domain"],
    }
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), grads, expected)
    assert max(np.abs(g).max() for g in jax.tree.leaves(by_domain["features"])) > 1e-4


@pytest.mark.parametrize("adapt", dinet.ADAPT)
@pytest.mark.parametrize("batch_norm", ["shared", "domain"])
def test_poisoned_labels_of_who_is_not_learnt_change_no_bit(adapt, batch_norm, monkeypatch):
    """Of the target, also where its records have labels and its accuracy is logged."""
    padding.small_networks(monkeypatch, group=0)
    method = made(adapt=adapt, batch_norm=batch_norm)
    variables = method.init(jax.random.key(0), clips())
    poison = {"target": (2, 2, 1, 1, 1, 2, 2, 0)}.get(adapt, (0, 1, 2, 0, 0, 0, 1, 1))
    one = stepped(method, variables, clips())
    other = stepped(method, variables, clips(labels=poison))
    accuracy = "source_accuracy" if adapt == "target" else "target_accuracy"
    exactly(
        [{k: v for k, v in x.items() if k != accuracy} if x is found[1] else x
         for found in (other,) for x in found],
        [{k: v for k, v in x.items() if k != accuracy} if x is found[1] else x
         for found in (one,) for x in found],
    )  # fmt: skip
    assert (accuracy in one[1]) == (adapt == "dann" or batch_norm == "domain")
    unknown = stepped(method, variables, clips(labels=(*clips()["label"][:4].tolist(), *[-1] * 4)))
    if adapt != "target":
        exactly(unknown[3], one[3])
    # That could have failed: the other half's labels are learnt.
    learnt = {"target": (0, 1, 2, 0, 0, 0, 1, 1)}.get(adapt, (2, 2, 1, 1, 1, 2, 2, 0))
    assert stepped(method, variables, clips(labels=learnt))[0] != one[0]


def test_padding_never_weighs_and_without_a_label_only_in_the_domain_loss(monkeypatch):
    padding.small_networks(monkeypatch)
    method = made()
    variables = method.init(jax.random.key(0), clips())
    half = {**clips(), "mask": jnp.asarray([1.0, 1, 0, 0, 1, 1, 0, 0])}
    gone = np.asarray([2, 3, 6, 7])
    first = stepped(method, variables, half)
    for label in range(3):
        rubbish = {"video": half["video"].at[gone].set(clips(7)["video"][gone]),
                   "label": half["label"].at[gone].set(label)}  # fmt: skip
        exactly(stepped(method, variables, {**half, **rubbish})[:2], first[:2])
        counted = stepped(method, variables, {**half, **rubbish, "mask": jnp.ones(8)})
        assert counted[0] != first[0]  # that could have failed
    whole = stepped(method, variables, clips())[1]
    unknown = stepped(method, variables, clips(labels=(0, 1, -1, -1, 0, 1, 2, 2)))[1]
    assert unknown["domain_loss"] == whole["domain_loss"] != first[1]["domain_loss"]
    for name in ("action_loss", "source_accuracy"):
        assert unknown[name] == first[1][name]


def test_without_labels_in_the_records_the_targets_accuracy_is_not_logged():
    method = made((PARTS[0], PARTS[1]._replace(labelled=False)))
    variables = method.init(jax.random.key(0), clips())
    _, metrics, _, _ = stepped(method, variables, clips())
    assert set(metrics) == {
        "action_loss", "source_accuracy", "domain_loss", "domain_accuracy", "lambda",
    }  # fmt: skip


@pytest.mark.parametrize(("adapt", "unseen"), [("none", slice(4, 8)), ("target", slice(0, 4))])
def test_floor_and_ceiling_see_one_half_alone(adapt, unseen, monkeypatch):
    padding.small_networks(monkeypatch, group=0)
    method = made(adapt=adapt)
    variables = method.init(jax.random.key(0), clips())
    assert set(variables["params"]) == {"features", "head"}
    other = {**clips(), "video": clips()["video"].at[unseen].set(99)}
    exactly(stepped(method, variables, other), stepped(method, variables, clips()))


def mean_of(stats):
    (found,) = [v for k, v in optim.flatten(stats).items() if k.endswith("mean")]
    return found


def test_each_domain_has_its_statistics_and_the_test_the_targets(monkeypatch):
    padding.small_networks(monkeypatch, group=0)
    other = {**clips(), "video": clips()["video"].at[4:].set(clips(1)["video"][4:])}
    for adapt in ("dann", "none"):
        method = made(adapt=adapt, batch_norm="domain")
        variables = method.init(jax.random.key(0), clips())
        one, two = (stepped(method, variables, batch) for batch in (clips(), other))
        # Another target: its statistics move, the source's do not, nor the loss of `none`.
        exactly(one[2]["source_stats"], two[2]["source_stats"])
        assert np.any(mean_of(one[2]["batch_stats"]) != mean_of(two[2]["batch_stats"]))
        assert (one[0] == two[0]) == (adapt == "none")
        assert np.any(mean_of(one[2]["batch_stats"]) != mean_of(one[2]["source_stats"]))
        trained = {**variables, **one[2]}
        moved = jax.tree.map(lambda x: x + 1, trained["source_stats"])
        scores = method.predict(trained, clips())[0]
        exactly(method.predict({**trained, "source_stats": moved}, clips())[0], scores)
        assert np.any(method.predict(method.of_source(trained), clips())[0] != scores)


def test_shared_statistics_are_of_both_and_frozen_ones_of_the_weights(monkeypatch):
    padding.small_networks(monkeypatch, group=0)
    method = made()
    variables = method.init(jax.random.key(0), clips())
    assert "source_stats" not in variables
    exactly(method.of_source(variables), variables)  # both domains are looked at by the same
    apart = made(batch_norm="domain")
    shared, both = (
        stepped(m, m.init(jax.random.key(0), clips()), clips())[2] for m in (method, apart)
    )
    halves = (mean_of(both["batch_stats"]) + mean_of(both["source_stats"])) / 2
    np.testing.assert_allclose(mean_of(shared["batch_stats"]), halves, rtol=1e-5)
    frozen = made(batch_norm="frozen", init_from=(("weights/x", "(.*)", r"\1"),))
    variables = frozen.init(jax.random.key(0), clips())
    exactly(stepped(frozen, variables, clips())[2]["batch_stats"], variables["batch_stats"])


@pytest.mark.parametrize("fields", [{"batch_norm": "domain"}, {"adapt": "none"}], ids=str)
def test_halves_are_spread_over_eight_devices_and_the_numbers_are_the_same(fields, monkeypatch):
    padding.small_networks(monkeypatch, group=0)
    method = made(**fields)
    variables = method.init(jax.random.key(0), clips())
    twice = {k: np.repeat(np.asarray(v), 2, 0) for k, v in clips().items()}  # 8 clips of each
    one = stepped(method, variables, {k: jnp.asarray(v) for k, v in twice.items()})
    mesh = sharding.make_mesh((8, 1))
    with jax.set_mesh(mesh):
        eight = stepped(method, variables, sharding.to_global(mesh, twice))
    # Sums are taken in another order: float32's rounding, and more of it where a sum cancels, as it
    # does in gradients that come through batch norm (their elements are judged by the largest).
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, eight[:3], one[:3])
    for path, grad in optim.flatten(one[3]).items():
        far = np.abs(optim.flatten(eight[3])[path] - grad).max()
        assert far <= 2e-4 * np.abs(grad).max() + 3e-6, (path, far, np.abs(grad).max())


def test_every_block_of_views_has_both_halves():
    batch = {"x": jnp.arange(12)}  # two views of [0 1 2 | 3 4 5]
    source, target = dinet._halves(batch, 2)
    assert source["x"].tolist() == [0, 1, 2, 6, 7, 8]
    assert target["x"].tolist() == [3, 4, 5, 9, 10, 11]


# ---- whole runs ---------------------------------------------------------------------------------


def drawn(domain, seed, classes=tiny_run.CLASSES, **clips):
    return common.synthetic(
        classes=classes, clips_per_class=clips, groups=dict.fromkeys(clips, 2),
        frames=12, height=36, width=40, domain=domain, seed=seed,
    )  # fmt: skip


def config(words="demo"):
    """`:demo` with few tiny clips: 9 of the source, 12 of the target."""
    c = configs.load(f"{tiny_run.ROOT}/configs/dinet_infar.py:{words}")
    with c.unlocked():
        c.data.synthetic = drawn("thermal", 0, train=4, test=2)
        c.data.source_synthetic = drawn("day", 1, train=3)
        c.dinet.model, c.dinet.domain_head = NET, (8, 8)
    c.data.num_classes, c.data.frames, c.data.stride = 3, 12, 1
    c.data.size, c.data.crop, c.data.views_crops = (32, 32), "centre", 1
    c.eval_batch_size, c.report_clips, c.log_every = 8, 2, 1
    s = c.dinet
    s.batch_size, s.steps, s.augment.affine.p = 8, 4, 0.0
    return c


@pytest.mark.whole
def test_a_whole_run_draws_both_domains_logs_judges_and_is_not_repeated(tmp_path, capsys):
    found = experiment.run(config(), str(tmp_path))
    assert found["numbers"]["n"] == 6 and found["name"] == "top-1@1x1 synthetic-test"
    log = pathlib.Path(tmp_path, "dinet", "metrics.jsonl").read_text()
    rows = [json.loads(row) for row in log.splitlines()]
    steps = [row for row in rows if "lambda" in row]
    assert [row["lambda"] for row in steps] == pytest.approx(
        [0.1 * (2 / (1 + math.exp(-10 * k / 4)) - 1) for k in range(4)], abs=1e-6
    )
    assert {"action_loss", "domain_loss", "domain_accuracy", "source_accuracy"} <= set(steps[0])
    assert "target_accuracy" not in steps[0]
    assert (tmp_path / "records" / "card.json").exists()
    source = json.loads((tmp_path / "records-source" / "card.json").read_text())
    assert {clip["domain"] for clip in source["clips"]} == {"day"}
    assert "Confusion matrix" in (tmp_path / "report.html").read_text()
    picture = tmp_path / "embedding.svg"
    assert embed.main([str(tmp_path), f"--out={picture}", "--clips=5"]) == 0
    assert "10 clips" in capsys.readouterr().out
    assert picture.read_text().count("<circle") == 10 + 3 + 2
    assert experiment.run(config(), str(tmp_path))["numbers"] == found["numbers"]
    said = capsys.readouterr().out
    assert "finished earlier" in said and "9 clips of" in said and "12 clips without labels" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data.sources": (("source", 0.7, True), ("", 0.3, False))}, "found 6 and 2 clips"),
        ({"data.sources": ()}, "expected two, the source and then the target, found 0"),
        ({"data.sources": (("source", 0.5, False), ("", 0.5, False))}, "the labels of the source"),
        ({"dinet.adapt": "target"}, "the labels of the target"),
        ({"dinet.batch_norm": "frozen"}, "init_from names none"),
        ({"dinet.model": {"name": "zero_dce"}}, "'zero_dce' is no classifier"),
        ({"dinet.model": {"name": "lift_net"}}, "dinet.model cannot be built"),
        ({"data.synthetic": None}, "data.dir is empty"),
        ({"data.source_synthetic": None}, "data.source_dir is empty"),
        ({"data.source_synthetic": drawn("day", 1, ("Jump", "Sit"), train=6)},
         "only records (target) Turn: convert both with the same classes"),
        ({"data.source_synthetic": drawn("day", 1, ("Jump", "Sit", "Walk"), train=4)},
         "has the classes Walk, which"),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_is_one_line(change, said, tmp_path):
    c = config()
    for path, value in change.items():
        section = c[path.split(".")[0]]
        with c.unlocked(), c.ignore_type():
            section[path.split(".")[1]] = value
    with pytest.raises(UserError) as error:
        experiment.run(c, str(tmp_path))
    assert said in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "dinet").exists()


def test_an_odd_batch_is_refused_with_what_to_do():
    parts = (PARTS[0], PARTS[1]._replace(clips=3))
    with pytest.raises(UserError) as error:
        made(parts)
    assert str(error.value) == (
        "half of every batch is source and half target; found 4 and 3 clips of batch_size=7: take "
        "an even number of clips, and the same share for both of data.sources"
    )


# ---- the three backbones at paper size ----------------------------------------------------------

# Parameters of the backbone without classes; of 12 logits and of the domain head on its features.
PAPER = {"c3d": (77_995_776, 4096), "r3d18": (33_203_904, 512), "resnext101": (47_521_216, 2048)}


@pytest.mark.parametrize("name", PAPER)
def test_parameters_of_the_three_backbones_by_part(name):
    c = configs.resolve(configs.load(f"{tiny_run.ROOT}/configs/dinet_infar.py:{name}"))
    method = methods.make(c.dinet, methods.Spec.numbered(12))
    frames, size = c.data.frames, c.data.size
    video = {"video": jax.ShapeDtypeStruct((1, frames, *size, 3), jnp.uint8)}
    params = jax.eval_shape(method.init, jax.random.key(0), video)["params"]
    count = {
        part: sum(math.prod(x.shape) for x in jax.tree.leaves(v)) for part, v in params.items()
    }
    backbone, width = PAPER[name]
    heads = {"head": 12 * width + 12, "domain": (width + 1) * 1024 + 1025 * 1024 + 1025}
    assert count == {"features": backbone, **heads}


@pytest.mark.slow
@pytest.mark.parametrize("name", PAPER)
def test_the_three_backbones_compile_and_step_on_tiny_inputs(name):
    method = methods.make(
        configs.resolve(configs.load(f"{tiny_run.ROOT}/configs/dinet_infar.py:{name}")).dinet,
        methods.Spec.numbered(12),
    )
    batch = jax.tree.map(lambda x: x[2:6], clips())
    batch["video"] = jnp.repeat(jnp.repeat(batch["video"], 2, 2), 2, 3)
    variables = jax.jit(method.init)(jax.random.key(0), batch)
    value, metrics, _, grads = stepped(method, variables, batch)
    assert np.isfinite(value) and all(np.isfinite(v) for v in metrics.values())
    for path, grad in optim.flatten(grads).items():
        assert np.isfinite(grad).all(), path
