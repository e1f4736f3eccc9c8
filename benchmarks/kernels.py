"""GPU time by kind of kernel, from TensorFlow's profiler."""

import collections
import pathlib
import re
import tempfile

import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

# Of each kind a pattern; a kernel is of the first kind whose pattern is in its name.
KINDS = {
    "convolutions": "fprop",
    "their gradients by the input": "dgrad",
    "their gradients by the kernel": "wgrad",
    "matrix products": "gemm|nvjet|splitK",
    "sums": "reduce",
    # XLA names an activation in front of a convolution after its last operation.
    "inputs of convolutions": "transpose|concatenate|pad",
    "selections: Adam and EMA, masks": "select",
    "other elementwise work": "fusion|wrapped",
    "copies and zeros": "",
}


def kind_of(kernel: str) -> str:
    return next(kind for kind, part in KINDS.items() if re.search(part, kernel))


def profile(work, times: int = 3) -> dict[str, tuple[float, float]]:
    """Number and milliseconds of the kernels of each kind that one call of `work`
    starts on the first GPU, the mean of `times` calls; `work` waits for its result."""
    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            for _ in range(times):
                work()
        (path,) = pathlib.Path(folder).glob("**/*.xplane.pb")
        totals = by_kind(xplane_pb2.XSpace.FromString(path.read_bytes()))
    return {kind: (number / times, ms / times) for kind, (number, ms) in totals.items()}


def by_kind(space: xplane_pb2.XSpace) -> dict[str, tuple[int, float]]:
    """Number and milliseconds of the kernels of each kind, and of all, on the first
    GPU."""
    events = [
        (kind_of(plane.event_metadata[event.metadata_id].name), event.duration_ps)
        for plane in space.planes
        if plane.name == "/device:GPU:0"
        for line in plane.lines
        if line.name.startswith("Stream")
        for event in line.events
    ]
    numbers, times = collections.Counter(), collections.Counter()
    for kind, duration in events:
        numbers[kind] += 1
        times[kind] += duration
    sums = {kind: (numbers[kind], times[kind] / 1e9) for kind in KINDS}
    return sums | {"all": (numbers.total(), times.total() / 1e9)}
