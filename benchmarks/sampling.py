"""Time of sampling 32×32×3 images: full passes, one per pixel, against the sampler.

`python benchmarks/sampling.py` prints a table for the default size and for -q 2 -n 32;
`--output_json=FILE` writes its results. Full passes are the network alone, timed a few
times and multiplied by 1,024: the whole loop takes hours at the default size.
"""

import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import cli  # Before TensorFlow: it sets its log level.

# isort: split
import report
import tensorflow as tf
from absl import app, flags
from convolution import seconds

from pixel_cnn_pp import PixelCNNPP

flags.DEFINE_multi_string("size", ["5,160", "2,32"], "nr_resnet,nr_filters of a model.")
flags.DEFINE_list("batch_sizes", ["1", "16", "64"], "Images sampled at once.")
flags.DEFINE_integer("full_passes", 5, "Full passes that are timed.", lower_bound=1)
flags.DEFINE_integer("draws", 3, "Samplings that are timed; the best counts.")
flags.DEFINE_enum(
    "kernels", "float32", ["float32", "bfloat16"], "Type that kernels are rounded to."
)
flags.DEFINE_string("measure", None, "One row of the table: nr_resnet,nr_filters,N.")
cli.define_tf32(False)
flags.adopt_module_key_flags(report)
FLAGS = flags.FLAGS
PIXELS = 32 * 32


def measure(nr_resnet: int, nr_filters: int, n: int) -> dict[str, float]:
    """One row; in a process of its own, so that the peak of memory is its own."""
    cli.set_devices(None, FLAGS.tf32)
    model = PixelCNNPP(nr_resnet=nr_resnet, nr_filters=nr_filters)
    model.round_kernels(FLAGS.kernels)
    first = seconds(lambda: model.sample(n))
    sampling = min(seconds(lambda: model.sample(n)) for _ in range(FLAGS.draws))
    peak_gb = report.peak_gb()  # Of the sampler, before the full passes.
    # One value of the output: a GPU would take time to copy all of it.
    full_pass = tf.function(lambda x: model(x)[0, 0, 0, 0], autograph=False)
    x = tf.zeros([n, *model.image_shape])
    full_pass(x)
    passes = [seconds(lambda: full_pass(x)) for _ in range(FLAGS.full_passes)]
    return {
        "nr_resnet": nr_resnet,
        "nr_filters": nr_filters,
        "batch": n,
        "full_passes_s": min(passes) * PIXELS,
        "incremental_s": sampling,
        "ratio": min(passes) * PIXELS / sampling,
        "compile_s": first - sampling,
        "peak_gb": peak_gb,
    }


def main(argv):
    if FLAGS.measure:
        print(json.dumps(measure(*map(int, FLAGS.measure.split(",")))))
        return
    rows = []
    for size in FLAGS.size:
        for n in FLAGS.batch_sizes:
            command = [sys.executable, __file__, f"--measure={size},{n}"]
            command += [f"--kernels={FLAGS.kernels}", f"--tf32={FLAGS.tf32}"]
            command += [f"--full_passes={FLAGS.full_passes}", f"--draws={FLAGS.draws}"]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
            row = json.loads(done.stdout.splitlines()[-1])
            columns = {
                "size": f"{row['nr_resnet']}, {row['nr_filters']}",
                "batch": f"{row['batch']}",
                "full passes": f"{row['full_passes_s']:.0f} s",
                "incremental": f"{row['incremental_s']:.2f} s",
                "ratio": f"{row['ratio']:.0f}",
                "compile": f"{row['compile_s']:.0f} s",
                "peak memory": f"{row['peak_gb']:.1f} GB",
            }
            report.row(columns, is_first=not rows)
            rows.append(row)
    report.write(rows)


if __name__ == "__main__":
    app.run(main)
