"""Pickles of CIFAR-10: arrays are read, nothing else is done that a pickle asks for."""

import os
import pickle
import pickletools
import resource

import numpy as np
import pytest
from test_data_cifar import files, python_2_pickle, python_3_pickle, unpacked

import data
from data import cifar_pickle


class Malicious:
    """Unpickled in the usual way, it makes the file `marker`."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (self.marker,)


def test_pickled_code_is_rejected_and_not_run(tmp_path):
    marker = str(tmp_path / "marker")
    contents = files("python")
    for protocol in range(6):
        bad = {"data": Malicious(marker), "labels": [0]}
        contents["cifar-10-batches-py/test_batch"] = pickle.dumps(bad, protocol)
        data_dir = unpacked(tmp_path / str(protocol), contents)
        with pytest.raises(
            ValueError, match="asks for (posix|nt|os).mkdir|has the opcode"
        ) as error:
            data.load("cifar", data_dir, "test")
        assert "\n" not in str(error.value)
        assert not os.path.exists(marker)
    pickle.loads(contents["cifar-10-batches-py/test_batch"])
    assert os.path.exists(marker)


@pytest.mark.parametrize(
    "name", ["builtins\neval", "os\nsystem", "numpy\nload", "numpy.lib.npyio\nload"]
)
def test_names_are_not_looked_up(name):
    with pytest.raises(ValueError, match="asks for " + name.replace("\n", ".")):
        cifar_pickle.load_batch(b"c" + name.encode() + b"\n(U\x01xtR.", "it")


NESTED = b")" + b"\x85" * 200_000
DOUBLED = b")" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(60))


@pytest.mark.parametrize(
    "contents, reason",
    [
        # Each of these made Python's unpickler fill the memory, overflow the stack, or
        # change the function that it had been given to call.
        (b"\x80\x02Nr\xff\xff\xff\x7fa.", "memo index 2147483647"),
        (b"\x80\x02}" + NESTED + b"Ns.", "more opcodes than a batch"),
        (b"\x80\x02}" + DOUBLED + b"Ns.", "more opcodes than a batch"),
        (b"\x80\x02" + NESTED + NESTED + b"\x93.", "more opcodes than a batch"),
        (b"\x80\x02" + b"]" * 2_000_000 + b".", "more opcodes than a batch"),
        (b"\x80\x05\x96" + bytes(8) + b".", "opcode BYTEARRAY8"),
        (b"\x80\x02Na.", ""),
        (b"\x80\x02NNa.", "append"),
        (b"\x80\x02\x86.", ""),
        (b"\x80\x02h\7.", "7"),
        (b"\x80\x02\x82\1.", "opcode EXT1"),
        (b"\x80\x02c__main__\nx\n)\x81.", "asks for __main__.x|opcode NEWOBJ"),
        (b"(i__main__\nx\n.", "opcode INST"),
        (b"Pname\n.", "opcode PERSID"),
    ],
)
def test_pickles_that_do_other_things_are_rejected(contents, reason):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=f"plain arrays.*{reason}") as error:
        cifar_pickle.load_batch(contents, "it")
    assert "\n" not in str(error.value)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 400_000  # kB


@pytest.mark.parametrize(
    "call, arguments",
    [
        (b"_codecs\nencode", b"U\1aU\5utf-7"),
        (b"numpy\nndarray", b"J\xff\xff\xff\x7f"),
        (b"numpy\ndtype", b"U\12V999999999"),
        (b"numpy.core.multiarray\n_reconstruct", b"J\xff\xff\xff\x7f"),
    ],
)
def test_names_of_an_array_are_not_called_with_what_a_file_says(call, arguments):
    """A call and a state that would change the function, the type or the memory."""
    pickled = b"\x80\x02}U\4datac" + call + b"\n(" + arguments + b"tR}U\1ANsbs."
    batch = cifar_pickle.load_batch(pickled, "it")
    assert isinstance(batch["data"], cifar_pickle.Record)
    assert cifar_pickle.uint8_array(batch["data"]) is None


def test_a_batch_of_the_original_size_has_far_fewer_opcodes_than_are_allowed():
    images = np.zeros((10_000, 32, 32, 3), np.uint8)
    for encode in (python_2_pickle, python_3_pickle):
        contents = encode(images, [0] * 10_000)
        names = [opcode.name for opcode, *_ in pickletools.genops(contents)]
        assert len(names) < cifar_pickle.MAX_OPCODES / 10
        few = [name for name in names if name in cifar_pickle.FEW]
        assert len(few) <= cifar_pickle.MAX_FEW / 2
