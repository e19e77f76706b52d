"""LIFT-Net: its parts do what their equations say, and every field of the config acts."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import padding
import pytest
import tiny_run

from darkjax import config as configs
from darkjax import methods, optim
from darkjax.errors import UserError
from darkjax.methods import lift
from darkjax.models import layers, lift_net

ROOT = tiny_run.ROOT


def make(folder, change=None, stage="student"):
    c = tiny_run.config(folder)
    if change:
        change(c)
    c = configs.resolve(c)
    return methods.make(c[stage], methods.Spec.numbered(3)), c


def batch(n=4, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "video": jnp.asarray(rng.integers(0, 60, (n, 4, 32, 32, 3)), jnp.uint8),
        "label": jnp.arange(n, dtype=jnp.int32) % 3,
        "mask": jnp.ones(n, jnp.float32),
    }


def test_eq_1_divides_by_the_number_of_heads_as_printed():
    x = jax.random.normal(jax.random.key(0), (1, 3, 8))
    y = jax.random.normal(jax.random.key(1), (1, 5, 8))
    module = layers.Attention(2, "heads")
    v = module.init(jax.random.key(2), x, y)
    _, weights = module.apply(v, x, y)
    p = v["params"]
    q = (x @ p["query"]["kernel"])[0].reshape(3, 2, 4)
    k = (y @ p["key"]["kernel"])[0].reshape(5, 2, 4)
    logits = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(2)
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(weights[0], expected, rtol=1e-5)


def test_eq_2_adds_to_the_luminous_stream():
    c, m = (jax.random.normal(jax.random.key(i), (2, n, 8)) for i, n in ((0, 6), (1, 4)))
    module = lift_net.Fusion(2, "heads", jnp.float32)
    v = module.init(jax.random.key(2), c, m)
    x, weights = module.apply(v, c, m)
    assert weights.shape == (2, 2, 6, 4)
    residual = np.asarray(x - c)  # a layer norm's output with scale 1 and offset 0
    np.testing.assert_allclose(residual.mean(-1), 0, atol=1e-5)
    np.testing.assert_allclose(residual.std(-1), 1, atol=1e-2)


def test_the_fourier_block_is_its_formula():
    x = jax.random.normal(jax.random.key(0), (2, 4, 6))
    module = lift_net.FourierEnhancement(1.0, jnp.float32)
    v = module.init(jax.random.key(1), x)
    p = v["params"]
    spectrum = np.fft.fft2(np.asarray(x), norm="ortho")
    pair = np.concatenate([spectrum.real, spectrum.imag], -1)
    fc1, fc2 = (np.asarray(p["mlp"][k]["kernel"]) for k in ("fc1", "fc2"))
    hidden = np.asarray(nn.gelu(jnp.asarray(pair @ fc1, jnp.float32), approximate=False))
    pair = pair + hidden @ fc2
    pair = (pair - pair.mean(-1, keepdims=True)) / np.sqrt(pair.var(-1, keepdims=True) + 1e-6)
    expected = np.fft.ifft2(pair[..., :6] + 1j * pair[..., 6:], norm="ortho").real
    np.testing.assert_allclose(module.apply(v, x), expected, atol=2e-5)


def test_eq_6_is_cross_entropy_plus_the_weighted_distance(tiny_folder):
    def weight(c):
        c.student.distill.weight = 0.5

    method, _ = make(tiny_folder, weight)
    variables = method.init(jax.random.key(0), batch())
    value, aux = method.loss(variables, batch(), jax.random.key(1), jnp.zeros(()))
    assert aux.metrics["distill"] > 0
    expected = aux.metrics["ce"] + 0.5 * aux.metrics["distill"]
    np.testing.assert_allclose(value, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("on", "frozen_net"),
    [
        ("pre_logits", True),
        ("logits", False),
        # Each field acts by itself; the other two pairs are the same lines again.
        pytest.param("pre_logits", False, marks=pytest.mark.slow),
        pytest.param("logits", True, marks=pytest.mark.slow),
    ],
)
def test_the_teachers_hidden_vector_is_what_the_teacher_says(tiny_folder, frozen_net, on):
    """With the teacher's weights in both places, h1 is the teacher's own output."""

    def change(c):
        c.student.luminous_frozen, c.student.distill.on = frozen_net, on
        c.student.distill.weight = 1.0

    method, c = make(tiny_folder, change)
    teacher, _ = make(tiny_folder, stage="teacher")
    t = teacher.init(jax.random.key(5), batch())
    v = method.init(jax.random.key(0), batch())
    flat = optim.flatten(v["params"])
    for path, value in optim.flatten(t["params"]).items():
        for target in (f"teacher/{path}", f"student/luminous/{path}"):
            if target in flat:
                flat[target] = value
    v["params"] = optim.unflatten(flat)
    no_augment = c.student.copy_and_resolve_references()
    with no_augment.unlocked():
        no_augment.augment = {}
    method = methods.make(no_augment, methods.Spec.numbered(3))
    _, aux = method.loss(v, batch(), jax.random.key(1), jnp.zeros(()))
    t_logits, t_out = teacher.predict(t, batch())
    h1 = t_logits if on == "logits" else t_out["pre_logits"]
    # The student's own vector in training mode, from the same function.
    from darkjax import models
    from darkjax.methods import base

    student = models.build(c.student.model, 3)
    video = base.to_float(batch()["video"])
    main = base.normalise(video, (), ())
    bright = base.normalise(base.luminous_view(c.student, video), (), ())
    own = {k: v[k]["student"] for k in v}
    (logits, out), _ = student.apply(
        own,
        main,
        bright,
        train=True,
        luminous_train=not frozen_net,
        mutable=["batch_stats"],
    )
    h2 = logits if on == "logits" else out["pre_logits"]
    expected = np.abs(np.asarray(h1 - h2)).sum(-1).mean()
    np.testing.assert_allclose(aux.metrics["distill"], expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("stage", "frozen_net"), [("teacher", True), ("student", True), ("student", False)]
)  # the teacher's method is `supervised`
def test_padding_does_not_weigh(tiny_folder, stage, frozen_net, monkeypatch):
    def change(c):
        c.student.luminous_frozen, c.student.distill.weight = frozen_net, 1.0
        with c.unlocked():
            c[stage].augment = {}

    padding.small_networks(monkeypatch)
    padding.check(make(tiny_folder, change, stage)[0])


@pytest.mark.slow  # of every method with small networks: test_all.py
def test_gradients_reach_every_trained_parameter_and_out_has_every_attention(tiny_folder):
    def free(c):
        c.student.luminous_frozen, c.student.distill.weight = False, 1.0

    method, _ = make(tiny_folder, free)
    v = method.init(jax.random.key(0), batch())
    trained, frozen = optim.split(v["params"], method.frozen)
    assert all(k.startswith("teacher/") for k in frozen)

    def loss(trained):
        params = optim.unflatten({**trained, **frozen})
        return method.loss({**v, "params": params}, batch(), jax.random.key(1), jnp.zeros(()))[0]

    gradients = jax.jit(jax.grad(loss))(trained)
    for path, g in gradients.items():
        assert np.isfinite(g).all(), path
        # A key's bias moves every logit of a row alike: its gradient is exactly zero.
        assert np.abs(g).max() > 0 or path.endswith("key/bias"), path
    _, out = method.predict(v, batch())
    names = [k for k in out if k.endswith("/attention")]
    wanted = ["critic0", "lift0", "fusion0", "pvit/block0", "pvit/block1"]
    assert sorted(names) == sorted(f"{n}/attention" for n in wanted)
    for name in names:
        np.testing.assert_allclose(out[name].sum(-1), 1, atol=1e-5)
    seen = method.look(batch(), out)
    assert seen.video.shape == (4, 4, 32, 32, 3) and seen.heat.shape == (4, 4, 2, 2)


@pytest.mark.slow  # of every method with small networks: test_all.py
def test_jit_equals_eager_and_bfloat16_is_finite(tiny_folder):
    method, _ = make(tiny_folder)
    v = method.init(jax.random.key(0), batch())
    arguments = (v, batch(), jax.random.key(1), jnp.zeros(()))
    eager, compiled = method.loss(*arguments)[0], jax.jit(method.loss)(*arguments)[0]
    np.testing.assert_allclose(eager, compiled, rtol=1e-4)

    def half(c):
        c.dtype = "bfloat16"

    method, _ = make(tiny_folder, half)
    with jax.numpy_dtype_promotion("standard"):  # flax's LayerNorm mixes bfloat16 and float32
        value, aux = jax.jit(method.loss)(*arguments)
    assert np.isfinite(value) and value.dtype == jnp.float32
    np.testing.assert_allclose(value, compiled, rtol=0.1)
    kinds = {x.dtype for x in jax.tree.leaves(aux.collections["batch_stats"])}
    assert kinds == {np.dtype("float32")}


@pytest.mark.parametrize(
    ("freeze", "free"), [("first_free", ["block0"]), ("all_frozen", []), ("all_free", None)]
)
def test_freezing_follows_table_vi(tiny_folder, freeze, free):
    method, _ = make(tiny_folder, lambda c: c.student.update({"pvit_freeze": freeze}))
    v = jax.eval_shape(lambda: method.init(jax.random.key(0), batch()))
    trained, _ = optim.split(v["params"], method.frozen)
    found = {k.split("/")[3] for k in trained if k.startswith("student/pvit/vit/")}
    everything = {"block0", "block1", "cls", "embedding", "position"}
    assert found == (everything if free is None else set(free))


def test_repetitions_can_share_their_weights(tiny_folder):
    def many(share):
        def change(c):
            c.student.model.repeats, c.student.model.share_repeats = 3, share

        method, _ = make(tiny_folder, change)
        v = jax.eval_shape(lambda: method.init(jax.random.key(0), batch()))
        _, out = jax.eval_shape(method.predict, v, batch())
        assert {"foe0", "foe1", "foe2"} <= set(out)
        return {k for k in v["params"]["student"] if k.startswith("foe")}

    assert many(True) == {"foe0"} and many(False) == {"foe0", "foe1", "foe2"}


SAME = ("freeze_all", "unfrozen", "medium", "flow")  # the same networks; test_lift_words.py


@pytest.mark.parametrize(
    "words",
    ["r3d", "no_kd", "small", *(pytest.param(w, marks=pytest.mark.slow) for w in SAME)],
)
def test_the_ablations_of_table_vi_are_configs(words):
    c = configs.resolve(configs.load(f"{ROOT}/configs/lift_arid.py:{words}"))
    method = methods.make(c.student, methods.Spec.numbered(11))
    like = {
        "video": jax.ShapeDtypeStruct((1, 30, 224, 224, 3), np.uint8),
        "label": jax.ShapeDtypeStruct((1,), np.int32),
        "mask": jax.ShapeDtypeStruct((1,), np.float32),
    }
    v = jax.eval_shape(method.init, jax.random.key(0), like)
    student = v["params"]["student"]
    repeats = {"small": 4, "medium": 6}.get(words, 8)
    assert sum(k.startswith("critic") for k in student) == repeats
    assert ("teacher" in v["params"]) == (words != "no_kd")
    assert ("stem_spatial" in student["luminous"]) == (words != "r3d")


def test_errors_say_what_to_do(tiny_folder):
    with pytest.raises(UserError, match="pvit_freeze='half'"):
        make(tiny_folder, lambda c: c.student.update({"pvit_freeze": "half"}))
    with pytest.raises(UserError, match=r"model.head_width=4"):
        method, _ = make(tiny_folder, lambda c: c.student.model.update({"head_width": 5}))
        v = jax.eval_shape(method.init, jax.random.key(0), batch())
        jax.eval_shape(method.loss, v, batch(), jax.random.key(0), jnp.zeros(()))
    with pytest.raises(UserError, match=r"student.model.widht: did you mean student.model.width"):
        c = configs.load(f"{ROOT}/configs/lift_arid.py:demo")
        with c.unlocked():
            c.student.model.widht = 3
        methods.make(configs.resolve(c).student, methods.Spec.numbered(3))
    with pytest.raises(UserError, match=r"student.method='lfit': expected one of .*'lift'"):
        make(tiny_folder, lambda c: c.student.update({"method": "lfit"}))


def test_attention_map_is_space_times_time():
    patches = np.zeros((4, 2, 5, 5), np.float32)  # 2 clips of 2 frames, 2x2 patches
    patches[:, :, 0, 3] = 1.0  # every class token looks at patch 2: row 1, column 0
    frames = np.zeros((2, 1, 3, 2), np.float32)
    frames[..., 1] = 1.0  # every query looks at frame 1
    out = {"pvit/block9/attention": 0 * patches, "pvit/block10/attention": patches}
    found = lift.attention(
        jax.tree.map(jnp.asarray, {**out, "fusion0/attention": frames}), 2, (2, 2)
    )
    expected = np.zeros((2, 2, 2, 2))
    expected[:, 1, 1, 0] = 1.0
    np.testing.assert_array_equal(found, expected)
