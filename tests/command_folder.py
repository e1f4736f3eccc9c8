"""The folder that command lines are run in: data sets, official checkpoints, runs."""

import csv
import dataclasses
import pathlib
import shutil

import numpy as np
import tensorflow as tf
from command_lines import contents_of
from golden import FOLDER, Golden

from pixel_cnn_pp import PixelCNNPP, checkpoint
from pixel_cnn_pp.config import Config

# 40 images in batches of 4: an epoch is 10 steps.
SMALL = "-d npz -i labelled.npz -n 4 -m 2 -b 4 -u 8"
FIELD = "--field=11x5"  # The smallest network.
RUN = (
    f"{SMALL} {FIELD} -o run -t 3 -z elu -l 0.002 -e 0.9 -p 0.25 -x 7 -g 1 -ns 1 -s 5 "
    "--polyak_decay=0.9 --log_interval=4 --nojit_compile"
)
LABELLED = f"{SMALL} {FIELD} -o labelled -c --nojit_compile"
# One of its pictures is torn.
PICTURED = (
    f"{SMALL} {FIELD} -o pictured -d folder -i pictures --skip_bad_images -b 1 -u 1 "
    "-g 1 --nojit_compile"
)
GOLDEN = "--official_checkpoint=unconditional.ckpt -d npz -i golden.npz"
GOLDEN_LABELLED = (
    "--official_checkpoint=class_conditional_elu.ckpt -d npz -i golden_labelled.npz"
)
# What SMALL says otherwise.
GOLDEN_FLAGS = "-q 1 -n 8 -m 3 -b 4 -u 4"


def write_inputs(folder: pathlib.Path, labelled: str) -> None:
    """Data sets, good ones and bad, and the official checkpoints. `labelled`: a path,
    that of the data set labelled.npz."""
    shutil.copy(labelled, folder / "labelled.npz")
    rng = np.random.default_rng(1)
    train = rng.integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    images = {"train_images": train, "test_images": train[:11]}
    four = {"train_labels": np.arange(40) % 4, "test_labels": np.arange(11) % 4}
    np.savez(folder / "unlabelled.npz", **images)
    np.savez(folder / "four_labels.npz", **images, **four)
    np.savez(folder / "fewer.npz", train_images=train[:9], test_images=train[:11])
    np.savez(folder / "grey.npz", **{key: x[..., 0] for key, x in images.items()})
    np.savez(folder / "other_keys.npz", images=train)
    np.savez(folder / "floats.npz", **{key: x / 255 for key, x in images.items()})
    images = Golden("unconditional")["images"]
    np.savez(folder / "golden.npz", train_images=images, test_images=images)
    golden = Golden("class_conditional_elu")
    np.savez(
        folder / "golden_labelled.npz",
        test_images=golden["images"],
        test_labels=golden.labels,
    )
    for path in FOLDER.glob("*.ckpt.*"):
        shutil.copy(path, folder)
    png = tf.io.encode_png(train[0]).numpy()
    for split in ("train", "test"):
        (folder / "pictures" / split).mkdir(parents=True)
        (folder / "pictures" / split / "whole.png").write_bytes(png)
    (folder / "pictures" / "test" / "torn.png").write_bytes(png[:60])
    (folder / "file").write_text("no archive, no image, no folder")
    (folder / "empty").mkdir()


def write_damaged_runs(folder: pathlib.Path) -> None:
    """Copies of the run, each with something missing or torn; and an energy model."""
    for name in ("without_config", "without_checkpoints", "torn_config", "torn"):
        shutil.copytree(folder / "run", folder / name)
    (folder / "without_config" / "config.json").unlink()
    shutil.rmtree(folder / "without_checkpoints" / "checkpoints")
    (folder / "torn_config" / "config.json").write_text('{"image_shape": [8,')
    for path in (folder / "torn" / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:10])
    (folder / "energy").mkdir()
    settings = {"field": "11x5", "nr_filters": 4, "energy_distance": True}
    config = Config.of(image_shape=(8, 8, 3), **settings)
    config.save(str(folder / "energy" / "config.json"))
    averages = PixelCNNPP(**vars(config.model)).tf_variables()
    checkpoint.write(str(folder / "energy"), 1, {"averages": averages})


@dataclasses.dataclass
class Run:
    """A run as it was at one time: what train.py printed and wrote."""

    stdout: str
    config: Config
    rows: list[dict[str, str]]
    contents: dict[str, bytes]

    @classmethod
    def read(cls, stdout: str, folder: pathlib.Path) -> "Run":
        with open(folder / "metrics.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        config = Config.load(str(folder / "config.json"))
        return cls(stdout, config, rows, contents_of(folder))
