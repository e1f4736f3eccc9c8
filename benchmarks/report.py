"""What a benchmark prints and writes: a row of a table, its figures as JSON."""

import json
import pathlib
import resource

from absl import flags

flags.DEFINE_string("output_json", None, "Write the figures to this file.")
FLAGS = flags.FLAGS


def row(columns: dict[str, str], is_first: bool = True) -> None:
    """Prints the columns, heading: cell, as a row of a table."""
    if is_first:
        print(f"| {' | '.join(columns)} |")
        print(f"| {' | '.join('---' for _ in columns)} |")
    print(f"| {' | '.join(columns.values())} |", flush=True)


def write(figures: dict | list) -> None:
    """Writes the figures to --output_json, where it is given."""
    if FLAGS.output_json:
        path = pathlib.Path(FLAGS.output_json)
        path.write_text(json.dumps(figures, indent=2) + "\n")


def speed(figures: dict, **others: str) -> None:
    """Reports images_per_s of a network, beside the ceiling, and the other columns."""
    share = figures["gflop_per_s"] / figures["ceiling_gflop_per_s"]
    columns = {
        "size": f"{figures['nr_resnet']}, {figures['nr_filters']}",
        "batch": str(figures["batch_size"]),
        "images/s": f"{figures['images_per_s']:.2f}",
        "GFLOP/s": f"{figures['gflop_per_s']:.0f}",
        "ceiling": f"{figures['ceiling_gflop_per_s']:.0f}",
        "share": f"{share:.0%}",
    }
    row(columns | others)
    write(figures | {"share_of_ceiling": share})


def peak_gb() -> float:
    """The most memory that this process has held, in GB of 10^6 KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
