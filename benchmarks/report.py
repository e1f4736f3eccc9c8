"""What a benchmark prints and writes: a row of a table, its results as JSON."""

import json
import pathlib
import resource

import tensorflow as tf
from absl import flags

flags.DEFINE_string("output_json", None, "Write the results to this file.")
FLAGS = flags.FLAGS


def row(columns: dict[str, str], is_first: bool = True) -> None:
    """Prints the columns, heading: cell, as a row of a table."""
    if is_first:
        print(f"| {' | '.join(columns)} |")
        print(f"| {' | '.join('---' for _ in columns)} |")
    print(f"| {' | '.join(columns.values())} |", flush=True)


def write(results: dict | list) -> None:
    """Writes the results to --output_json, where it is given."""
    if FLAGS.output_json:
        path = pathlib.Path(FLAGS.output_json)
        path.write_text(json.dumps(results, indent=2) + "\n")


def speed(results: dict, **others: str) -> None:
    """Reports images_per_s of a network, beside the ceiling, and the other columns."""
    share = results["gflop_per_s"] / results["ceiling_gflop_per_s"]
    columns = {
        "size": f"{results['nr_resnet']}, {results['nr_filters']}",
        "batch": str(results["batch_size"]),
        "images/s": f"{results['images_per_s']:.2f}",
        "GFLOP/s": f"{results['gflop_per_s']:.0f}",
        "ceiling": f"{results['ceiling_gflop_per_s']:.0f}",
        "share": f"{share:.0%}",
    }
    row(columns | others)
    write(results | {"share_of_ceiling": share})


def forget_peak() -> None:
    """From here on `peak_gb` of a GPU counts anew; the host's cannot."""
    if tf.config.list_logical_devices("GPU"):
        tf.config.experimental.reset_memory_stats("GPU:0")


def peak_gb() -> float:
    """The most memory that this process has held, in GB: of its first GPU, or of the
    host (10^6 KiB) where TensorFlow uses no GPU."""
    if tf.config.list_logical_devices("GPU"):
        return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
