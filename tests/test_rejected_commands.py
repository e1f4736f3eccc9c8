"""Bad values on the command line: one line that names the value and the remedy."""

import pytest
from command_folder import (
    FIELD,
    GOLDEN,
    GOLDEN_FLAGS,
    GOLDEN_LABELLED,
    LABELLED,
    PICTURED,
    RUN,
    SMALL,
    write_damaged_runs,
    write_inputs,
)
from command_lines import contents_of, run

pytestmark = pytest.mark.slow

# Script, arguments (those of train after SMALL and `-o new`), then the value and the
# remedy that the one line on stderr must name.
REJECTED = [
    ("train", "-q -1", "--nr_resnet=-1", "must be from 1 to 1000"),
    ("train", "-b 0", "--batch_size=0", "must be 1 or more"),
    ("train", "--nr_filters=0", "--nr_filters=0", "must be 1 or more"),
    ("train", "-l nan", "--learning_rate=nan", "must be above 0"),
    ("train", "-b 41", "--batch_size=41", "give a smaller one"),
    ("train", "-u 41", "--init_batch_size=41", "give a smaller one"),
    ("train", "-b 30 --accumulate=2", "--batch_size=30 --accumulate=2", "give a sm"),
    ("train", f"-b {10**30}", f"--batch_size={10**30}", "at most 2147483647"),
    ("train", f"{FIELD} -ns {10**9}", "--num_samples=1000000000", "or fewer"),
    ("train", f"-q {10**9}", "--nr_resnet=1000000000", "from 1 to 1000"),
    ("train", f"-n {10**9}", "nr_filters=1000000000", "give smaller ones"),
    ("train", f"-m {10**9}", "nr_logistic_mix=1000000000", "give smaller ones"),
    ("train", f"--max_steps={2**63}", f"--max_steps={2**63}", "at most 2147483647"),
    ("train", "-l 1e300", "--learning_rate=1e+300", "above 0 and finite"),
    ("train", "-d shapes --image_size=8192", "image_size=8192", "use for example 32"),
    ("train", "-g 9", "--nr_gpu=9", "give at most that many, or remove"),
    ("train", "-c -i unlabelled.npz", "no train_labels", "write it with np.savez"),
    ("train", "-i gone.npz", "data_dir=gone.npz", "needs the path of one .npz"),
    ("train", "-i empty", "data_dir=empty", "needs the path of one .npz"),
    ("train", "-i file", "data_dir=file", "write it with np.savez"),
    ("train", "-i other_keys.npz", "(it has images)", "write it with np.savez"),
    ("train", "-i floats.npz", "train_images is float64", "images are uint8"),
    ("train", "--image_size=16", "image_size=16", "remove image_size"),
    ("train", "-d folder -i gone", "data_dir=gone", "needs train/ and test/"),
    ("train", "-d folder -i file", "data_dir=file", "needs train/ and test/"),
    (
        "train",
        "-d folder -i pictures/train",
        "no folder pictures/train/train",
        "try -d",
    ),
    ("train", "--test_share=0.1", "--test_share=0.1: npz", "remove it"),
    ("train", "--tfds_split_test=a", "--tfds_split_test=a: npz", "remove it"),
    ("train", "-i empty -d tfds:mnsit", "tfds:mnsit: tensorflow", "did you mean mnist"),
    (
        "train",
        "-i empty -d tfds:glue",
        "tfds:glue has no images",
        "for example tfds:mnist",
    ),
    ("train", "--test_share=1", "--test_share=1.0", "for example 0.1"),
    (
        "train",
        "-d folder -i pictures --test_share=0.1",
        "--test_share=0.1: pictures has train/",
        "remove it",
    ),
    ("train", "-d cifar -i typo", "data_dir=typo: there is no", "mkdir -p typo"),
    ("train", "-d imagenet64 -i a/b", "data_dir=a/b: there is no", "mkdir -p a/b"),
    ("train", "--save_minutes=-1", "--save_minutes=-1.0", "for example 30"),
    ("train", "-d folder -i pictures", "pictures/test/torn.png", "repair or remove it"),
    ("train", "--skip_bad_images", "--skip_bad_images: npz", "remove it"),
    ("train", "-o run", "--save_dir=run: holds a run", "give --resume"),
    ("train", "-r", "--save_dir=new holds no run", "remove --resume"),
    (
        "train",
        f"-r {FIELD} -o run -n 5",
        "--nr_filters=5",
        "has --nr_filters=4; remove it",
    ),
    (
        "train",
        f"-r {FIELD} -o run -z relu -d cifar -n 5 -s 6",
        "--nr_filters=5, --resnet_nonlinearity=relu, --seed=6: the run",
        "has --nr_filters=4, --resnet_nonlinearity=elu, --seed=5; remove them",
    ),
    ("train", f"-r {FIELD} -o run -z elu -s 6", "--seed=6", "has --seed=5; remove it"),
    (
        "train",
        f"-r {FIELD} -o run -z elu -s 5 -i fewer.npz",
        "num_images=9",
        "images it had",
    ),
    (
        "train",
        f"{GOLDEN} {GOLDEN_FLAGS} -m 4",
        "--nr_logistic_mix=4",
        "remove the flag",
    ),
    ("train", f"{GOLDEN} {GOLDEN_FLAGS} --max_steps=5", "--max_steps=5", "give more"),
    (
        "train",
        f"-r {FIELD} -o run -z elu -c",
        "--class_conditional=True",
        "has --class_conditional=False; remove it",
    ),
    (
        "train",
        f"-r {FIELD} -o labelled -c -i four_labels.npz",
        "num_labels=4",
        "the images it",
    ),
    (
        "train",
        f"-r {FIELD} -o run -z elu -s 5 -i grey.npz",
        "(8, 8, 1)",
        "give the images it had",
    ),
    ("train", "-r -o without_config", "=without_config", "that train.py wrote"),
    ("train", "-r -o torn_config", "torn_config/config.json", "not a readable config"),
    (
        "train",
        f"-r {FIELD} -o torn -z elu -s 5",
        "--save_dir=torn: none of its 2",
        "train anew in",
    ),
    ("train", "-o file", "--save_dir=file", "give another --save_dir"),
    ("train", "-o file/new", "--save_dir=file/new", "give another --save_dir"),
    ("train", "--official_checkpoint=gone.ckpt", "=gone.ckpt", "up to .ckpt"),
    ("train", GOLDEN_LABELLED, "--resnet_nonlinearity=None", "give elu or relu"),
    ("train", "extra", "'extra'", "every setting is a flag"),
    ("train", "-d mnsit", "--data_set=mnsit", "use shapes, npz, folder, "),
    ("train", "-z tanh", "--resnet_nonlinearity=tanh", "<concat_elu|elu|relu>"),
    ("train", "-q five", "--nr_resnet=five", "int"),
    ("train", "--nr_filter=4", "'nr_filter'", "Did you mean: nr_filters"),
    ("train", "--flagfile=gone.cfg", "'gone.cfg'", "No such file"),
    ("train", "--flagfile=grey.npz", "--flagfile: is no text file", "a flag a line"),
    ("train", "-q 1 --field=11x5", "--nr_resnet=1", "remove one of the two"),
    ("train", "--field=9x9", "--field=9x9", "<11x5|15x8>"),
    (
        "train",
        f"{FIELD} --likelihood=softmax",
        "--nr_logistic_mix=2",
        "remove one of the two",
    ),
    ("train", "--nin_blocks=3", "--nin_blocks=3", "set field too"),
    (
        "train",
        "--likelihood=softmax --energy_distance",
        "--likelihood=softmax",
        "remove one of the two",
    ),
    ("train", "--mutation_rate=2", "--mutation_rate=2.0", "for example 0.3"),
    ("train", "--weight_decay=-1", "--weight_decay=-1.0", "for example 10"),
    ("train", "--likelihood=normal", "--likelihood=normal", "<mix_logistic|softmax|"),
    (
        "train",
        f"{GOLDEN} {GOLDEN_FLAGS} --noshort_cuts",
        "--short_cuts=False",
        "remove the flag",
    ),
    (
        "train",
        f"-r {FIELD} -o run -z elu -s 5 --likelihood=mix_logistic_continuous",
        "--likelihood=mix_logistic_continuous",
        "has --likelihood=mix_logistic; remove it",
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
        "give --output_json",
    ),
    (
        "evaluate",
        "-o run --background_dir=run -ns 1 --output_dir=new",
        "--background_dir=run",
        "give --output_json",
    ),
    ("evaluate", "-o run --background_dir=gone", "--background_dir=gone", "give the f"),
    ("evaluate", "-o run --background_dir=torn", "--background_dir=torn", "anew in"),
    ("evaluate", "-o run --background_dir=energy", "=energy: a model", "give a run"),
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
    ("evaluate", "-o labelled -i four_labels.npz", "class '3'", "give images of"),
    ("evaluate", "-o run -i grey.npz", "(8, 8, 1)", "give the images it was trained"),
    ("evaluate", "-o run -d npz", "npz needs data_dir", "give it"),
    ("evaluate", "-o run --output_json=gone/a.json", "gone/a.json", "that exists"),
    ("evaluate", "-o run --output_json=file/a.json", "file/a.json", "that exists"),
    ("evaluate", "-o run --output_json=empty", "empty: cannot", "give a file"),
    ("evaluate", "-o run --output_json=run/config.json", "holds no scores", "another"),
    ("evaluate", "-o run --scores_csv=run/metrics.csv", "holds no scores", "another"),
    ("evaluate", "-o run --scores_csv=grey.npz", "grey.npz is there", "another file"),
    ("evaluate", "--official_checkpoint=gone.ckpt", "=gone.ckpt", "up to .ckpt"),
    ("evaluate", "-o run extra", "'extra'", "every setting is a flag"),
    ("evaluate", f"-o run --image_size={10**9}", "--image_size=1000000000", "8192"),
    ("evaluate", "-o run --split=all", "--split=all", "<train|validation|test>"),
    ("evaluate", "-o run --max_images=0", "--max_images=0", "a positive integer"),
    ("evaluate", "-o run -ns 0", "--num_samples=0", "a positive integer"),
    ("evaluate", "-o run -ns 2", "--output_dir", "give the folder"),
    ("evaluate", "-o run -ns 2 --output_dir=file/new", "=file/new", "give another"),
    (
        "evaluate",
        "-o run -ns 2 --output_dir=new --temperature=0",
        "temperature=0.0",
        "must be 1e-06 or more",
    ),
    (
        "evaluate",
        "-o energy -ns 2 --output_dir=new --temperature=0.5",
        "temperature=0.5",
        "remove it",
    ),
    ("evaluate", "-o run -ns 2 --output_dir=new -s -1", "--seed=-1", "from 0 to"),
    ("evaluate", "-o run -ns 2 --output_dir=new -s 1,2,3", "--seed=1,2,3", "3 or 3,4"),
    (
        "evaluate",
        "-o run --complete_rows=8 --output_dir=new",
        "--complete_rows=8",
        "give fewer",
    ),
    ("evaluate", "-o run --skip_bad_images", "--skip_bad_images: npz", "remove it"),
    (
        "evaluate",
        "-o pictured --noskip_bad_images",
        "pictures/test/torn.png",
        "--skip_bad_images",
    ),
    ("evaluate", "-o run -d cifar -i typo", "data_dir=typo: there", "mkdir -p typo"),
    ("evaluate", "-o run --test_share=0.5", "--test_share=0.5: npz", "remove it"),
    ("sample", "", "--save_dir and --official_checkpoint", "give one of"),
    ("sample", "-o gone", "--save_dir=gone", "give the folder that train.py wrote"),
    ("sample", "-o without_checkpoints", "=without_checkpoints", "train longer"),
    ("sample", "-o run --complete_rows=8", "--complete_rows=8", "give fewer"),
    ("sample", "-o run --labels=0", "--labels=0", "this model has no labels"),
    ("sample", "-o run -d cifar -i empty", "--data_set=cifar", "remove the flag"),
    ("sample", "-o run --max_images=3", "--max_images=3", "give --complete_rows"),
    (
        "sample",
        "--official_checkpoint=unconditional.ckpt --image_size=0",
        "--image_size=0",
        "[1, 8192]",
    ),
    (
        "evaluate",
        "-o run -ns 1 --output_dir=new --split=train",
        "--split=train",
        "give --complete_rows",
    ),
    ("evaluate", "-o run --shard_images=9", "--shard_images=9", "give --num_samples"),
    ("evaluate", "-o run --scale=2", "--scale=2", "give --num_samples"),
    ("sample", "-o run --labels=cat", "--labels=cat", "this model has no labels"),
    ("sample", "-o run extra", "'extra'", "every setting is a flag"),
    ("sample", "--official_checkpoint=unconditional.ckpt", "--output_dir", "give the"),
    ("export", "--export_dir=new", "--save_dir and --official", "give one of"),
    ("export", "-o run", "--export_dir", "give a new folder"),
    ("export", "-o run --export_dir=empty/..", "=empty/..", "give a new folder"),
    ("export", "-o run --export_dir=file/new", "=file/new", "give another"),
    ("export", "-o gone --export_dir=new", "--save_dir=gone", "that train.py wrote"),
    (
        "export",
        "--official_checkpoint=unconditional.ckpt --export_dir=new "
        f"--image_size={10**9}",
        "--image_size=1000000000",
        "[1, 8192]",
    ),
    ("export", "-o run --export_dir=new extra", "'extra'", "every setting is a flag"),
]
PATHS = [
    ("train", "save_dir data_dir official_checkpoint"),
    (
        "evaluate",
        "save_dir data_dir official_checkpoint output_json scores_csv output_dir "
        "background_dir",
    ),
    ("export", "save_dir official_checkpoint export_dir"),
    ("plot", "save_dir output"),
]
ADDRESSES = [
    (script, f"-o run --{flag}=gs://a/b", f"--{flag}=gs://a/b: is an address", "copy")
    for script, names in PATHS
    for flag in names.split()
]
REJECTED += ADDRESSES + [
    (script, f"-o run --{flag}=", f"--{flag}=: is empty", "or remove the flag")
    for script, names in PATHS
    for flag in names.split()
]
POINTER = "Pass --helpshort or --helpfull to see help on flags."


@pytest.fixture(scope="module")
def rejected(npz_path, tmp_path_factory):
    """Results of REJECTED; all that is in the folder before and after."""
    folder = tmp_path_factory.mktemp("rejected")
    write_inputs(folder, npz_path)
    for line in (RUN, LABELLED, PICTURED):
        done = run("train.py", f"{line} -ns 0 --max_steps=2 --save_steps=1", folder)
        assert done.returncode == 0, done.stderr
    write_damaged_runs(folder)
    before = contents_of(folder)
    firsts = {"train": f"{SMALL} -o new "}
    found = {
        (name, line): run(f"{name}.py", firsts.get(name, "") + line, folder)
        for name, line, *_ in REJECTED
    }
    return found, before, contents_of(folder)


@pytest.mark.parametrize(
    "script, arguments, value, remedy",
    REJECTED,
    ids=[f"{script} {arguments}"[:50] for script, arguments, *_ in REJECTED],
)
def test_bad_value_ends_in_one_line_that_names_it_and_the_remedy(
    rejected, script, arguments, value, remedy
):
    done = rejected[0][script, arguments]
    assert done.returncode == 1
    line, *more = done.stderr.splitlines()
    from_absl = line.startswith("FATAL Flags parsing error: ")
    assert from_absl or line.startswith("error: ")
    assert more == ([POINTER] if from_absl else [])
    assert value in line and remedy in line


def test_bad_values_write_nothing_and_change_nothing(rejected):
    _, before, after = rejected
    assert "run/config.json" in before
    assert after == before
