"""One of two processes that share checkpoints: `python two_readers.py PORT PROCESS FOLDER`.

Used by test_checkpoint. They save three, then go on after the latest was damaged, then after all
were; each says what it took.
"""

import os
import pathlib
import sys


def main(port: str, process: int, folder: pathlib.Path) -> None:
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax

    jax.config.update("jax_num_cpu_devices", 2)
    from jax.experimental import multihost_utils

    from darkjax import checkpoint, sharding
    from darkjax import process as this
    from darkjax.errors import UserError
    from darkjax.state import TrainState

    this.quiet()
    this.join(f"localhost:{port}", 2, process)
    import numpy as np

    mesh = sharding.make_mesh((-1, 1))
    split = jax.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    rest = sharding.replicated(mesh)

    def state(step: int) -> TrainState:
        w = np.arange(8, dtype=np.float32) + step
        made = jax.make_array_from_callback(w.shape, split, lambda i: w[i])
        one = jax.make_array_from_callback((), rest, lambda i: np.asarray(step, np.int32)[i])
        return TrainState(one, {"w": made}, {}, {}, {})

    def damage(pattern: str) -> None:
        if process == 0:
            for path in folder.glob(pattern):
                path.write_bytes(path.read_bytes()[:-1])
        multihost_utils.sync_global_devices(pattern)

    def resume() -> None:
        with checkpoint.Checkpointer(str(folder)) as saver:
            for line in saver.lines:
                print(f"LINE {line}")
            step = saver.latest()
            found, meta = saver.restore(step, state(0))
            parts = [np.asarray(s.data).tolist() for s in found.params["w"].addressable_shards]
            print(f"TAKEN {step} {meta['step']} {parts}")

    with checkpoint.Checkpointer(str(folder)) as saver:
        for step in (1, 2, 3):
            saver.save(state(step), {"step": step})
    damage("3/state/ocdbt.process_1/d/*")
    resume()
    damage("2/meta/metadata")
    try:
        resume()
    except UserError as e:
        print(f"ERROR {e}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3]))
