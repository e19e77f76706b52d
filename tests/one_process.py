"""A training run in a process of its own: `python one_process.py JSON`; used by test_processes."""

import json
import os
import sys
import threading
import time


def main(o: dict) -> None:
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax

    jax.config.update("jax_num_cpu_devices", o["devices"])
    jax.config.update("jax_compilation_cache_dir", o["cache"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    from darkjax import config as configs
    from darkjax import process, sharding, train

    if o["processes"] > 1:
        process.join(f"localhost:{o['port']}", o["processes"], o["process"])
    import pathlib

    import tiny_run

    folder = pathlib.Path(o["records"])
    if o["stage"] == "pretrain":
        c = tiny_run.contrast(folder)
    else:
        c = tiny_run.config(folder)
        c.student.init_from, c.student.allow_random_frozen = (), True
        c.student.steps, c.student.optim.warmup_steps = o["steps"], 0
    first = c.stages[0]
    c[first].steps, c[first].save_every = o["steps"], o["save_every"]
    c = configs.resolve(c)
    if o["kill"]:
        threading.Thread(target=_kill_while_writing, args=(o,), daemon=True).start()
    rows = []

    def done(step, numbers):
        rows.append(numbers["loss"])
        print(f"STEP {step}", flush=True)

    outcome = train.run(
        c,
        o["stage"],
        tiny_run.records(c),
        workdir=o["workdir"],
        mesh=sharding.make_mesh((-1, 1)),
        on_step=done,
    )
    print(f"ENDED at {outcome.saved_at}, signal {outcome.signal}", flush=True)
    print("LOSSES " + json.dumps(rows), flush=True)


def _kill_while_writing(o: dict) -> None:
    """SIGKILL this process while a checkpoint after the first few is half written."""
    folder = os.path.join(o["workdir"], "checkpoints")
    while True:
        names = os.listdir(folder) if os.path.isdir(folder) else []
        half = [n for n in names if "orbax-checkpoint-tmp" in n]
        if half and any(n.isdigit() and int(n) >= 2 for n in names):
            print("KILLED with " + " ".join(sorted(names)), flush=True)
            os.kill(os.getpid(), 9)
        time.sleep(0.0005)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
