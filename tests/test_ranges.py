"""Every value of a config has a range; what is outside is refused by one line that names it."""

import contextlib
import importlib.util

import ml_collections
import pytest
import tiny_run

from darkjax import config as configs
from darkjax import overrides, ranges
from darkjax.errors import UserError

CONFIGS = sorted(
    p for p in (tiny_run.ROOT / "configs").glob("*.py") if "def get_config" in p.read_text()
)


def known_words(file):
    """Every word that a config file takes."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    groups = getattr(module, "WORDS", None)
    return [w for group in groups.values() for w in group] if groups else list(module.VARIANTS)


def every_config():
    """Each config by name: plain, and with each of its words that can stand alone."""
    found = {}
    for file in CONFIGS:
        for words in ("", *known_words(file)):
            with contextlib.suppress(UserError):  # a word that needs another
                found[f"{file.stem}:{words}"] = configs.load(f"{file}:{words}")
    return found


EVERY = every_config()


def lift(words="demo"):
    return configs.load(f"{tiny_run.ROOT}/configs/lift_arid.py:{words}")


def refused(field, value, words="demo"):
    """The one line that is said of a value set in Python, as from a notebook."""
    c = lift(words)
    section = c
    for part in field.split(".")[:-1]:
        section = section[part]
    with section.unlocked(), section.ignore_type():
        section[field.rpartition(".")[2]] = value
    with pytest.raises(UserError) as error:
        configs.resolve(c)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_every_config_is_here():
    assert len(EVERY) > 25 and {name.partition(":")[0] for name in EVERY} == {
        file.stem for file in CONFIGS
    }


@pytest.mark.parametrize("name", EVERY)
def test_every_field_of_every_config_has_a_range(name):
    c = EVERY[name]
    fields = list(ranges.walk(c))
    missing = [field.path for field in fields if field.check is None]
    assert not missing, f"{missing}: write down in darkjax/ranges.py what they may be"
    wrong = [ranges.wrong(f.path, f.check, f.value) for f in fields if not f.check.holds(f.value)]
    assert not wrong
    leaves = [path for path in ranges.paths(c) if not is_section(c, path)]
    assert leaves == [field.path for field in fields]  # none is passed over


def is_section(c, path):
    for part in path.split("."):
        c = c[part]
    return isinstance(c, ml_collections.ConfigDict)


def test_every_entry_of_the_table_is_of_some_field():
    seen = set()
    for c in EVERY.values():
        seen |= {field.path.rpartition(".")[2] for field in ranges.walk(c)}
    optional = {"domain", "classes", "name", "dtype", "bn_group", "*"}  # of the rendered clips
    optional |= {"knn_k", "probe_decay"}  # of methods judged by embeddings
    unused = {key for key in ranges.TABLE if key.rpartition(".")[2] not in seen | optional}
    assert not unused, f"{unused}: no config has such a field any more"


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("seed", -1, "seed=-1: expected an integer from 0 to 2147483647"),
        ("seed", True, "seed=True: expected an integer"),
        ("seed", 1.0, "seed=1.0: expected an integer"),
        ("log_every", 0, "log_every=0: expected an integer of at least 1"),
        ("report_clips", -1, "report_clips=-1: expected an integer from 0"),
        ("mesh", (1,), "mesh=(1,): expected a tuple of 2"),
        ("stages", (), "stages=(): expected at least one name, each once"),
        ("stages", ("teacher", "teacher"), "each once"),
        ("sharding", ((".*", ("rows",)),), "sharding="),
        ("data.size", (16,), "data.size=(16,): expected a tuple of 2"),
        ("data.size", (16, 0), "an integer from 1 to 16384 each"),
        ("data.scale", (0.9, 0.2), "data.scale=(0.9, 0.2): expected (smallest, largest)"),
        ("data.views_crops", 2, "data.views_crops=2: expected one of 1, 3, 5, 10"),
        ("data.synthetic", 3, "data.synthetic=3: expected None, or a section of options"),
        ("data.synthetic.fps", 0, "data.synthetic.fps=0: expected a number of at least 0.1"),
        ("data.synthetic.groups.train", 0, "data.synthetic.groups.train=0"),
        ("data.synthetic.light", 3, "no field data.synthetic.light: "),
        ("teacher.method", "supervize", "teacher.method='supervize': expected one of 'supervised'"),
        ("teacher.steps", -5, "teacher.steps=-5: expected an integer of at least 0"),
        ("teacher.ema", 1.0, "teacher.ema=1.0: expected a number of at least 0 and below 1"),
        ("teacher.freeze", ("(",), "teacher.freeze=('(',): expected a tuple of any number"),
        ("teacher.freeze", "head", "teacher.freeze='head': expected a tuple"),
        ("teacher.optim.lr", -1, "teacher.optim.lr=-1.0: expected a number of at least 0"),
        ("teacher.optim.lr", float("nan"), "teacher.optim.lr=nan"),
        ("teacher.optim.clip", float("inf"), "teacher.optim.clip=inf"),
        ("teacher.optim.lr_scale", (("head/.*",),), "(regular expression, factor of at least 0)"),
        ("teacher.optim.lr_scale", (("(", 0.1),), "teacher.optim.lr_scale"),
        ("student.init_from", (("teacher", "(.*)"),), "(stage or folder, regular expression, "),
        ("student.init_from", (("teacher", "(.*)", r"\2"),), "student.init_from="),
        ("student.optim", 3, "student.optim=3: expected a section of fields"),
        ("student.model.repeats", 0, "student.model.repeats=0: expected an integer from 1 to 512"),
        ("student.model.luminous.width", -3, "student.model.luminous.width=-3"),
        ("data.channels", 5, "data.channels=5: expected one of 1, 2, 3, 4, 6"),
        ("student.model.pvit.qkv_bias", 1, "student.model.pvit.qkv_bias=1: expected True or False"),
        ("student.exposure", 0.6, "no field student.exposure: did you mean"),  # of other methods
        ("teacher.label_smothing", 0.1, "did you mean teacher.label_smoothing?"),
        ("teacher.model.widht", 8, "did you mean teacher.model.width?"),
        ("seeds", 3, "the config has no field seeds: did you mean seed?"),
        ("teacher", 3, "teacher=3: expected a stage's section, with a method"),
        ("techer", {"epochs": 3}, "techer is a section (epochs): expected a stage's section"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_expected(field, value, said):
    assert said in refused(field, value)


@pytest.mark.parametrize(
    ("field", "text", "said"),
    [
        ("optm.lr", "1", "no field optm: did you mean student.optim.lr or teacher.optim.lr?"),
        ("teacher.optm.lr", "1", "no field teacher.optm: did you mean teacher.optim.lr?"),
        ("teacher.optim.lrr", "1", "did you mean teacher.optim.lr?"),
        ("techer.epochs", "1", "no field techer: did you mean teacher.epochs?"),
        ("seeed", "1", "no field seeed: did you mean seed?"),
        ("a.b.c", "1", "no field a: it has bn_group, data, "),
        ("seed.x", "1", "seed is one value (0), not a section: set it whole, --config.seed=VALUE"),
        ("mesh.0", "1", "mesh is one value ((-1, 1)), not a section"),
        ("mesh[0]", "1", "did you mean mesh?"),
        ("", "1", "the config has no field"),
        ("teacher.", "1", "the config has no field teacher."),
        ("seeds", "3", "no field seeds: did you mean seed?"),
        ("teacher.epochs", "abc", "--config.teacher.epochs=abc: expected an integer of at least 1"),
        ("teacher.epochs", "1.5", "--config.teacher.epochs=1.5: expected an integer"),
        ("teacher.optim.lr", "fast", "expected a number of at least 0"),
        ("teacher.optim.lr", "1e999", "expected a number of at least 0"),
        ("data.flip", "maybe", "--config.data.flip=maybe: expected True or False"),
        ("data.size", "16", "--config.data.size=16: expected a tuple of 2"),
        ("teacher.freeze", "((", "--config.teacher.freeze=((: expected a tuple"),
        ("teacher.optim", "sgd", "--config.teacher.optim is a section: set its fields"),
        ("teacher.model", "r3d81", "one of "),
        ("teacher.model.widht", "8", "did you mean teacher.model.width?"),
    ],
)
def test_a_wrong_word_of_the_command_line_is_one_line(field, text, said):
    c = lift()
    before = c.to_json_best_effort()
    with pytest.raises(UserError) as error:
        overrides.apply(c, field, text)
    assert str(error.value).startswith(f"--config.{field}") and said in str(error.value)
    assert "\n" not in str(error.value) and c.to_json_best_effort() == before


def test_a_path_through_none_says_which_config_has_it():
    with pytest.raises(UserError, match=r"data.synthetic is None here .*lift_arid.py:demo"):
        overrides.apply(lift("small"), "data.synthetic.frames", "3")


def test_what_is_refused_in_the_place_of_none_leaves_none():
    c = lift("small")
    with pytest.raises(UserError, match=r"data.synthetic=3: expected None, or a section"):
        overrides.apply(c, "data.synthetic", "3")
    assert c == lift("small")


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("seed", "7", 7),
        ("dtype", "float32", "float32"),
        ("mesh", "4,2", (4, 2)),
        ("data.size", "(64, 48)", (64, 48)),
        ("data.size", "[64, 48]", (64, 48)),
        ("data.dir", "123", "123"),
        ("data.flip", "true", True),
        ("data.flip", "False", False),
        ("data.centre", "()", ()),
        ("data.synthetic", "None", None),
        ("data.synthetic.domain", "day", "day"),  # an option that the config leaves to its default
        ("stages", "teacher", ("teacher",)),
        ("stages", "teacher,student", ("teacher", "student")),
        ("teacher.optim.lr", "3e-4", 3e-4),
        ("teacher.optim.lr", "1", 1.0),
        ("teacher.freeze", "(?!head/)(.*)", ("(?!head/)(.*)",)),
        ("teacher.freeze", r"('stem/.*', 'x{1,2}')", ("stem/.*", "x{1,2}")),
        ("teacher.optim.lr_scale", "(('stem/.*', 0.1),)", (("stem/.*", 0.1),)),
        ("teacher.model.variant", "34", "34"),
        ("teacher.model.bn_eps", "1e-3", 1e-3),  # a field of the model that the config leaves alone
    ],
)
def test_values_are_read_as_what_the_field_may_be(field, text, value):
    c = lift()
    overrides.apply(c, field, text)
    for part in field.split("."):
        c = c[part]
    assert c == value and type(c) is type(value)


def test_a_models_name_replaces_its_section():
    c = lift()
    overrides.apply(c, "teacher.model", "r3d18")
    overrides.apply(c, "teacher.model.shortcut", "A")
    assert c.teacher.model.to_dict() == {"name": "r3d18", "shortcut": "A"}
    configs.resolve(c)


def test_fields_that_share_a_value_are_set_together():
    c = configs.load(
        f"{tiny_run.ROOT}/configs/dtcm_arid.py:demo", [("dtcm.w_stc", "3"), ("seed", "2")]
    )
    assert (c.dtcm.w_stc, c.enhancer.w_stc, c.seed) == (3.0, 3.0, 2)


def test_overrides_are_told_from_other_arguments():
    argv = ["--config=a.py:b", "--config.x.y=1=2", "--workdir", "w", "--config.z", "-3"]
    argv += ["--noconfig.data.flip", "--config.data.check_crc", "--mode=all", "--config.last"]
    assert overrides.split(argv) == (
        ["--config=a.py:b", "--workdir", "w", "--mode=all"],
        [
            ("x.y", "1=2"),
            ("z", "-3"),
            ("data.flip", "False"),
            ("data.check_crc", "True"),
            ("last", "True"),
        ],
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def get_config(arg=''):\n    return 1 / 0\n", "line 2: ZeroDivisionError: division"),
        ("def get_config(arg='':\n", "line 1: SyntaxError"),
        ("x = 3\n", "AttributeError: .* has no attribute 'get_config'"),
        ("def get_config():\n    return {}\n", "gave a dict, expected a ConfigDict"),
        (
            "from configs import common\ndef get_config():\n    c = common.base()\n"
            "    c.lock()\n    c.sed = 3\n    return c\n",
            'line 5: AttributeError: Did you mean "seed" instead of "sed"',
        ),
    ],
)
def test_an_error_inside_a_config_file_is_one_line_with_its_place(text, said, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(text)
    with pytest.raises(UserError, match=said) as error:
        configs.load(str(file))
    assert str(error.value).startswith(str(file)) and "\n" not in str(error.value)
