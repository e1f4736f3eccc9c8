"""--inpaint_mask: which pixels are kept, and masks that are none."""

import command_lines
import numpy as np
import pytest
import tensorflow as tf
from image_bytes import encoded
from PIL import Image
from small_runs import write_untrained

from pixel_cnn_pp import checkpoint
from pixel_cnn_pp.evaluation.mask import read_mask

pytestmark = pytest.mark.slow

HOLE = np.ones((8, 8), bool)
HOLE[2:5, 3:6] = False


def png(pixels, dtype=np.uint8):
    return tf.io.encode_png(np.asarray(pixels, dtype)).numpy()


def grey(keep, channels=1):
    return np.repeat(np.where(keep, 255, 0)[..., None], channels, axis=-1)


@pytest.fixture(scope="module")
def folder(npz_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("inpainting")
    write_untrained(folder / "run", data_set="npz", data_dir=npz_path, field="11x5")
    (folder / "mask.png").write_bytes(png(grey(HOLE)))
    return folder


@pytest.mark.parametrize("script", ["evaluate.py", "sample.py"])
def test_completions_are_those_of_complete_with_this_mask(script, folder, npz_path):
    line = "-o run --inpaint_mask=mask.png --max_images=2 --num_completions=3 -s 4"
    done = command_lines.run(script, f"{line} --output_dir=out", folder)
    assert (done.returncode, done.stderr) == (0, "")
    files = "out/completions.png, out/completions.npz"
    assert done.stdout == f"2 completed images: {files}\n"
    with np.load(folder / "out" / "completions.npz") as file:
        originals, found = file["originals"], file["completions"]
    model, _ = checkpoint.load_model(str(folder / "run"))
    repeated = np.repeat(originals, 3, axis=0)
    expected = model.complete(repeated, mask=HOLE, seed=4).numpy()
    np.testing.assert_array_equal(found.reshape(6, 8, 8, 3), expected)
    kept, sampled = found[:, :, HOLE], found[:, :, ~HOLE]
    np.testing.assert_array_equal(kept, np.repeat(originals[:, None], 3, 1)[:, :, HOLE])
    assert (sampled != originals[:, None, ~HOLE]).any()
    # In the grid, the second cell of a row has grey in place of the hole.
    grid = tf.io.decode_png((folder / "out" / "completions.png").read_bytes()).numpy()
    cell = grid[16 : 16 + 128 : 16, 160 : 160 + 128 : 16]
    np.testing.assert_array_equal(cell[~HOLE], 128)
    np.testing.assert_array_equal(cell[HOLE], originals[0][HOLE])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_white_is_kept_in_grey_and_in_colour_with_opaque_alpha(tmp_path, channels):
    pixels = grey(HOLE, channels)
    if channels in (2, 4):
        pixels[..., -1] = 255
    path = tmp_path / "mask.png"
    path.write_bytes(png(pixels))
    np.testing.assert_array_equal(read_mask(str(path), (8, 8)), HOLE)


def test_white_of_16_bits_is_kept(tmp_path):
    (tmp_path / "mask.png").write_bytes(png(grey(HOLE) * 257, np.uint16))
    mask = read_mask(str(tmp_path / "mask.png"), (8, 8))
    np.testing.assert_array_equal(mask, HOLE)


CLEAR = np.where(HOLE[..., None], 255, [0, 0, 0, 0])
RED = np.where(HOLE[..., None], 255, [255, 0, 0])
TURNED = Image.Exif()
TURNED[274] = 6
WRONG = {
    "small": (png(grey(HOLE[:7])), "is 7×8, and the images are 8×8"),
    "all_white": (png(grey(HOLE | True)), "is all white, so nothing is sampled"),
    "all_black": (png(grey(HOLE & False)), "is all black, so nothing is kept"),
    "red": (png(RED), "row 2, column 3 is [255, 0, 0], neither black nor white"),
    "smooth": (png(grey(HOLE) // 2), "column 0 is [127], neither black nor white"),
    "clear": (png(CLEAR), "has transparent pixels"),
    "text": (b"keep the left half", "is no PNG"),
    "empty": (b"", "is no PNG"),
    "jpeg": (tf.io.encode_jpeg(np.uint8(grey(HOLE))).numpy(), "is no PNG"),
    "turned": (encoded(np.uint8(grey(HOLE)[..., 0]), "PNG", exif=TURNED), "has EXIF"),
    "torn": (png(grey(HOLE))[:50], "is a damaged PNG"),
    "bomb": (
        png(grey(HOLE))[:16] + b"\x00\x00\xff\xff" * 2 + png(grey(HOLE))[24:],
        "is 65535×65535, and",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_file_that_is_no_mask_is_rejected_in_one_line(name, folder):
    contents, text = WRONG[name]
    (folder / f"{name}.png").write_bytes(contents)
    line = f"-o run --inpaint_mask={name}.png --output_dir=none"
    done = command_lines.run("evaluate.py", line, folder)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"error: --inpaint_mask={name}.png: "), done.stderr
    assert text in done.stderr
    assert not (folder / "none").exists()


@pytest.mark.parametrize(
    "line, text",
    [
        ("--inpaint_mask=mask.png --complete_rows=3", "give one of the two"),
        ("--inpaint_mask=gone.png", "gone.png: No such file or directory; give a PNG"),
        ("--inpaint_mask=run", "--inpaint_mask=run: Is a directory; give a PNG"),
    ],
)
def test_flag_that_names_no_mask_is_rejected_in_one_line(line, text, folder):
    done = command_lines.run("sample.py", f"-o run {line}", folder)
    assert done.returncode == 1 and text in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_mask_alone_samples_nothing_else(folder):
    done = command_lines.run("sample.py", "-o run --inpaint_mask=mask.png", folder)
    assert "samples" not in done.stdout and "8 completed images" in done.stdout
