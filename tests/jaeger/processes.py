"""Processes that are started here and ended here, and no others."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

# How long anything that should happen is waited for, in seconds.
PATIENCE = 60


@contextmanager
def ended(process: subprocess.Popen) -> Iterator[subprocess.Popen]:
    """Sees that a process has ended, in order if it can."""
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
