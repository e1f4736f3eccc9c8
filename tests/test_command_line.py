"""train.py and evaluate.py as users run them: figures, files, flags, bad values."""

import csv
import dataclasses
import json
import pathlib
import re
import shutil
from xml.etree import ElementTree

import numpy as np
import pytest
import tensorflow as tf
from command_lines import contents_of
from golden import FOLDER, Golden

from pixel_cnn_pp import PixelCNNPP, checkpoint, openai_checkpoint
from pixel_cnn_pp import images as image_ops
from pixel_cnn_pp.config import Config
from pixel_cnn_pp.evaluation.evaluator import bits_per_dim

# 40 images in batches of 4: an epoch is 10 steps.
SMALL = "-d npz -i labelled.npz -q 1 -n 4 -m 2 -b 4 -u 8"
RUN = (
    f"{SMALL} -o run -t 3 -z elu -l 0.002 -e 0.9 -p 0.25 -x 7 -g 1 -ns 1 -s 5 "
    "--polyak_decay=0.9 --log_interval=4"
)
GOLDEN = "--official_checkpoint=unconditional.ckpt -d npz -i golden.npz"
GOLDEN_LABELLED = (
    "--official_checkpoint=class_conditional_elu.ckpt -d npz -i golden_labelled.npz"
)

# What SMALL says otherwise.
GOLDEN_FLAGS = "-q 1 -n 8 -m 3 -b 4 -u 4"

EVALUATIONS = {
    "averaged": "-o run",
    "raw": "-o run --noaveraged",
    "train": "-o run --split=train",
    "first_5": "-o run --max_images=5 --batch_size=2",
    "labelled": "-o labelled",
    "pictured": "-o pictured",
    "golden_averaged": GOLDEN,
    "golden_raw": f"{GOLDEN} --noaveraged",
    "golden_labelled": f"{GOLDEN_LABELLED} -z elu",
}

# Short form and default. On purpose not the official default: data_dir, save_dir and
# nr_gpu.
OFFICIAL_FLAGS = {
    "data_dir": ("i", ""),
    "save_dir": ("o", "save"),
    "data_set": ("d", "cifar"),
    "save_interval": ("t", "20"),
    "load_params": ("r", "false"),
    "nr_resnet": ("q", "5"),
    "nr_filters": ("n", "160"),
    "nr_logistic_mix": ("m", "10"),
    "resnet_nonlinearity": ("z", "concat_elu"),
    "class_conditional": ("c", "false"),
    "energy_distance": ("ed", "false"),
    "learning_rate": ("l", "0.001"),
    "lr_decay": ("e", "0.999995"),
    "batch_size": ("b", "16"),
    "init_batch_size": ("u", "16"),
    "dropout_p": ("p", "0.5"),
    "max_epochs": ("x", "5000"),
    "nr_gpu": ("g", "None"),
    "polyak_decay": (None, "0.9995"),
    "num_samples": ("ns", "1"),
    "seed": ("s", "1"),
}

# Script, arguments (those of train after SMALL and `-o new`), then the value and the
# remedy that the one line on stderr must name.
REFUSED = [
    ("train", "-q -1", "--nr_resnet=-1", "must be 1 or more"),
    ("train", "-b 0", "--batch_size=0", "must be 1 or more"),
    ("train", "--nr_filters=0", "--nr_filters=0", "must be 1 or more"),
    ("train", "-l nan", "--learning_rate=nan", "must be above 0"),
    ("train", "-b 41", "--batch_size=41", "give a smaller one"),
    ("train", "-u 41", "--init_batch_size=41", "give a smaller one"),
    ("train", "-g 3", "--nr_gpu=3", "give at most that many, or leave"),
    ("train", "-c -i unlabelled.npz", "no train_labels", "write it with np.savez"),
    ("train", "-i gone.npz", "data_dir=gone.npz", "needs the path of one .npz"),
    ("train", "-i empty", "data_dir=empty", "needs the path of one .npz"),
    ("train", "-i file", "data_dir=file", "write it with np.savez"),
    ("train", "-i other_keys.npz", "(it has images)", "write it with np.savez"),
    ("train", "-i floats.npz", "train_images is float64", "images are uint8"),
    ("train", "--image_size=16", "image_size=16", "leave image_size out"),
    ("train", "-d folder -i gone", "data_dir=gone", "needs train/ and test/"),
    ("train", "-d folder -i file", "data_dir=file", "needs train/ and test/"),
    ("train", "-d folder -i pictures", "pictures/test/torn.png", "mend it or take"),
    ("train", "--skip_bad_images", "--skip_bad_images: npz", "leave it out"),
    ("train", "-o run", "--save_dir=run: holds a run", "give --load_params"),
    ("train", "-r", "--save_dir=new holds no run", "leave the flag out"),
    ("train", "-r -o run -n 5", "--nr_filters=5", "give --nr_filters=4"),
    ("train", "-r -o run -z elu -d cifar -n 5", "--nr_filters=5", "--nr_filters=4"),
    ("train", "-r -o run -z elu -s 6", "--seed=6", "give --seed=5"),
    ("train", "-r -o run -z elu -s 5 -i fewer.npz", "num_images=9", "images it had"),
    (
        "train",
        f"{GOLDEN} {GOLDEN_FLAGS} -m 4",
        "--nr_logistic_mix=4",
        "leave the flag out",
    ),
    ("train", f"{GOLDEN} {GOLDEN_FLAGS} --max_steps=5", "--max_steps=5", "give more"),
    (
        "train",
        "-r -o run -z elu -c",
        "--class_conditional=True",
        "give --class_conditional=False",
    ),
    ("train", "-r -o labelled -c -i four_labels.npz", "num_labels=4", "the images it"),
    (
        "train",
        "-r -o run -z elu -s 5 -i grey.npz",
        "(8, 8, 1)",
        "give the images it had",
    ),
    ("train", "-r -o without_config", "=without_config", "that train.py wrote"),
    ("train", "-r -o torn_config", "torn_config/config.json", "not a readable config"),
    (
        "train",
        "-r -o torn -z elu -s 5",
        "--save_dir=torn: none of its 2",
        "train anew in",
    ),
    ("train", "-o file", "--save_dir=file", "give another --save_dir"),
    ("train", "-o file/new", "--save_dir=file/new", "give another --save_dir"),
    ("train", "--official_checkpoint=gone.ckpt", "=gone.ckpt", "up to .ckpt"),
    ("train", GOLDEN_LABELLED, "--resnet_nonlinearity=None", "give elu or relu"),
    ("train", "extra", "'extra'", "every setting is a flag"),
    ("train", "-d mnist", "--data_set=mnist", "one of <shapes|npz|folder|"),
    ("train", "-z tanh", "--resnet_nonlinearity=tanh", "<concat_elu|elu|relu>"),
    ("train", "-q five", "--nr_resnet=five", "int"),
    ("train", "--nr_filter=4", "'nr_filter'", "Did you mean: nr_filters"),
    ("train", "--flagfile=gone.cfg", "'gone.cfg'", "No such file"),
    ("train", "--field=11x5", "--nr_resnet=1", "leave one of the two out"),
    ("train", "--field=9x9", "--field=9x9", "<11x5|15x8>"),
    ("train", "--nin_blocks=3", "--nin_blocks=3", "give --field too"),
    (
        "train",
        "--likelihood=softmax --energy_distance",
        "--likelihood=softmax",
        "leave one of the two out",
    ),
    ("train", "--likelihood=normal", "--likelihood=normal", "<mix_logistic|softmax|"),
    (
        "train",
        f"{GOLDEN} {GOLDEN_FLAGS} --noshort_cuts",
        "--short_cuts=False",
        "leave the flag out",
    ),
    (
        "train",
        "-r -o run -z elu -s 5 --likelihood=softmax",
        "--likelihood=softmax",
        "give --likelihood=mix_logistic",
    ),
    (
        "evaluate",
        "-o run --dequantization_draws=2",
        "--dequantization_draws=2",
        "are exact",
    ),
    (
        "evaluate",
        "-o run --dequantization_draws=2 -ns 1 --output_dir=new",
        "--dequantization_draws=2",
        "nothing is scored",
    ),
    ("evaluate", "", "--save_dir and --official_checkpoint", "give one of"),
    ("evaluate", f"-o run {GOLDEN}", "--save_dir and --official", "give one of"),
    ("evaluate", "-o gone", "--save_dir=gone", "give the folder that train.py wrote"),
    ("evaluate", "-o empty", "--save_dir=empty", "give the folder that train.py"),
    ("evaluate", "-o file", "--save_dir=file", "give the folder that train.py wrote"),
    ("evaluate", "-o without_checkpoints", "=without_checkpoints", "train longer"),
    ("evaluate", "-o torn", "--save_dir=torn: none of its 2", "train anew in"),
    (
        "evaluate",
        "-o energy -d npz -i labelled.npz",
        "energy_distance=True",
        "has no likelihood",
    ),
    ("evaluate", "-o labelled -i unlabelled.npz", "no test_labels", "np.savez"),
    ("evaluate", "-o labelled -i four_labels.npz", "4 labels", "give the images it"),
    ("evaluate", "-o run -i grey.npz", "(8, 8, 1)", "give the images it was trained"),
    ("evaluate", "-o run -d npz", "npz needs data_dir", "give it"),
    ("evaluate", "-o run --output_json=gone/a.json", "gone/a.json", "that exists"),
    ("evaluate", "-o run --output_json=file/a.json", "file/a.json", "that exists"),
    ("evaluate", "-o run --output_json=empty", "empty: cannot", "give a file"),
    ("evaluate", "--official_checkpoint=gone.ckpt", "=gone.ckpt", "up to .ckpt"),
    ("evaluate", "-o run extra", "'extra'", "every setting is a flag"),
    ("evaluate", "-o run --split=all", "--split=all", "<train|test>"),
    ("evaluate", "-o run --max_images=0", "--max_images=0", "a positive integer"),
    ("evaluate", "-o run -ns 0", "--num_samples=0", "a positive integer"),
    ("evaluate", "-o run -ns 2", "--output_dir", "give the folder"),
    ("evaluate", "-o run -ns 2 --output_dir=file/new", "=file/new", "give another"),
    (
        "evaluate",
        "-o run -ns 2 --output_dir=new --temperature=0",
        "temperature=0.0",
        "must be above 0",
    ),
    (
        "evaluate",
        "-o energy -ns 2 --output_dir=new --temperature=0.5",
        "temperature=0.5",
        "leave it out",
    ),
    ("evaluate", "-o run -ns 2 --output_dir=new -s -1", "--seed=-1", "from 0 to"),
    (
        "evaluate",
        "-o run --complete_rows=8 --output_dir=new",
        "--complete_rows=8",
        "give fewer",
    ),
    ("evaluate", "-o run --skip_bad_images", "--skip_bad_images: npz", "leave it out"),
    (
        "evaluate",
        "-o pictured --noskip_bad_images",
        "pictures/test/torn.png",
        "--skip_bad_images",
    ),
    ("export", "--export_dir=new", "--save_dir and --official", "give one of"),
    ("export", "-o run", "--export_dir", "give a new folder"),
    ("export", "-o run --export_dir=empty/..", "=empty/..", "give a new folder"),
    ("export", "-o run --export_dir=file/new", "=file/new", "give another"),
    ("export", "-o gone --export_dir=new", "--save_dir=gone", "that train.py wrote"),
    ("export", "-o run --export_dir=new extra", "'extra'", "every setting is a flag"),
]
DRAWINGS = {
    "samples": "-o run -ns 5 -s 3 --temperature=0.9 --output_dir=samples",
    "completions": "-o labelled --complete_rows=3 --max_images=2 --num_completions=3 "
    "--output_dir=completions",
    "official": "--official_checkpoint=unconditional.ckpt --image_size=8 -ns 2 "
    "--output_dir=official_samples",
}
POINTER = "Pass --helpshort or --helpfull to see help on flags."


def write_inputs(folder):
    """Data sets, good ones and bad, and the official checkpoints."""
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


def write_damaged_runs(folder):
    """Copies of the run, each with something missing or torn; and an energy model."""
    for name in ("without_config", "without_checkpoints", "torn_config", "torn"):
        shutil.copytree(folder / "run", folder / name)
    (folder / "without_config" / "config.json").unlink()
    shutil.rmtree(folder / "without_checkpoints" / "checkpoints")
    (folder / "torn_config" / "config.json").write_text('{"image_shape": [8,')
    for path in (folder / "torn" / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:10])
    (folder / "energy").mkdir()
    config = Config.of((8, 8, 3), nr_resnet=1, nr_filters=4, energy_distance=True)
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


@pytest.fixture(scope="module")
def folder(npz_path, tmp_path_factory):
    """Where all command lines run."""
    folder = tmp_path_factory.mktemp("command_line")
    shutil.copy(npz_path, folder / "labelled.npz")
    write_inputs(folder)
    return folder


@pytest.fixture(scope="module")
def run_all(run_command, folder):
    """Runs many command lines of a script in one process; their results in order."""

    def run(script, lines):
        arguments = json.dumps([line.split() for line in lines])
        done = run_command("tests/command_lines.py", script, arguments, cwd=folder)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="module")
def trained(run_command, folder):
    """The run after 11 steps."""
    done = run_command("train.py", *RUN.split(), "--max_steps=11", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    return Run.read(done.stdout, folder / "run")


@pytest.fixture(scope="module")
def gone_on(run_command, folder, trained):
    """The same run after two more steps, without samples; every row printed."""
    line = f"{RUN} -ns 0 --max_steps=13 -r --verbosity=0"
    done = run_command("train.py", *line.split(), cwd=folder)
    assert done.returncode == 0, done.stderr
    return Run.read(done.stdout, folder / "run")


@pytest.fixture(scope="module")
def other_runs(run_all, folder):
    """A class-conditional run, one step on from an official checkpoint, and a step on
    pictures of which one is torn."""
    lines = {
        "labelled": f"{SMALL} -o labelled -c --max_steps=2",
        "official": f"{GOLDEN} {GOLDEN_FLAGS} -o official -p 0 -ns 0 --max_steps=6",
        "pictured": f"{SMALL} -o pictured -d folder -i pictures --skip_bad_images "
        "-b 1 -u 1 -g 1 -ns 0 --max_steps=1",
    }
    results = dict(zip(lines, run_all("train", lines.values()), strict=True))
    assert all(result["code"] == 0 for result in results.values()), results
    return {name: Run.read(r["stdout"], folder / name) for name, r in results.items()}


@pytest.fixture(scope="module")
def evaluations(run_all, folder, gone_on, other_runs):
    """For each of EVALUATIONS the figure printed, and the JSON written."""
    (folder / "scores").mkdir()
    lines = [f"{v} --output_json=scores/{k}.json" for k, v in EVALUATIONS.items()]
    found = {}
    for name, done in zip(EVALUATIONS, run_all("evaluate", lines), strict=True):
        assert done["code"] == 0, done["stderr"]
        scores = json.loads((folder / "scores" / f"{name}.json").read_text())
        found[name] = printed(done["stdout"]), scores
    return found


def printed(stdout):
    """(split, bits/dim, number of images) of the one line that evaluate.py prints."""
    line = r"(\w+) bits_per_dim = (\d+\.\d{4}) \((\d+) images\)\n"
    split, figure, num_images = re.fullmatch(line, stdout).groups()
    return split, float(figure), int(num_images)


@pytest.fixture(scope="module")
def drawings(run_all, folder, gone_on, other_runs):
    """What evaluate.py printed as it ran DRAWINGS."""
    results = run_all("evaluate", DRAWINGS.values())
    assert all(result["code"] == 0 for result in results), results
    return [result["stdout"].splitlines()[-1] for result in results]


@pytest.fixture(scope="module")
def refusals(run_all, folder, gone_on, other_runs):
    """Results of REFUSED; all that lies in the folder before and after."""
    write_damaged_runs(folder)
    before = contents_of(folder)
    found = {}
    firsts = {"train": f"{SMALL} -o new ", "evaluate": "", "export": ""}
    for script, first in firsts.items():
        lines = [arguments for name, arguments, *_ in REFUSED if name == script]
        results = run_all(script, [first + line for line in lines])
        found |= {(script, k): r for k, r in zip(lines, results, strict=True)}
    return found, before, contents_of(folder)


def test_train_writes_config_checkpoints_metrics_and_samples(trained):
    data, index = "data-00000-of-00001", "index"
    assert [name for name in trained.contents if not name.startswith("logs")] == [
        "checkpoints",
        *(f"checkpoints/ckpt-{n}.{end}" for n in (10, 11) for end in (data, index)),
        "config.json",
        "metrics.csv",
        "samples",
        *(f"samples/step-00000{n}.{end}" for n in (10, 11) for end in ("npz", "png")),
    ]


def test_short_forms_of_the_official_flags_set_what_they_name(trained, folder):
    assert trained.config == Config.of(
        image_shape=(8, 8, 3),
        data_set="npz",
        data_dir=str(folder / "labelled.npz"),
        num_images=40,
        images_per_step=4,
        save_interval=3,
        nr_resnet=1,
        nr_filters=4,
        nr_logistic_mix=2,
        resnet_nonlinearity="elu",
        learning_rate=0.002,
        lr_decay=0.9,
        batch_size=4,
        init_batch_size=8,
        dropout_p=0.25,
        max_epochs=7,
        nr_gpu=1,
        polyak_decay=0.9,
        num_samples=1,
        seed=5,
        log_interval=4,
        max_steps=11,
    )


def test_metrics_have_their_columns_rows_and_the_decayed_learning_rate(trained):
    assert list(trained.rows[0]) == [
        "step",
        "epoch",
        "train_bits_per_dim",
        "test_bits_per_dim",
        "learning_rate",
        "images_per_sec",
    ]
    steps = [(int(row["step"]), int(row["epoch"])) for row in trained.rows]
    assert steps == [(4, 0), (8, 0), (10, 0), (11, 1)]
    tested = [bool(row["test_bits_per_dim"]) for row in trained.rows]
    assert tested == [False, False, True, True]
    for row in trained.rows:
        rate = 0.002 * 0.9 ** int(row["step"])
        assert float(row["learning_rate"]) == pytest.approx(rate, rel=1e-6)
        assert float(row["train_bits_per_dim"]) > 0


def shown(row):
    """What is printed of a row of metrics.csv before the speed."""
    train, test = row["train_bits_per_dim"], row["test_bits_per_dim"]
    parts = [f"step {row['step']}/", f"  epoch {row['epoch']}  "]
    parts += [f"train {float(train):.4f} bits/dim"] if train else []
    parts += [f"  test {float(test):.4f} bits/dim"] if test else []
    return parts


def test_train_prints_the_rows_with_a_test_figure_alone(trained):
    lines = trained.stdout.splitlines()
    tested = [row for row in trained.rows if row["test_bits_per_dim"]]
    assert [row["step"] for row in tested] == ["10", "11"]
    for line, row in zip(lines, tested, strict=True):
        assert all(part in line for part in shown(row)), line
    assert re.search(r"  \d+\.\d images/s  0:00:00 left$", lines[-1])


def test_verbosity_of_the_command_line_has_the_last_word_and_brings_all_rows(gone_on):
    lines = gone_on.stdout.splitlines()
    assert lines[0] == "going on from step 11"
    new = [row for row in gone_on.rows if int(row["step"]) > 11]
    assert [row["step"] for row in new] == ["12", "13"]
    for line, row in zip(lines[1:], new, strict=True):
        assert all(part in line for part in shown(row)), line


@pytest.mark.parametrize("name", ["run", "labelled"])
def test_samples_in_the_png_are_those_in_the_npz(trained, other_runs, folder, name):
    path = folder / name / "samples"
    newest = sorted(path.glob("*.npz"))[-1]
    with np.load(newest) as file:
        images = file["images"]
    assert images.shape == (4, 8, 8, 3) and images.dtype == np.uint8
    assert len(np.unique(images)) > 9
    png = tf.io.decode_png(newest.with_suffix(".png").read_bytes())
    np.testing.assert_array_equal(png, image_ops.tile(images))


def test_load_params_goes_on_to_a_larger_max_steps(trained, gone_on):
    assert "going on from step 11\n" in gone_on.stdout
    assert gone_on.rows[:4] == trained.rows
    assert [row["step"] for row in gone_on.rows[4:]] == ["12", "13"]
    changes = {"max_steps": 13, "num_samples": 0}
    assert gone_on.config == dataclasses.replace(trained.config, **changes)


@pytest.mark.parametrize("name", ["averaged", "labelled"])
def test_evaluate_prints_the_last_test_figure_of_the_metrics(
    evaluations, gone_on, other_runs, name
):
    (split, figure, num_images), scores = evaluations[name]
    run = gone_on if name == "averaged" else other_runs["labelled"]
    last = float(run.rows[-1]["test_bits_per_dim"])
    assert (split, num_images) == ("test", 11)
    assert figure == pytest.approx(last, abs=0.00005 + 1e-6 * last)
    assert scores["bits_per_dim"] == pytest.approx(last, rel=1e-6)


@pytest.mark.parametrize(
    "name, run, split, averaged, num_images",
    [
        ("averaged", "run", "test", True, 11),
        ("raw", "run", "test", False, 11),
        ("train", "run", "train", True, 40),
        ("first_5", "run", "test", True, 5),
        ("labelled", "labelled", "test", True, 11),
    ],
)
def test_evaluate_scores_the_images_that_its_flags_name_by_the_model_they_name(
    evaluations, folder, name, run, split, averaged, num_images
):
    model, config = checkpoint.load_model(str(folder / run), averaged)
    with np.load(folder / "labelled.npz") as file:
        images = file[f"{split}_images"][:num_images]
        labels = file[f"{split}_labels"][:num_images]
    nats = -model.log_prob(images, labels if config.class_conditional else None)
    expected = bits_per_dim(nats.numpy().astype(np.float64), (8, 8, 3))
    line, scores = evaluations[name]
    assert line == (split, pytest.approx(expected.mean(), abs=6e-5), num_images)
    assert scores.keys() == {"bits_per_dim", "num_images", "bits_per_dim_per_image"}
    assert scores["num_images"] == num_images
    np.testing.assert_allclose(scores["bits_per_dim_per_image"], expected, rtol=1e-5)
    mean = np.mean(scores["bits_per_dim_per_image"])
    assert scores["bits_per_dim"] == pytest.approx(mean, rel=1e-12)


def test_bad_images_that_a_run_left_out_are_left_out_where_it_is_evaluated(
    evaluations, other_runs
):
    assert other_runs["pictured"].config.skip_bad_images
    (split, _, num_images), _ = evaluations["pictured"]
    assert (split, num_images) == ("test", 1)


def test_plain_evaluate_prints_what_it_prints_beside_others(
    evaluations, run_command, folder
):
    done = run_command("evaluate.py", "--save_dir=run", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert printed(done.stdout) == evaluations["averaged"][0]


@pytest.mark.parametrize(
    "name, golden, loss",
    [
        ("golden_averaged", "unconditional", "train_final_loss_ema"),
        ("golden_raw", "unconditional", "train_final_loss"),
        ("golden_labelled", "class_conditional_elu", "train_final_loss_ema"),
    ],
)
def test_evaluate_gives_an_official_checkpoint_the_official_figure(
    evaluations, name, golden, loss
):
    nats, images = float(Golden(golden)[loss]), Golden(golden)["images"]
    expected = nats / (np.log(2) * images.size)
    line, scores = evaluations[name]
    assert line == ("test", pytest.approx(expected, abs=6e-5), len(images))
    assert scores["bits_per_dim"] == pytest.approx(expected, rel=1e-6)


def test_evaluate_draws_the_samples_of_the_averaged_model(drawings, folder):
    assert drawings[0] == "5 samples: samples/samples.png, samples/samples.npz"
    model, _ = checkpoint.load_model(str(folder / "run"))
    expected = model.sample(5, seed=(3, 0), temperature=0.9).numpy()
    with np.load(folder / "samples" / "samples.npz") as file:
        np.testing.assert_array_equal(file["images"], expected)
    png = tf.io.decode_png((folder / "samples" / "samples.png").read_bytes())
    np.testing.assert_array_equal(png, image_ops.tile(expected))


def test_evaluate_completes_images_beside_their_originals(drawings, folder):
    files = "completions/completions.png, completions/completions.npz"
    assert drawings[1] == f"2 completed images: {files}"
    with np.load(folder / "labelled.npz") as file:
        originals = file["test_images"][:2]
    with np.load(folder / "completions" / "completions.npz") as file:
        np.testing.assert_array_equal(file["originals"], originals)
        completions = file["completions"]
    assert completions.shape == (2, 3, 8, 8, 3)
    kept = np.broadcast_to(originals[:, None, :3], (2, 3, 3, 8, 3))
    np.testing.assert_array_equal(completions[:, :, :3], kept)
    assert (completions[:, 0] != completions[:, 1]).any()
    png = tf.io.decode_png((folder / "completions" / "completions.png").read_bytes())
    assert png.shape == (2 * 9 + 1, 5 * 9 + 1, 3)
    np.testing.assert_array_equal(png[1:9, 1:9], originals[0])
    assert (png[4:9, 10:18].numpy() == 128).all()
    np.testing.assert_array_equal(png[10:18, 37:45], completions[1, 2])


def test_evaluate_draws_from_an_official_checkpoint_without_images(drawings, folder):
    prefix = str(folder / "unconditional.ckpt")
    model = openai_checkpoint.build_model(prefix, image_size=(8, 8))
    with np.load(folder / "official_samples" / "samples.npz") as file:
        np.testing.assert_array_equal(file["images"], model.sample(2, seed=(0, 0)))


def test_export_writes_a_saved_model_of_the_averaged_parameters(
    run_command, evaluations, folder
):
    done = run_command("export.py", "-o", "run", "--export_dir=served", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "SavedModel: served\n"
    served = tf.saved_model.load(str(folder / "served")).signatures
    with np.load(folder / "labelled.npz") as file:
        images = tf.constant(file["test_images"])
    _, scores = evaluations["averaged"]
    np.testing.assert_allclose(
        served["log_prob"](images=images)["bits_per_dim"],
        scores["bits_per_dim_per_image"],
        rtol=1e-5,
    )


def test_training_from_an_official_checkpoint_takes_its_size_and_begins_at_its_loss(
    other_runs,
):
    golden, run = Golden("unconditional"), other_runs["official"]
    size = ["nr_resnet", "nr_filters", "nr_logistic_mix", "resnet_nonlinearity"]
    for name in size:
        assert getattr(run.config, name) == golden.config[name]
    assert [row["step"] for row in run.rows] == ["6"]
    expected = golden["train_final_loss"] / (np.log(2) * golden["images"].size)
    assert float(run.rows[0]["train_bits_per_dim"]) == pytest.approx(expected, rel=1e-6)


def test_official_flags_keep_their_names_short_forms_and_defaults(run_command):
    help_of_all = ElementTree.fromstring(run_command("train.py", "--helpxml").stdout)
    flags = {
        flag.findtext("name"): (flag.findtext("short_name"), flag.findtext("current"))
        for flag in help_of_all.iter("flag")
        if flag.findtext("key") == "yes"
    }
    assert {name: flags.get(name) for name in OFFICIAL_FLAGS} == OFFICIAL_FLAGS


@pytest.mark.parametrize(
    "script, arguments, value, remedy",
    REFUSED,
    ids=[f"{script} {arguments}"[:50] for script, arguments, *_ in REFUSED],
)
def test_bad_value_ends_in_one_line_that_names_it_and_the_remedy(
    refusals, script, arguments, value, remedy
):
    done = refusals[0][script, arguments]
    assert done["code"] == 1
    line, *more = done["stderr"].splitlines()
    from_absl = line.startswith("FATAL Flags parsing error: ")
    assert from_absl or line.startswith("error: ")
    assert more == ([POINTER] if from_absl else [])
    assert value in line and remedy in line


def test_bad_values_write_nothing_and_change_nothing(refusals):
    _, before, after = refusals
    assert "run/config.json" in before
    assert after == before


@pytest.mark.parametrize(
    "script, arguments",
    [("train", "-o file/new"), ("train", "-d mnist"), ("evaluate", "-o run extra")],
)
def test_bad_value_in_a_process_of_its_own_ends_as_it_does_beside_others(
    refusals, run_command, folder, script, arguments
):
    first = SMALL.split() if script == "train" else []
    done = run_command(f"{script}.py", *first, *arguments.split(), cwd=folder)
    beside = refusals[0][script, arguments]
    assert done.returncode == beside["code"] == 1
    assert done.stderr == beside["stderr"]
    assert not (folder / "save").exists()
