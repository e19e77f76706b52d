"""The fusion tool on small saved predictions: matched by clip, fused, written, and bad input."""

import json

import numpy as np
import pytest

from darkjax.tools import fuse

CLASSES = ("a", "b", "c")
CLIPS = np.array([4, 5, 7, 9])
LABELS = np.array([0, 1, 2, 1])
IR = np.array([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6], [0.1, 0.2, 0.7], [0.5, 0.4, 0.1]])
FLOW = np.array([[0.4, 0.5, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4], [0.2, 0.5, 0.3]])
KNN = np.eye(3)[[0, 1, 2, 0]]


def stage(folder, probabilities, *, classes=CLASSES, digest="d" * 64, records="", **arrays):
    """A judged stage: by `arrays`, other arrays of its predictions, or other clips."""
    who = {"clip": CLIPS, "label": LABELS, "probabilities": probabilities}
    folder.mkdir(parents=True)
    np.savez(folder / "predictions.npz", **who | arrays)
    result = {
        "name": "top-1@1x1 tiny-test",
        "classes": list(classes),
        "numbers": {"top-1": 0.5},
        "judged_on": {"digest": digest},
        **({"records": records} if records else {}),
        "weights": f"step 3, {folder.name}",
    }
    (folder / "results.json").write_text(json.dumps(result))
    return folder


@pytest.fixture
def runs(tmp_path):
    """A run with two stages, with codes of theirs and of 12 training clips."""
    rng = np.random.default_rng(0)
    label = np.arange(12) % 3

    def coded(labels, seen):
        found = rng.normal(0, 0.05, (len(labels), 5)).astype(np.float32)
        found[:, 0] += labels == seen
        return found

    made = []
    for name, scores, seen in (("ir", IR, 0), ("flow", FLOW, 1)):
        codes = coded(LABELS, seen)
        made.append(stage(tmp_path / "run" / name, scores, probabilities_knn=KNN, codes=codes))
        training = {"clip": np.arange(20, 32), "label": label, "codes": coded(label, seen)}
        np.savez(made[-1] / "predictions-train.npz", probabilities=np.eye(3)[label], **training)
    return made


def test_late_fusion_by_hand_and_what_is_written(runs, tmp_path, capsys):
    ir, flow = runs
    out = tmp_path / "fused"
    assert fuse.main([str(ir), str(flow / "predictions.npz"), "--weights=1,2", f"--out={out}"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split() == [
        "tiny-test,", "4", "clips", "top-1", "mean-class", "mean-precision"
    ]  # fmt: skip
    # Infrared: right, c, right, a: recalls 1, 0, 1, answers a 1 of 2, b never, c 1 of 2.
    assert printed[1].split()[1:] == ["0.5000", "0.6667", "0.3333"]
    assert printed[2].split()[1:] == ["0.7500", "0.6667", "0.5556"]
    assert printed[3].startswith("late fusion of probabilities, 1 : 2 ")
    assert printed[3].split()[-3:] == ["1.0000", "1.0000", "1.0000"]
    with np.load(out / "predictions.npz") as saved:
        np.testing.assert_allclose(saved["probabilities"], (IR + 2 * FLOW) / 3)
        np.testing.assert_array_equal(saved["clip"], CLIPS)
        np.testing.assert_array_equal(saved["label"], LABELS)
        assert set(saved) == {"clip", "label", "probabilities"}
    result = json.loads((out / "results.json").read_text())
    assert result["name"] == "top-1@fused tiny-test" and result["classes"] == list(CLASSES)
    assert result["numbers"]["top-1"] == result["numbers"]["mean-precision"] == 1.0
    assert result["confusion"] == [[1, 0, 0], [0, 2, 0], [0, 0, 1]]
    assert [row["class"] for row in result["per_class"]] == list(CLASSES)
    assert [s["weights"] for s in result["streams"]] == ["step 3, ir", "step 3, flow"]
    # What was fused is fused again.
    assert fuse.main([str(out), str(ir)]) == 0


def test_nearest_neighbours_instead_and_equal_weights(runs, tmp_path, capsys):
    out = tmp_path / "fused"
    assert fuse.main([*map(str, runs), "--use=knn", f"--out={out}"]) == 0
    assert "late fusion of knn, 1 : 1" in capsys.readouterr().out
    with np.load(out / "predictions.npz") as saved:
        np.testing.assert_array_equal(saved["probabilities"], KNN)


@pytest.mark.parametrize("flags", [("--how=layer",), ("--how=two_layer", "--filters=4")])
def test_networks_learn_from_the_training_clips(runs, tmp_path, capsys, flags):
    out = tmp_path / "fused"
    assert fuse.main([*map(str, runs), *flags, f"--out={out}"]) == 0
    assert capsys.readouterr().out.splitlines()[3].split()[-3:] == ["1.0000"] * 3
    with np.load(out / "predictions.npz") as saved:
        first = saved["probabilities"]
    assert (first.argmax(1) == LABELS).all()
    assert fuse.main([*map(str, runs), *flags, f"--out={out}"]) == 0
    with np.load(out / "predictions.npz") as saved:
        np.testing.assert_array_equal(saved["probabilities"], first)


def test_records_of_other_records(runs, tmp_path):
    other = stage(tmp_path / "other", FLOW, digest="e" * 64)
    assert fuse.main([str(runs[0]), str(other)]) == 2
    assert fuse.main([str(runs[0]), str(other), "--other_records"]) == 0


def test_a_run_with_one_stage_is_named_by_its_folder(runs, tmp_path):
    stage(tmp_path / "lift" / "student", FLOW)
    assert fuse.main([str(runs[0]), str(tmp_path / "lift")]) == 0


def test_what_is_wrong_is_one_line(runs, tmp_path, capsys):
    ir, flow = map(str, runs)
    out = tmp_path / "fused"

    def refused(words, *args):
        assert fuse.main([*map(str, args), f"--out={out}"]) == 2
        err = capsys.readouterr().err
        assert err.startswith("error: ") and err.count("\n") == 1, err
        assert words in err, err

    refused("expected two runs or more", ir)
    refused("--how=early: expected one of late, layer, two_layer", ir, flow, "--how=early")
    refused("expected 2 weights, one a stream; found 3", ir, flow, "--weights=1,2,3")
    refused("--weights=one,2: expected numbers", ir, flow, "--weights=one,2")
    refused("--weights=1,2 is of --how=late", ir, flow, "--weights=1,2", "--how=layer")
    refused("--filters=0", ir, flow, "--how=two_layer", "--filters=0")
    refused("activation='gelu'", ir, flow, "--how=two_layer", "--activation=gelu")
    refused("codes have no mean", ir, flow, "--use=codes")
    refused("expected svm in ", ir, flow, "--use=svm")
    refused("found no ", ir, tmp_path / "nothing")
    refused(f"found {flow}, {ir}: give one of them", tmp_path / "run", ir)
    (tmp_path / "empty").mkdir()
    refused("found none: judge the run first", ir, tmp_path / "empty")
    bare = stage(tmp_path / "bare", FLOW)
    refused("expected codes in ", ir, bare, "--how=layer")
    refused("predictions-train.npz, which a network learns from", flow, bare,
            "--how=layer", "--use=probabilities")  # fmt: skip
    named = stage(tmp_path / "named", FLOW, classes=("a", "b", "d"))
    refused("expected the same classes", ir, named)
    drawn = stage(tmp_path / "drawn", FLOW, clip=CLIPS + 1)
    refused("the same clips; ", ir, drawn)
    split = stage(tmp_path / "split", FLOW[:3], clip=CLIPS[:3], label=LABELS[:3])
    refused("has 4, 1 of them alone", ir, split)
    labels = stage(tmp_path / "labels", FLOW, label=LABELS[::-1])
    refused("clip 4 has 0 in ", ir, labels)
    wide = stage(tmp_path / "wide", np.ones((4, 5)) / 5)
    refused("of 3 classes; found 5", ir, wide)
    nan = stage(tmp_path / "nan", FLOW * np.nan)
    refused("NaN or inf in probabilities", ir, nan)
    ragged = stage(tmp_path / "ragged", FLOW[:3])
    refused("one row of each of the clips", ir, ragged)
    (named / "results.json").unlink()
    refused("expected results.json with the classes beside", ir, named)
    (drawn / "results.json").write_text("{}")
    refused("expected a classification's results", ir, drawn)
    whole = (bare / "predictions.npz").read_bytes()
    for content in (b"", whole[:100], whole[:-40], b"PK" + whole[200:], b"nothing of the kind"):
        (bare / "predictions.npz").write_bytes(content)
        refused("a damaged one", ir, bare)
    np.savez(bare / "predictions.npz", probabilities=FLOW)
    refused("KeyError", ir, bare)
    assert not out.exists()
    for folder in (ir, flow, tmp_path / "ragged"):
        assert fuse.main([ir, flow, f"--out={folder}"]) == 2
        words = "holds the results" if "ragged" in str(folder) else "would overwrite its own"
        assert words in capsys.readouterr().err
    out.write_text("")
    assert fuse.main([ir, flow, f"--out={out}"]) == 2
    assert f"--out={out} cannot be written" in capsys.readouterr().err


def test_what_they_were_trained_with_does_not_make_the_judged_clips_others(runs, tmp_path, capsys):
    """Two that saw other rendered clips, judged on the same real ones, and one of before that."""
    one, two = (
        stage(tmp_path / name, scores, digest=name * 64, records="d" * 64)
        for name, scores in (("1", IR), ("2", FLOW))
    )
    out = tmp_path / "fused"
    assert fuse.main([str(one), str(two), str(runs[0]), f"--out={out}"]) == 0
    assert json.loads((out / "results.json").read_text())["records"] == "d" * 64
    assert fuse.main([str(out), str(one)]) == 0  # what is fused can be fused again
    other = stage(tmp_path / "3", FLOW, digest="1" * 64, records="e" * 64)
    capsys.readouterr()
    assert fuse.main([str(one), str(other)]) == 2
    assert "expected clips of the same records" in capsys.readouterr().err
