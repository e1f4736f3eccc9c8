"""What evaluate.py and sample.py share beside the images: other flags, the tasks."""

import dataclasses
import functools

from absl import flags

import cli  # Before TensorFlow: it sets its log level.
import image_flags
from pixel_cnn_pp import cluster, distribution
from pixel_cnn_pp.config import Config
from pixel_cnn_pp.evaluation.devices import Machine
from pixel_cnn_pp.evaluation.ratio import Background
from pixel_cnn_pp.evaluation.tasks import Tasks

FLAGS = flags.FLAGS
# Flags defined by functions here belong to the entry point that calls them.
flags.disclaim_key_flags()
task_flag = functools.partial(cli.DEFINE_field, Tasks)
run_flag = functools.partial(cli.DEFINE_field, Config)


def define_flags(num_samples: str, output_dir: str) -> None:
    """Defines the flags that both have, two with these help texts."""
    cli.define_model_flags()
    image_flags.define_image_flags()
    define_sampling_flags(num_samples, output_dir)
    define_compute_flags()


def define_sampling_flags(num_samples: str, output_dir: str) -> None:
    task_flag("num_samples", num_samples, short_name="ns", lower_bound=1)
    task_flag(
        "shard_images",
        "More samples than this are written in files samples-00000.npz, … of so many "
        "images each. Every device samples a file at a time. Run again after a kill, "
        "the command keeps the files that are there.",
        lower_bound=1,
    )
    flags.DEFINE_list(
        "labels",
        None,
        "For --num_samples of a class-conditional model: the class names or numbers to "
        "cycle through, for example cat,dog or 3,5; by default all.",
    )
    task_flag(
        "complete_rows",
        "Number of rows to keep of the first --max_images images (8 by default); the "
        "rest is sampled.",
        lower_bound=0,
    )
    cli.DEFINE_path(
        "inpaint_mask",
        "PNG of the size of the images, black and white: the white pixels of the first "
        "--max_images images (8 by default) are kept, the black ones sampled. Pixels "
        "are sampled in raster order, so a black pixel is sampled given the rows above "
        "and what is left of it: kept pixels below or to the right have no influence.",
    )
    task_flag("num_completions", "Completions of each image.", lower_bound=1)
    cli.DEFINE_path("output_dir", output_dir)
    task_flag(
        "scale",
        "Side in PNG pixels of each pixel of the images; by default an image becomes "
        "at least 128 PNG pixels large. An NPZ has the images as they are.",
        lower_bound=1,
        upper_bound=64,
    )
    task_flag(
        "temperature",
        "Of samples and completions, above 0: 1 samples from the model, less keeps "
        "closer to the most probable images.",
    )
    flags.DEFINE_list(
        "seed",
        ",".join(Tasks.seed),
        "Seed of samples and completions: one integer or two, 3 or 3,4, as seed=3 or "
        "seed=(3, 4) in Python.",
        short_name="s",
    )


def define_compute_flags() -> None:
    """Defines the flags that say how to compute, and on which devices."""
    run_flag(
        "nr_gpu",
        "GPUs to score and sample on; by default all, or one CPU without a GPU. "
        "Completions and heat maps use the first.",
        short_name="g",
        lower_bound=1,
    )
    task_flag(
        "worker_timeout",
        "Seconds that the first machine of TF_CONFIG waits for the next file of the "
        "others in --output_dir, a folder that all of them share.",
        lower_bound=1,
    )
    run_flag(
        "jit_compile",
        "Compile sampling, and in scoring activation, padding and gating, with XLA. By "
        "default unless the GPU is too new for it; --nojit_compile does without XLA.",
    )
    cli.define_tf32(False)


def tasks_from_flags() -> Tasks:
    """What the entry point is asked for."""
    names = [field.name for field in dataclasses.fields(Tasks)]
    return Tasks(**{name: FLAGS[name].value for name in names if name in FLAGS})


def check_unused_flags(tasks: Tasks) -> None:
    """Raises ValueError where a flag is given on which nothing depends."""
    is_sampled = tasks.num_samples or tasks.completes
    # Of an official checkpoint the size of the images decides on that of the samples.
    is_sized = tasks.needs_images or FLAGS.save_dir is None
    for names, is_used, needed in (
        ("dequantization_draws background_dir", tasks.computes_bits, "output_json"),
        ("heatmap_max", tasks.heatmap, "heatmap"),
        ("labels shard_images", tasks.num_samples, "num_samples"),
        ("temperature seed", is_sampled, "num_samples"),
        ("num_completions", tasks.completes, "complete_rows"),
        ("scale", tasks.pictures, "num_samples"),
        (
            "split max_images data_set data_dir skip_bad_images test_share "
            "tfds_split_test",
            tasks.needs_images,
            "complete_rows",
        ),
        ("image_size", is_sized, "complete_rows"),
    ):
        if not is_used:
            cli.check_unused(names, f"here; give --{needed} too, or remove the flag")


def run_tasks(tasks: Tasks, precision: str = "float32") -> None:
    """Checks, then does what is asked for with the model and images of the flags."""
    with cli.errors_in_one_line():
        cli.check_model_flags()
        tasks.check_flags()
        check_unused_flags(tasks)
        image_flags.check_output_dir(tasks.output_dir)
        position = cluster.position()
        cli.set_devices(FLAGS.nr_gpu, FLAGS.tf32)
        machine = Machine(distribution.device_names(FLAGS.nr_gpu), *position)
        images, size = None, (FLAGS.image_size or 32,) * 2
        other = background = None
        if tasks.background_dir is not None:
            other = cli.background_model(tasks.background_dir)
        if tasks.needs_images:
            needs_labels = other is not None and other.num_labels is not None
            images = image_flags.load_images(tasks.scores_csv is not None, needs_labels)
            size = images.image_shape[:2]
        model = cli.model_from_flags(size)
        if other is not None:
            background = Background(other, image_flags.images_for(other, images))
        images = image_flags.images_for(model, images)
        tasks.check_model(model, images, background)
        with_xla = distribution.xla_scope(FLAGS.jit_compile) is not False
        for scored in filter(None, (model, other)):
            scored.set_precision(precision)
            scored.set_jit_compile(with_xla)
            if tasks.dequantization_draws:
                scored.set_dequantization_draws(tasks.dequantization_draws)
    with cli.errors_in_one_line((OSError, FloatingPointError)):
        tasks.run(model, images, machine, background)
