"""Memory that is freed is there for what is allocated next."""

import os
import pathlib
import subprocess
import sys

import pytest

from darkjax import heap

BLOCK = 64 << 20
# Page faults of a block that was there before, in a thread as XLA's.
AGAIN = f"""
import resource, threading, time
from darkjax import heap
print(heap.keep())
faults = []
def use():
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        block = bytearray({BLOCK})
        block[::4096] = b"1" * len(block[::4096])
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
        del block
thread = threading.Thread(target=use)
thread.start()
thread.join()
print(faults[-1])
"""
glibc = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(heap.ctypes.CDLL(None), "gnu_get_libc_version"),
    reason="needs Linux with glibc",
)


def program(code, **given):
    """The lines that a program prints, in an environment that says nothing of malloc."""
    usual = {k: v for k, v in os.environ.items() if not heap.chosen({k: v})}
    env = usual | {"JAX_PLATFORMS": "cpu"} | given
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@glibc
def test_a_block_that_was_freed_costs_no_page_faults():
    kept, faults = program(AGAIN)
    assert kept == "True" and int(faults) < BLOCK / 4096 / 16


@glibc
@pytest.mark.parametrize(
    "given",
    [
        {"MALLOC_ARENA_MAX": "2"},
        {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=7"},
        {"JAX_PLATFORMS": "cuda,cpu"},
    ],
)
def test_what_the_user_chose_stays(given):
    kept, _ = program(AGAIN, **given)
    assert kept == "False"


def test_an_accelerator_is_told_from_what_is_installed(monkeypatch):
    monkeypatch.setattr(heap, "plugged", lambda: True)
    assert heap.accelerated({}) and not heap.accelerated({"JAX_PLATFORMS": "cpu"})
    monkeypatch.setattr(heap, "plugged", lambda: False)
    assert not heap.accelerated({}) and heap.accelerated({"JAX_PLATFORMS": "tpu"})


@glibc
def test_pages_that_are_too_large_are_left_alone(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(heap, "PAGES", tmp_path)

    class Libc:
        """Calls are written down; there is no memory."""

        def __getattr__(self, name):
            call = self.__dict__[name] = lambda *args: asked.append(name)
            return call

    heap.enlarge(Libc())
    pathlib.Path(tmp_path, "hpage_pmd_size").write_text(f"{512 << 20}\n")
    heap.enlarge(Libc())
    assert not asked
    pathlib.Path(tmp_path, "hpage_pmd_size").write_text(f"{2 << 20}\n")
    heap.enlarge(Libc())
    assert asked == ["malloc"]  # which gave nothing


@glibc
def test_every_program_keeps_its_memory():
    code = "from darkjax import heap, program\nheap.keep = lambda: print('kept')\n"
    assert program(code + "program.run(lambda: 0)") == ["kept"]
