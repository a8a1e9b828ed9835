#!/usr/bin/python3
"""Solves Laplace's equation on a square plate by Jacobi's method: many sweeps over one array, and a result that one wrong bit changes.

  numeric [SIZE] [SWEEPS]     SIZE x SIZE points, default 500; SWEEPS, default 20000

Prints how far it is, and at the end the sha256 of the whole plate, which depends on SIZE and SWEEPS alone; it is in
numeric.sha256 as well. Verified on the way: heat only comes in, so the sum never falls, and no point may be outside
the walls' temperatures. Exit status 1 when that is not so.
"""

import hashlib
import sys

import numpy

size = int(sys.argv[1]) if len(sys.argv) > 1 else 500
sweeps = int(sys.argv[2]) if len(sys.argv) > 2 else 20000
reports = 100


def sweep(plate, following):
    """One step: every inner point becomes the mean of its four neighbours. The order of additions is fixed, and so is the result."""
    following[1:-1, 1:-1] = plate[:-2, 1:-1]
    following[1:-1, 1:-1] += plate[2:, 1:-1]
    following[1:-1, 1:-1] += plate[1:-1, :-2]
    following[1:-1, 1:-1] += plate[1:-1, 2:]
    following[1:-1, 1:-1] *= 0.25


def verify(plate, before, done):
    if plate.min() < 0.0 or plate.max() > 100.0 or plate.sum() < before * (1 - 1e-9):
        print(f"sweep {done}: the plate is not what it should be", file=sys.stderr)
        sys.exit(1)


plate = numpy.zeros((size, size))
plate[0, :] = 100.0
following = plate.copy()
total = plate.sum()
for done in range(1, sweeps + 1):
    sweep(plate, following)
    plate, following = following, plate
    if done * reports // sweeps != (done - 1) * reports // sweeps:
        verify(plate, total, done)
        total = plate.sum()
        print(f"{done * 100 // sweeps} % sweep {done} of {sweeps}, mean {total / plate.size:.9f}", flush=True)

digest = hashlib.sha256(plate.tobytes()).hexdigest()
with open("numeric.sha256", "w") as file:
    file.write(f"{digest}\n")
print(f"sha256 {digest}")
