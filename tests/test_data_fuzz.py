"""Mutated files of every kind: they load, or are rejected in one line; nothing else.

2,000 cases that follow from the code, not from chance.
"""

import io
import pickle
import resource
import struct
import tempfile
import time
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, configuration, given, settings
from hypothesis import strategies as st
from image_bytes import (
    BLACK,
    COLOUR,
    GREY,
    PALETTE,
    RED,
    bmp,
    encoded,
    gif,
    jpeg,
    natural,
    png,
    png_chunk,
)
from PIL import Image

import data
from data.folder import FolderSource

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:::PIL")]

# What hypothesis keeps would else lie in the checkout.
HOME = tempfile.TemporaryDirectory()
configuration.set_hypothesis_home_dir(HOME.name)

MEMORY = 1 << 30  # Bytes.
SECONDS = 10  # Of the processor, for one case; most take hundredths.
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (3, 32, 32, 3), np.uint8)
LABELS = [1, 0, 2]


class Malicious:
    """Unpickled, it sets `ran`."""

    ran = False

    def __reduce__(self):
        return setattr, (Malicious, "ran", True)


# What lies in the files that are mutated.


def exif():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def image_files():
    small = IMAGES[0, :5, :6]
    colours = png_chunk(b"PLTE", bytes(range(12)))
    return [
        tf.io.encode_png(small).numpy(),
        tf.io.encode_png(small[..., :2]).numpy(),
        png(3, 2, 16, COLOUR, bytes(38)),
        png(8, 2, 1, GREY, bytes(4)),
        png(2, 2, 8, PALETTE, b"\0\0\1\0\2\3", colours, png_chunk(b"tRNS", b"\0")),
        tf.io.encode_jpeg(small).numpy(),
        tf.io.encode_jpeg(IMAGES[0, ..., :1], format="grayscale").numpy(),
        tf.io.encode_jpeg(IMAGES[0], progressive=True).numpy(),
        jpeg([0, 255, 255, 255], adobe=0),
        gif(RED, BLACK, transparent=1),
        bmp(small),
        bmp(small[..., :1], palette=bytes(range(16))),
        *(encoded(natural(0, 9, 8), kind) for kind in ("JPEG", "WEBP", "TIFF", "BMP")),
        encoded(natural(0), "JPEG", subsampling="4:2:0", progressive=True, exif=exif()),
        encoded(natural(0), "TIFF", compression="tiff_lzw", exif=exif()),
        encoded(natural(0)[..., 0].astype(np.uint16) * 250, "TIFF"),
        encoded(natural(0, channels=4), "PNG", exif=exif()),
    ]


def npz_files():
    arrays = {"train_images": IMAGES[:, :4, :4], "test_images": IMAGES[:2, :4, :4]}
    labels = {"train_labels": np.array(LABELS), "test_labels": np.array([0, 1])}
    pickled = {"train_labels": np.array([Malicious()] * 3)}
    files = []
    for save in (np.savez, np.savez_compressed):
        for others in (labels, pickled, {}):
            file = io.BytesIO()
            save(file, **arrays, **others)
            files.append(file.getvalue())
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("train_images.npy", pickle.dumps(Malicious()))
    return [*files, file.getvalue()]


def arrays():
    files = []
    for version in ((1, 0), (2, 0), (3, 0)):
        for array in (IMAGES[:, :4, :4], IMAGES[..., 0]):
            file = io.BytesIO()
            np.lib.format.write_array(file, array, version)
            files.append(file.getvalue())
    return files


PLANES = IMAGES.transpose(0, 3, 1, 2).reshape(3, 3072)


def python_batches():
    good = {"data": PLANES, "labels": LABELS}
    as_bytes = {b"data": PLANES, b"labels": LABELS, b"filenames": [b"a", b"\xff", b"c"]}
    bad = [good | {"labels": Malicious()}, [Malicious(), good]]
    batches = [(batch, protocol) for batch in (good, *bad) for protocol in (2, 3, 4)]
    return [pickle.dumps(*batch) for batch in (*batches, (as_bytes, 4))]


def binary_batch():
    records = np.concatenate([np.array(LABELS)[:, None], PLANES], axis=1)
    return records.astype(np.uint8).tobytes()


# Mutations.

KINDS = ["flip", "flip", "set", "set", "length", "length", "cut", "drop", "insert"]
BOUNDS = [0, 1, 127, 128, 255, 2**15 - 1, 2**16 - 1, 2**31 - 1, 2**32 - 1]


@st.composite
def mutated(draw, files):
    """One of some files, after one to four changes, more of them near its ends."""
    contents = bytearray(draw(st.sampled_from(files)))
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 4]))):
        last = len(contents)
        near = st.integers(0, min(last, 200))
        at = draw(near | near.map(lambda n, last=last: last - n) | st.integers(0, last))
        kind = draw(st.sampled_from(KINDS))
        if kind == "flip" and at < last:
            contents[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "set":
            contents[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
        elif kind == "cut":
            del contents[at:]
        elif kind == "drop":
            del contents[at : at + draw(st.integers(1, 20))]
        elif kind == "insert":
            contents[at:at] = draw(st.binary(max_size=20)) * draw(st.integers(1, 9))
        elif kind == "length":
            size = draw(st.sampled_from([2, 4, 8]))
            order = draw(st.sampled_from(["big", "little"]))
            value = draw(st.sampled_from(BOUNDS)) % 256**size
            contents[at : at + size] = value.to_bytes(size, order)
    return bytes(contents)


def cases(number, files):
    """Runs a test on so many mutated files, always the same."""

    def decorate(test):
        checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
        limits = settings(
            max_examples=number,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=[*checks, HealthCheck.data_too_large],
        )
        return limits(given(contents=mutated(files))(test))

    return decorate


def examples_of(source):
    """Its examples, read without tf.data, which takes 40 times as long for so few."""
    if isinstance(source, FolderSource):
        return [{"image": source.read_pixels(index)} for index in source.indices]
    columns = source._take(tf.constant(source.indices))
    return [
        {key: values[i].numpy() for key, values in columns.items()}
        for i in range(source.num_images)
    ]


def load_or_reject(name, data_dir, split, shape=None, **options):
    """Whether it loads; what else it does is none of what it must not do."""
    start = time.process_time()
    try:
        source = data.load(name, str(data_dir), split, **options)
        examples = examples_of(source)
    except (ValueError, OSError) as error:
        assert str(error) and str(error).isprintable()
        examples = []
    assert not Malicious.ran
    assert time.process_time() - start < SECONDS
    for example in examples:
        assert len(examples) == source.num_images
        assert example["image"].dtype == np.uint8
        assert example["image"].shape == source.image_shape
        assert shape is None or source.image_shape == shape
        if options.get("labels"):
            assert example["label"].dtype == np.int32
            assert 0 <= example["label"] < source.num_labels
    return bool(examples)


@pytest.fixture(autouse=True, scope="module")
def memory():
    """What all cases take at most at one time stays within MEMORY."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (after - before) * 1024 < MEMORY


def test_the_files_load_before_they_are_mutated_or_would_run_code(tmp_path):
    (tmp_path / "train").mkdir()
    for contents in image_files():
        (tmp_path / "train" / "it.png").write_bytes(contents)
        assert load_or_reject("folder", tmp_path, "train")
    for i, contents in enumerate(npz_files()):
        (tmp_path / "it.npz").write_bytes(contents)
        assert load_or_reject("npz", tmp_path / "it.npz", "train") == (i < 6)
    for contents in python_batches():
        (tmp_path / "test_batch").write_bytes(contents)
        is_good = load_or_reject("cifar", tmp_path, "test")
        pickle.loads(contents)
        assert Malicious.ran != is_good
        Malicious.ran = False


def with_checksums(contents):
    """A PNG whose chunks, as far as they can be found, have right checksums."""
    at, chunks = 8, [contents[:8]]
    while at + 12 <= len(contents):
        (length,) = struct.unpack_from(">I", contents, at)
        if length > len(contents) - at - 12:
            break
        body = contents[at + 8 : at + 8 + length]
        chunks.append(png_chunk(contents[at + 4 : at + 8], body))
        at += 12 + length
    return b"".join([*chunks, contents[at:]])


@cases(1000, image_files())
def test_mutated_image_files_load_or_are_rejected(tmp_path, contents):
    (tmp_path / "train").mkdir(exist_ok=True)
    (tmp_path / "train" / "it.png").write_bytes(contents)
    load_or_reject("folder", tmp_path, "train")


@cases(200, image_files()[:5])
def test_mutated_png_files_with_checksums_load_or_are_rejected(tmp_path, contents):
    (tmp_path / "train").mkdir(exist_ok=True)
    (tmp_path / "train" / "it.png").write_bytes(with_checksums(contents))
    load_or_reject("folder", tmp_path, "train")


@cases(200, arrays())
def test_mutated_arrays_in_a_whole_npz_file_load_or_are_rejected(tmp_path, contents):
    with zipfile.ZipFile(tmp_path / "it.npz", "w") as archive:
        archive.writestr("train_images.npy", contents)
    load_or_reject("npz", tmp_path / "it.npz", "train")


@cases(200, npz_files())
def test_mutated_npz_files_load_or_are_rejected(tmp_path, contents):
    (tmp_path / "it.npz").write_bytes(contents)
    load_or_reject("npz", tmp_path / "it.npz", "train", labels=True)


@cases(300, python_batches())
def test_mutated_python_batches_load_or_are_rejected(tmp_path, contents):
    (tmp_path / "test_batch").write_bytes(contents)
    load_or_reject("cifar", tmp_path, "test", (32, 32, 3), labels=True)


@cases(100, [binary_batch()])
def test_mutated_binary_batches_load_or_are_rejected(tmp_path, contents):
    (tmp_path / "test_batch.bin").write_bytes(contents)
    load_or_reject("cifar", tmp_path, "test", (32, 32, 3), labels=True)
