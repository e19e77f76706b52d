"""Parameters and GMACs of the zoo beside the values of the originals and of the papers' tables.

    python benchmarks/paper_tables.py [--only=resnext101,c3d]

Nothing is run: parameters come from `jax.eval_shape`, GMACs from the traced program, counting
convolutions (padding included) and matrix products and nothing else. The first table's reference
values were counted the same way on the original code; the second's are printed in DTCM's tables
(Tu et al., Tables III-V), whose "GFLOPs" are such GMACs, sometimes with batch norm and ReLU added.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

from darkjax.tools.profile import profile


class Row(NamedTuple):
    """One line: architecture, classes, clip, and what the reference says (None: nothing)."""

    arch: str
    classes: int
    clip: tuple[int, int, int]
    params: float | None  # exact in the first table, millions in the second
    gmacs: float | None
    note: str = ""


T64, T16 = (64, 112, 112), (16, 112, 112)
BIG, P3D = (16, 224, 224), (16, 160, 160)

ORIGINALS = [
    Row("resnext101", 400, T64, 48_340_816, None),
    Row("resnext101", 11, T64, 47_543_755, 38.268),
    Row("resnext101", 11, BIG, 47_543_755, 38.040),
    Row("resnext101", 12, T64, 47_545_804, None),
    Row("resnext101", 48, T64, 47_619_568, None),
    Row("resnext101", 155, T64, 47_838_811, None),
    Row("r3d18_a", 11, T64, 33_035_723, None),
    Row("r3d18", 11, T64, 33_209_547, 33.231),
    Row("r3d18", 11, BIG, 33_209_547, 32.858),
    Row("r3d34", 11, T64, 63_519_179, 50.784),
    Row("r3d50", 11, T64, 46_221_515, 40.274),
    Row("r3d50", 11, BIG, 46_221_515, 39.845),
    Row("r3d101", 11, T64, 85_267_659, 55.560),
    Row("r3d101", 11, BIG, 85_267_659, 55.131),
    Row("r2plus1d34", 359, (8, 112, 112), 63_676_142, 38.089),
    Row("r2plus1d34", 487, (8, 112, 112), 63_741_806, None),
    Row("r2plus1d34", 400, (32, 112, 112), 63_697_175, 152.356),
    Row("r2plus1d34", 11, T64, 63_497_618, 304.711),
    Row("i3d", 400, BIG, 12_697_264, 27.788),
    Row("i3d", 11, T64, 12_298_539, 27.93),
    Row("i3d", 0, BIG, 12_287_264, None),
    Row("c3d", 487, T16, 79_991_015, 38.549),
    Row("c3d_bn", 600, BIG, 181_122_776, 131.94),
    Row("c3d_bn", 11, T16, 78_046_347, None),
    Row("p3d199", 400, P3D, 66_492_240, 18.403),
    Row("p3d199", 11, P3D, 65_695_179, None),
    Row("s3d", 400, BIG, 8_320_048, 17.979),
    Row("tsn_resnet50", 400, (8, 224, 224), 24_327_632, 32.704),
    Row("tsm_resnet50", 48, (8, 224, 224), 23_606_384, None),
    Row("tsm_resnet50", 11, (8, 224, 224), 23_530_571, None),
    Row("tin_resnet50", 400, (8, 224, 224), 24_358_640, None),
    Row("tin_resnet50", 48, (8, 224, 224), 23_637_392, None),
    Row("tin_resnet50", 174, (8, 224, 224), 23_895_566, None),
    Row("slowfast_r50_4x16", 400, (32, 224, 224), 34_480_216, 27.639),
    Row("slowfast_r50_8x8", 400, (32, 224, 224), 34_566_488, 50.309),
    Row("slowfast_r50_8x8", 48, (32, 224, 224), 33_755_128, None),
    Row("timesformer_b", 400, (8, 224, 224), 121_566_352, 195.83),
    Row("timesformer_b", 400, (96, 224, 224), 121_633_936, 2379.857),
    Row("swin3d_b", 400, (32, 224, 224), 88_048_984, 281.333),
    Row("swin3d_t", 400, (32, 224, 224), 28_158_070, None),
    Row("mvit_b_16x4", 400, BIG, 36_610_672, 70.599),
    Row("mvit_b_16x4", 400, (32, 224, 224), 36_611_440, 169.958),
    Row("mvit_b_16x4", 400, (64, 224, 224), 36_612_976, 455.062),
    Row("mobilenet3d_v1", 600, T64, 3_912_984, None),
    Row("mobilenet3d_v1", 11, T64, 3_309_259, 0.930),
    Row("mobilenet3d_v2", 600, T64, 3_122_648, None),
    Row("mobilenet3d_v2", 11, T64, 2_368_139, 2.073),
    Row("shufflenet3d_v1", 600, T64, 1_521_504, None),
    Row("shufflenet3d_v1", 11, T64, 955_475, 0.749),
    Row("shufflenet3d_v2", 600, T64, 1_914_180, None),
    Row("shufflenet3d_v2", 11, T64, 1_310_455, 0.744),
    Row("squeezenet3d", 600, T64, 2_145_560, None),
    Row("squeezenet3d", 11, T64, 1_843_403, 3.591),
    Row("r3d18_tv", 400, T16, 33_371_472, 40.697),
    Row("r2plus1d18", 400, T16, 31_505_325, 40.519),
    Row("darklight_r2plus1d34", 11, T64, 66_659_218, None),
    Row("r2plus1d34_bert", 11, T64, 66_655_122, None),
]

EXTRA = "printed G counts batch norm and ReLU too"
DTCM = [
    Row("resnext101", 11, T64, 47.54, 38.47, EXTRA),
    Row("r3d18", 11, BIG, 1.84, 32.90, "1.84 is SqueezeNet's: a copying error"),
    Row("r3d50", 11, T64, 46.22, 40.41, EXTRA),
    Row("r3d101", 11, T64, 85.27, 55.72, EXTRA),
    Row("mobilenet3d_v1", 11, T64, 3.31, None, "equal"),
    Row("mobilenet3d_v2", 11, T64, 2.37, None, "equal"),
    Row("shufflenet3d_v1", 11, BIG, 0.96, 0.77, EXTRA),
    Row("shufflenet3d_v2", 11, T64, 1.31, None, "equal"),
    Row("squeezenet3d", 11, T64, 1.84, None, "equal"),
    Row("r2plus1d34", 11, T64, 63.50, 305.51, "the IG-65M graph, not the Kinetics-700 one"),
    Row("c3d_bn", 600, BIG, 181.12, 132.21, "batch-norm C3D with the 600 classes of its weights"),
    Row("i3d", 0, BIG, 12.29, 27.83, "counted without its classifier"),
    Row("tsn_resnet50", 400, (8, 224, 224), 24.3, 33.43, "400 classes of the pretraining"),
    Row("tsm_resnet50", 400, (8, 224, 224), 24.3, 33.47, "400 classes of the pretraining"),
    Row("tin_resnet50", 174, (8, 224, 224), 23.90, 32.96, "174 classes of the pretraining"),
    Row("slowfast_r50_8x8", 48, (64, 224, 224), 32.93, 234.32, "no SlowFast gives both values"),
    Row("timesformer_b", 400, (96, 224, 224), 121.41, 2380, "96 frames, not the 8 printed"),
    Row("swin3d_b", 400, (32, 224, 224), 88.13, 282, "as the paper of Video Swin rounds it"),
    Row("mvit_b_16x4", 400, (64, 224, 224), 36.65, 455, "equal but for rounding"),
    Row(
        "darklight_r2plus1d34", 11, T64, 66.73, 674.84, "two passes of 304.7; printed G has 65 more"
    ),
]


# DTCM, Table IX: enhancer, k, printed GFLOPs of 64 frames of 112x112, thousands of parameters
TABLE_IX = [
    ("zero_dce", 1, 63.77, 79.42),
    ("zero_dce_light", 1, 19.08, 23.77),
    ("zero_dce_light", 2, 9.55, 23.77),
    ("zero_dce_light", 4, 4.77, 23.77),
    ("zero_dce_light", 8, 2.38, 23.77),
    ("zero_dce_light", 16, 1.19, 23.77),
]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="architectures, joined by commas")
    args = parser.parse_args()
    only = args.only.split(",") if args.only else None
    print("Originals: parameters exact, GMACs of one clip")
    _table([r for r in ORIGINALS if only is None or r.arch in only], exact=True)
    print("\nDTCM, Tables III-V: millions of parameters, GMACs of one clip")
    _table([r for r in DTCM if only is None or r.arch in only], exact=False)
    if only is None or "zero_dce_light" in only:
        print("\nDTCM, Table IX: enhancement of a clip, curves shared by k frames")
        _table_ix()


def _table(rows: list[Row], exact: bool) -> None:
    print(
        f"{'architecture':<21} {'classes':>7} {'clip':>12} {'params':>12} {'reference':>12} "
        f"{'GMACs':>10} {'reference':>10}  remark"
    )
    for row in rows:
        found = profile(row.arch, row.classes, row.clip)
        clip = "x".join(map(str, row.clip))
        if exact:
            mine, theirs = f"{found['params']:,}", "" if row.params is None else f"{row.params:,}"
            remark = row.note or _remark(found, row)
        else:
            mine, theirs = f"{found['params'] / 1e6:.2f}", f"{row.params}"
            remark = row.note
        gmacs = "" if row.gmacs is None else f"{row.gmacs}"
        print(
            f"{row.arch:<21} {row.classes or '-':>7} {clip:>12} {mine:>12} {theirs:>12} "
            f"{found['gmacs']:>10.3f} {gmacs:>10}  {remark}",
            flush=True,
        )


def _table_ix() -> None:
    """The printed GFLOPs are parameters x pixels (biases and norms counted as products)."""
    print(
        f"{'enhancer':<16} {'k':>3} {'params':>8} {'printed k':>10} {'GMACs 64':>9} {'printed':>8} "
        f"{'params x pixels':>16} {'GMACs 16':>9}"
    )
    for name, k, printed, thousands in TABLE_IX:
        found = profile(name, None, T64, fields={"k": k})
        short = profile(name, None, T16, fields={"k": k})
        pixels = 64 // k * 112 * 112
        print(
            f"{name:<16} {k:>3} {found['params']:>8,} {thousands:>10} {found['gmacs']:>9.3f} "
            f"{printed:>8} {found['params'] * pixels / 1e9:>16.2f} {short['gmacs']:>9.3f}"
        )


def _remark(found: dict, row: Row) -> str:
    """Equal, or by how much not."""
    remarks = []
    if row.params is not None and found["params"] != row.params:
        remarks.append(f"parameters differ by {found['params'] - row.params:+,}")
    if row.gmacs is not None and abs(found["gmacs"] / row.gmacs - 1) > 1e-3:
        remarks.append(f"GMACs differ by {found['gmacs'] / row.gmacs - 1:+.2%}")
    return "; ".join(remarks) or "equal"


if __name__ == "__main__":
    main()
