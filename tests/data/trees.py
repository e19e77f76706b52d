"""Small copies of downloads: the official names, folders and lines of lists, few and tiny clips."""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from tiny import encode

from darkjax.data import images


class Clips:
    """Tiny videos, each another, encoded once for a whole session of tests."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder

    def put(self, number: int, path: pathlib.Path) -> None:
        """Clip `number` at `path`, in the container of its suffix."""
        kept = self.folder / f"{number}{path.suffix}"
        if not kept.exists():
            encode(kept, self.frames(number), "mpeg4")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(kept.read_bytes())

    @staticmethod
    def frames(number: int) -> np.ndarray:
        """uint8 [6, 32, 48, 3]: a bar that moves, at its own place and brightness."""
        frames = np.full((6, 32, 48, 3), 16 + number, np.uint8)
        for t in range(6):
            frames[t, :, (number + 6 * t) % 44 : (number + 6 * t) % 44 + 4] = 200 - 2 * number
        return frames


@dataclasses.dataclass
class Tree:
    """What a dataset's copy must be found to be."""

    clips: int
    classes: int
    sizes: Mapping[tuple[str, str], int]  # (protocol or "", part): clips
    groups: Mapping[str, str]  # of some clips, by id
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    notes: int = 0  # lines in the log


def arid(root: pathlib.Path, put: Callable[..., None]) -> Tree:
    names = [f"{c}/{c}_{s}_{n}" for c in ("Drink", "Wave") for s in (1, 12) for n in (1, 10)]
    for name in names:  # distributed as .mp4, listed as .avi
        put(root / "clips_v1.0" / f"{name}.mp4")
    parts = {"train": names[::2] + names[1:2], "test": names[3:6:2], "other": names[7:]}
    for k in (1, 2, 3):
        for part, chosen in parts.items():
            word = "others" if (part, k) == ("other", 3) else part
            lines = [f"{n}\t{0 if 'Dr' in c else 10}\t{c}.avi" for n, c in enumerate(chosen)]
            end, bom = ("\r\n", b"\xef\xbb\xbf") if k == 2 else ("\n", b"")
            path = root / "list_cvt" / f"ARID_split{k}_{word}.txt"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(bom + end.join(lines).encode())  # and no end of the last line
    sizes = {(str(k), part): len(chosen) for k in (1, 2, 3) for part, chosen in parts.items()}
    return Tree(8, 11, sizes, {"Drink/Drink_12_10.avi": "Drink_12"})


def arid15(root: pathlib.Path, put: Callable[..., None]) -> Tree:
    for name in ("Drink/Drink_1_1", "Drink/Drink_1_2", "Run/Run_19_3", "Run/Run_20_1"):
        put(root / f"{name}.mp4")
    return Tree(4, 11, {("", "train"): 4}, {"Drink/Drink_1_2.mp4": "Drink_1"}, notes=1)


def arid_ug2(root: pathlib.Path, put: Callable[..., None]) -> Tree:
    lists = root / "list_cvt"
    lists.mkdir()
    label = {"Wave/Wave_10_1.mp4": 10, "Run/Run_3_1.mp4": 5, "Run/Run_3_2.mp4": 5}
    names = [*label, "Sit/Sit_4_1.mp4", "Sit/Sit_5_1.mp4"]
    rows = [f"{n},{name},{label.get(name, 6)}\n" for n, name in enumerate(names)]
    (lists / "ARID1.1_t1_train_pub.csv").write_text("VideoID,Video,ClassID\n" + "".join(rows))
    (lists / "ARID1.1_t1_validation_gt_pub.csv").write_text("VideoID,Video\n0,0.mp4\n")
    for name in names:
        put(root / "train_data" / name)
    put(root / "test_data" / "0.mp4")
    return Tree(5, 6, {("", "train"): 5}, {"Run/Run_3_2.mp4": "Run_3"}, notes=1)


def infar(root: pathlib.Path, put: Callable[..., None]) -> Tree:
    names = [f"{name}/{n:06d}_{name}.avi" for name in ("jump", "wave2") for n in range(5)]
    for name in names:
        put(root / "InfAR" / name)
    sizes = {(str(k), part): n for k in range(1, 6) for part, n in (("train", 6), ("test", 4))}
    id_ = "InfAR/jump/000003_jump.avi"
    return Tree(10, 12, sizes, {id_: id_.removesuffix(".avi")})


def xd145(root: pathlib.Path, put: Callable[..., None]) -> Tree:
    for n in range(4):
        put(root / f"hug/00000{n}_hug.avi")
    put(root / "fight/000009.avi")  # its id ends in the class, its name does not
    for k in range(5):
        split = {
            "training": ["000000_hug", "000001_hug", "000009_fight"],
            "testing": ["000002_hug", "000003_hug"],
        }
        (root / f"split_{k}.json").write_text(json.dumps(split))
    sizes = {(str(k), part): n for k in range(5) for part, n in (("train", 3), ("test", 2))}
    return Tree(5, 12, sizes, {"fight/000009.avi": "fight/000009"})


def hmdb51(root: pathlib.Path, put: Callable[..., None]) -> Tree:
    of_class = {
        "kick": ["50_FIRST_DATES_kick_f_cm_np1_ba_med_19", "#20_Rhythm_kick_f_nm_np1_le_med_1"],
        "ride_horse": [
            "50_FIRST_DATES_ride_horse_u_cm_np2_fr_goo_0",
            "Prelinger_(A&B)_ride_horse_f_cm_np1_ri_bad_2",
        ],
    }
    flags = {1: (1, 2, 1, 0), 2: (2, 1, 1, 2), 3: (1, 1, 2, 0)}
    (root / "splits").mkdir()
    for k, flag in flags.items():
        values = iter(flag)
        for name, files in of_class.items():
            lines = "".join(f"{file}.avi {next(values)} \n" for file in files)
            (root / "splits" / f"{name}_test_split{k}.txt").write_text(lines)
    for name, files in of_class.items():
        for file in files:
            put(root / "hmdb51_org" / name / name / f"{file}.avi")  # as nested archives unpack
    words = {0: "other", 1: "train", 2: "test"}
    sizes = {(str(k), words[w]): flags[k].count(w) for k in flags for w in set(flags[k])}
    groups = {
        "kick/50_FIRST_DATES_kick_f_cm_np1_ba_med_19.avi": "50_FIRST_DATES",
        "ride_horse/50_FIRST_DATES_ride_horse_u_cm_np2_fr_goo_0.avi": "50_FIRST_DATES",
        "kick/#20_Rhythm_kick_f_nm_np1_le_med_1.avi": "#20_Rhythm",
        "ride_horse/Prelinger_(A&B)_ride_horse_f_cm_np1_ri_bad_2.avi": "Prelinger_(A&B)",
    }
    return Tree(4, 51, sizes, groups)


def ucf101(root: pathlib.Path, put: Callable[..., None]) -> Tree:
    eye = [f"ApplyEyeMakeup/v_ApplyEyeMakeup_g0{g}_c0{c}.avi" for g in (1, 8) for c in (1, 2)]
    hand = [f"HandstandPushups/v_HandStandPushups_g0{g}_c01.avi" for g in (1, 8)]
    lists = root / "ucfTrainTestlist"
    lists.mkdir()
    for k in (1, 2, 3):
        train = "".join(f"{f} {1 if f in eye else 37}\r\n" for f in [*eye[2:], hand[1]])
        (lists / f"trainlist0{k}.txt").write_bytes(train.encode())
        (lists / f"testlist0{k}.txt").write_text("\n".join([*eye[:2], hand[0]]))
    for name in eye + hand:
        put(root / "UCF-101" / name)
    sizes = {(str(k), part): 3 for k in (1, 2, 3) for part in ("train", "test")}
    return Tree(6, 101, sizes, {eye[1]: "v_ApplyEyeMakeup_g01", hand[1]: "v_HandStandPushups_g08"})


def dark48(root: pathlib.Path, put: Callable[..., None]) -> Tree:
    names = [
        "bouncing/meGuchxNyKg_106.mp4",
        "juggling_fire/AdBJAjn-yVM_000040_000050.mp4",
        "bouncing/meGuchxNyKg_7.mp4",
        "raining/yt--TG-Ts2e0ew_121.mp4",
    ]
    label = {"bouncing": 6, "juggling_fire": 24, "raining": 31}
    lists = root / "annotations"
    (lists / "frame_file_list").mkdir(parents=True)
    for k in (1, 2, 3):
        for part, chosen in (("train", names[:3]), ("test", names[3:])):
            rows = [(name, label[name.partition("/")[0]]) for name in chosen]
            (lists / f"{part}_split{k}.txt").write_text("\n".join(f"{f} {n}" for f, n in rows))
            frames = "\n".join(f"{f.removesuffix('.mp4')} 90 {n}" for f, n in rows)
            (lists / "frame_file_list" / f"{part}_split{k}.txt").write_text(frames)
    for name in names:
        put(root / "videos" / name)
    sizes = {(str(k), part): n for k in (1, 2, 3) for part, n in (("train", 3), ("test", 1))}
    return Tree(4, 48, sizes, {names[0]: "meGuchxNyKg", names[1]: "AdBJAjn-yVM"})


def uavhuman_fisheye(root: pathlib.Path, put: Callable[..., None]) -> Tree:
    # 70, 2, 0 and 1: trained on in both (70: CSv1 alone has it not), CSv1 alone, both, neither
    subjects = {70: 143, 2: 7, 0: 154, 1: 0}
    names = {
        p: f"P{p:03d}S10G20200B10H20UC022000LC021000A{a:03d}R0_0914175{n}.avi"
        for n, (p, a) in enumerate(subjects.items())
    }
    for name in names.values():
        put(root / "fisheye" / name)
    put(root / "fisheye" / "readme.avi")
    sizes = {("CSv1", "train"): 3, ("CSv1", "test"): 1, ("CSv2", "train"): 2, ("CSv2", "test"): 2}
    return Tree(4, 155, sizes, {names[70]: "P070"}, notes=1)


def iitr_iar(root: pathlib.Path, put: Callable[..., None]) -> Tree:
    for n in range(21):
        put(root / f"action {n:02d}" / "1.avi")
    return Tree(21, 21, {("", "train"): 21}, {"action 03/1.avi": "action 03/1"}, notes=1)


def folder(root: pathlib.Path, put: Callable[..., None]) -> Tree:
    for name in ("train/run/a.mp4", "train/hug/b.mp4", "test/run/c.mp4"):
        put(root / name)
    return Tree(3, 2, {("", "train"): 2, ("", "test"): 1}, {"test/run/c.mp4": "c"})


def csv(root: pathlib.Path, put: Callable[..., None]) -> Tree:
    put(root / "long, of monday.mp4")
    put(root / "b.mp4")
    (root / "clips.csv").write_bytes(
        b"\xef\xbb\xbfpath,label,start,end,group,split\r\n"
        b'"long, of monday.mp4",pour,0,0.1,,train\r\n'
        b'"long, of monday.mp4",drink,0.1,,,train\r\n'
        b"b.mp4,pour,,,anna,Testing"
    )
    sizes = {("", "train"): 2, ("", "test"): 1}
    groups = {"long, of monday.mp4@0.1-": "long, of monday.mp4", "b.mp4": "anna"}
    return Tree(3, 2, sizes, groups)


def frames(root: pathlib.Path, put: Callable[..., None]) -> Tree:
    for clip, name in enumerate(("train/run/a", "train/hug/b", "test/run/c")):
        for t, picture in enumerate(Clips.frames(clip)):
            path = root / name / f"img_{t + 8}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            images.write_image(path, picture)
            images.write_image(path.with_name(f"flow_x_{t + 8}.jpg"), picture)
    (root / "train/hug/b/img_10.jpg").unlink()
    sizes = {("", "train"): 2, ("", "test"): 1}
    groups = {"train/hug/b": "train/hug/b"}
    return Tree(3, 2, sizes, groups, {"fps_of_frames": 12.5}, notes=1)


TREES = {
    make.__name__: make
    for make in (
        arid, arid15, arid_ug2, infar, xd145, hmdb51, ucf101, dark48, uavhuman_fisheye, iitr_iar,
        folder, csv, frames,
    )
}  # fmt: skip
