"""Flags of the entry points: topics of --help, types and defaults, resumed settings."""

import dataclasses
import importlib
import re
import sys

import command_lines
import pytest
from command_folder import RUN
from command_lines import FLAGS, OURS, entry_point, run
from small_runs import write_untrained

import pixel_cnn_pp
from pixel_cnn_pp.config import NO_FLAGS, Config
from pixel_cnn_pp.evaluation.tasks import Tasks
from pixel_cnn_pp.training.resume import changes_since, check_same_run

# Short form and default. On purpose not the official default: data_dir, save_dir and
# nr_gpu.
OFFICIAL_FLAGS = {
    "data_dir": ("i", None),
    "save_dir": ("o", "save"),
    "data_set": ("d", "cifar"),
    "save_interval": ("t", 20),
    "load_params": ("r", False),
    "nr_resnet": ("q", 5),
    "nr_filters": ("n", 160),
    "nr_logistic_mix": ("m", 10),
    "resnet_nonlinearity": ("z", "concat_elu"),
    "class_conditional": ("c", False),
    "energy_distance": ("ed", False),
    "learning_rate": ("l", 0.001),
    "lr_decay": ("e", 0.999995),
    "batch_size": ("b", 16),
    "init_batch_size": ("u", 16),
    "dropout_p": ("p", 0.5),
    "max_epochs": ("x", 5000),
    "nr_gpu": ("g", None),
    "polyak_decay": (None, 0.9995),
    "num_samples": ("ns", 1),
    "seed": ("s", 1),
}
WITH_TOPICS = ("train.py", "evaluate.py", "sample.py")


@pytest.mark.parametrize("script", WITH_TOPICS)
def test_each_flag_stands_in_one_topic_of_the_help(script):
    point = entry_point(script)
    topics = point.module.__doc__.split("Flags by topic:\n")[1]
    assert sorted(re.findall(r"--(\w+)", topics)) == sorted(point.key_flags)


@pytest.mark.parametrize("script", OURS)
def test_examples_of_the_help_parse(script):
    point = entry_point(script)
    examples = re.findall(rf"^  python {script} (.*)$", point.module.__doc__, re.M)
    assert examples
    for example in examples:
        assert point.parse(example.split()) == ""


def test_entry_points_run_whatever_imported_them_as_modules(tmp_path):
    assert entry_point("plot.py").parse(["--save_dir=run"]) == ""
    importlib.import_module("plot")
    assert "give the folder of a run" in run("plot.py", "--save_dir=.", tmp_path).stderr
    sys.modules.pop("plot")
    importlib.import_module("plot")
    assert command_lines.EntryPoint("plot.py").parse(["--save_dir=run"]) == ""


def test_flags_of_train_have_the_defaults_of_the_fields_of_config():
    flags, settings = entry_point("train.py").key_flags, Config().settings()
    found = {name: flags[name].default for name in settings if name not in NO_FLAGS}
    found["data_dir"] = found["data_dir"] or ""  # An empty path is rejected.
    assert found == {name: settings[name] for name in found}


@pytest.mark.parametrize("script", ["evaluate.py", "sample.py"])
def test_flags_of_tasks_have_the_defaults_of_its_fields(script):
    flags, tasks = entry_point(script).flags, vars(Tasks())
    found = {name: flags[name].default for name in tasks if name in flags}
    found["seed"] = tuple(found["seed"])
    assert len(found) >= 9 and found == {name: tasks[name] for name in found}


def test_version_is_printed():
    done = run("train.py", "--version", ".")
    assert (done.returncode, done.stdout) == (0, f"{pixel_cnn_pp.__version__}\n")


@pytest.mark.parametrize("line", ["-r", "--load_params", "--resume"])
def test_resume_is_an_alias(line):
    point = entry_point("train.py")
    with point.registered():
        FLAGS(["train", line])
        assert FLAGS.load_params is True
        FLAGS(["train", "--noresume"])
        assert FLAGS.load_params is False


def settings_resumed(saved, line):
    point = entry_point("train.py")
    with point.registered():
        FLAGS(["train", *line.split()])
        return Config.of(**point.module.settings_from_flags(saved))


SAVED = Config.of(
    nr_filters=4,
    field="11x5",
    short_cuts=True,
    data_set="folder",
    data_dir="/pictures",
    image_size=8,
    test_share=0.2,
    skip_bad_images=True,
    learning_rate=0.002,
    jit_compile=False,
    polyak_warmup=False,
    official_checkpoint="/params_cifar.ckpt",
    max_steps=7,
    seed=5,
)


def test_resumed_run_takes_what_the_command_line_omits():
    assert settings_resumed(SAVED, "-r") == SAVED
    line = "-r --max_steps=9 -l 0.001 --nr_filters=4 --polyak_warmup --seed 1"
    given = {"max_steps": 9, "learning_rate": 0.001, "polyak_warmup": True, "seed": 1}
    assert settings_resumed(SAVED, line) == dataclasses.replace(SAVED, **given)


def test_new_run_takes_the_defaults():
    assert settings_resumed(None, "-n 4") == Config.of(nr_filters=4)


def test_all_that_contradicts_a_run_is_named_at_once():
    now = settings_resumed(SAVED, "-r -n 5 -s 6 --test_share=0.1 --num_levels=16 -b 3")
    with pytest.raises(ValueError) as error:
        check_same_run(now, SAVED, images_are_known=False)
    assert str(error.value) == (
        "--nr_filters=5, --num_levels=16, --seed=6, --test_share=0.1: the run in this "
        "--save_dir has --nr_filters=4, --num_levels=256, --seed=5, --test_share=0.2; "
        "remove them, or give another --save_dir."
    )


def test_all_that_differs_of_the_images_is_named_at_once():
    of_saved = {"num_images": 40, "images_per_step": 4, "class_names": ("a", "b")}
    model = dataclasses.replace(SAVED.model, num_labels=2)
    saved = dataclasses.replace(SAVED, model=model, **of_saved, fingerprint="1")
    changes = {"num_images": 9, "images_per_step": 3, "class_names": ("a", "c")}
    now = dataclasses.replace(saved, **changes, seed=6, batch_size=3, fingerprint="2")
    with pytest.raises(ValueError) as error:
        check_same_run(now, saved, images_are_known=True)
    assert str(error.value) == (
        "--seed=6: the run in this --save_dir has --seed=5; remove it; images with "
        "num_images=9: the run in this --save_dir has num_images=40; give the images "
        "it had; class 1 of the images is 'c', and 'b' in the run in this --save_dir; "
        "name the class folders as they were; --batch_size=3: a step of all replicas "
        "takes 3 images, and one of the run in this --save_dir 4, on which their order "
        "depends; give a --batch_size that makes it so, or give another --save_dir."
    )


def test_other_pixels_of_as_many_images_are_named():
    saved = dataclasses.replace(SAVED, fingerprint="1")
    now = dataclasses.replace(saved, fingerprint="2")
    with pytest.raises(ValueError, match="^--data_dir: the images are not those of"):
        check_same_run(now, saved, images_are_known=True)


def test_other_test_images_are_said():
    saved = dataclasses.replace(SAVED, held_out_fingerprint="1")
    now = dataclasses.replace(saved, held_out_fingerprint="2", learning_rate=0.5)
    rate = f"learning_rate=0.5 (was {SAVED.learning_rate})"
    assert changes_since(saved, now) == ["other test images than it had", rate]
    assert changes_since(SAVED, now) == [rate]


def test_what_an_older_version_did_not_save_is_no_change_and_a_new_flag_is_one():
    saved = dataclasses.replace(SAVED, jit_compile=None, images_per_step=None)
    now = dataclasses.replace(SAVED, jit_compile=True, images_per_step=4)
    assert changes_since(saved, now) == ["jit_compile=True (was None)"]


@pytest.mark.slow
def test_sample_is_what_evaluate_samples(tmp_path):
    write_untrained(tmp_path / "run", field="11x5", num_labels=2)
    done = run("sample.py", "-o run --labels=1 -s 3", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "16 samples, rows of labels 1: run/sampled/samples.png, run/sampled/samples.npz"
        "\n"
    )
    line = "-o run -ns 16 --labels=1 -s 3 --output_dir=here"
    assert run("evaluate.py", line, tmp_path).returncode == 0
    ours, theirs = tmp_path / "run" / "sampled", tmp_path / "here"
    for name in ("samples.png", "samples.npz"):
        assert (ours / name).read_bytes() == (theirs / name).read_bytes()


def test_sample_completes_images_and_names_what_is_wrong(tmp_path, npz_path):
    write_untrained(tmp_path / "run", data_set="npz", data_dir=npz_path, field="11x5")
    line = "-o run --complete_rows=7 --max_images=1 --output_dir=out"
    done = run("sample.py", line, tmp_path)
    assert (
        done.stdout == "1 completed images: out/completions.png, out/completions.npz\n"
    )
    done = run("sample.py", "-o run -ns 0", tmp_path)
    assert "--num_samples=0" in done.stderr and done.returncode == 1
    done = run("sample.py", "-o gone", tmp_path)
    assert done.stderr.startswith("error: --save_dir=gone: holds no config.json")
    assert not (tmp_path / "gone").exists()


def test_official_flags_keep_their_names_short_forms_and_defaults():
    flags = entry_point("train.py").key_flags
    found = {name: flags[name] for name in OFFICIAL_FLAGS}
    assert {
        name: (flag.short_name, flag.default) for name, flag in found.items()
    } == OFFICIAL_FLAGS


def test_line_of_the_run_gives_each_official_flag_with_a_short_form_but_four():
    given = {word[1:] for word in RUN.split() if re.fullmatch("-[a-z]+", word)}
    short = {short for short, _ in OFFICIAL_FLAGS.values() if short}
    assert short - given == {"q", "c", "ed", "r"}
