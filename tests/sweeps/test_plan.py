"""Which runs a sweep has: grid, repetitions, names, shared clips, and what is refused."""

import pytest
import tiny_run

from darkjax.errors import UserError
from darkjax.sweeps import plan

CONFIG = f"{tiny_run.ROOT}/tests/sweep_config.py"


def names(cells):
    return [cell.name for cell in cells]


def test_rows_are_the_grid_and_repetitions_stand_together():
    cells = plan.cells(
        [CONFIG],
        [("only.steps", "3"), ("data.split", "fold")],
        ["optim.lr=1e-3,0.030", "data.size=(32, 32),(16,16)"],
        {"seeds": ["0", "1"], "folds": ["1"], "splits": []},
    )
    lr, size = "only.optim.lr", "data.size"
    assert [cell.point for cell in cells[::2]] == [
        ((lr, a), (size, b)) for a in ("0.001", "0.03") for b in ("(32, 32)", "(16, 16)")
    ]
    assert [cell.repetition for cell in cells[:2]] == [
        (("seed", seed), ("data.fold", "1")) for seed in ("0", "1")
    ]
    assert len({cell.row for cell in cells}) == 4 and len(set(names(cells))) == 8
    c = cells[3].load()
    assert c.only.optim.lr == 0.001 and c.data.size == (16, 16) and c.seed == 1
    assert c.only.steps == 3 and c.data.fold == 1


def test_a_name_says_what_the_run_is_whatever_the_grid():
    small = plan.cells([CONFIG], [], ["optim.lr=0.001"], {"seeds": ["0"]})
    large = plan.cells([CONFIG], [], ["only.optim.lr=1e-2,1e-3"], {"seeds": ["1", "0"]})
    assert names(small) == ["sweep_config,only.optim.lr=0.001,seed=0"]
    assert names(small)[0] in names(large)
    assert names(plan.cells([CONFIG])) == ["sweep_config"]
    long = plan.cells([CONFIG], [], [f"only.freeze=head/.*,{'x' * 300}/.*"])
    assert all(len(name) < 170 and "/" not in name for name in names(long))
    assert len(set(names(long))) == 2


def test_several_configs_are_rows_of_their_own():
    cells = plan.cells([CONFIG, f"{CONFIG}:two"], [], ["only.optim.lr=1,2"])
    assert [dict(cell.row)["config"] for cell in cells] == [
        *["sweep_config"] * 2, *["sweep_config-two"] * 2
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "values"),
    [("1,2", ["1", "2"]), ("(1,2), (3,4)", ["(1,2)", "(3,4)"]), ("a", ["a"]), ("[(1,2),3]", None)],
)
def test_commas_in_brackets_do_not_divide(text, values):
    assert plan.listed(text) == (values or [text])


def test_what_would_be_rendered_is_shared(tmp_path):
    cells = plan.cells([CONFIG], [], ["data.frames=4,8"])
    shared = [plan.records(cell.load(), tmp_path) for cell in cells]
    assert shared[0] == shared[1] and shared[0][0][0] == "data.dir"
    assert shared[0][0][1].startswith(f"{tmp_path}/records/")
    other = plan.cells([CONFIG], [], ["data.synthetic.height=40"])
    assert plan.records(other[0].load(), tmp_path) != shared[0]
    given = plan.cells([CONFIG], [("data.dir", "records/mine")])
    assert plan.records(given[0].load(), tmp_path) == ()


@pytest.mark.parametrize(
    ("grid", "repeated", "match"),
    [
        (["optim.lr"], {}, "--grid optim.lr: expected FIELD=VALUE,VALUE"),
        (["optim.lr=1,,2"], {}, "values joined by commas"),
        (["data.size=(1,2"], {}, "tuples in brackets"),
        (["only.optim.rl=1"], {}, r"only.optim.rl.*lr"),
        (["optim.lr=fast"], {}, r"only.optim.lr=fast: expected"),
        (["optim.lr=1", "only.optim.lr=2"], {}, "every field once; only.optim.lr is given twice"),
        (["seed=1"], {"seeds": ["0"]}, "every field once; seed is given twice"),
        (["optim.lr=0.01,1e-2"], {}, "every run once; .*lr=0.01 is given twice"),
        ([], {"folds": ["1"]}, "--folds: data.split is 'official' .* --config.data.split=fold"),
    ],
)
def test_what_is_refused_is_named(grid, repeated, match):
    with pytest.raises(UserError, match=match) as error:
        plan.cells([CONFIG], [], grid, repeated)
    assert "\n" not in str(error.value)


def test_splits_want_official_ones_and_a_short_field_one_stage():
    with pytest.raises(UserError, match=r"--splits: data.split is 'fold'"):
        plan.cells([CONFIG], [("data.split", "fold")], [], {"splits": ["1"]})
    with pytest.raises(UserError, match=r"of its stages: first.optim.lr or only.optim.lr\?"):
        plan.cells([f"{CONFIG}:two"], [], ["optim.lr=1"])
