"""Named streams of random numbers: every draw comes from a stream named by what it is for.

There is no random state. `stream(seed, "dropout6", step)` is the same sequence on every device, in every thread and
after every restart, so nothing has to be saved but the seed and the step.
"""

import hashlib

import numpy as np


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """The generator of the stream `names` under `seed`, at its start; drawn on the host, whatever the backend.

    The counter-based generator Philox is keyed by a hash of the seed and the names: equal names give equal numbers,
    different names independent ones. `stream(0, "augment", 3, 17)` and `stream(0, "augment", 31, 7)` differ, and so do
    the names 1 and "1".
    """
    if not all(isinstance(part, int | np.integer | str) for part in (seed, *names)):
        raise TypeError(f"stream: a seed and names must be integers or strings, got {(seed, *names)!r}")
    parts = [part if isinstance(part, str) else int(part) for part in (seed, *names)]
    key = hashlib.blake2b(repr(parts).encode(), digest_size=16).digest()  # Philox 4x64 takes a key of 128 bits
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))
