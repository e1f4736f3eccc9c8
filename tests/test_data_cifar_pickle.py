"""Pickles of CIFAR-10: arrays are read, nothing else is done that a pickle asks for."""

import contextlib
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
        # Protocol 0 writes the label as an integer of any length, which comes first.
        reason = MANY if protocol == 0 else "asks for (posix|nt|os).mkdir"
        with pytest.raises(ValueError, match=reason) as error:
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
        cifar_pickle.load_batch(b"c" + name.encode() + b"\n(U\x01xtR.")


NESTED = b")" + b"\x85" * 200_000
DOUBLED = b")" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(60))
DUPLICATED = b")" + b"2\x86" * 60
MANY = "does more than a batch needs"


@pytest.mark.parametrize(
    "contents, reason",
    [
        # Each of these made Python's unpickler fill the memory, overflow the stack, or
        # take forever.
        (b"\x80\x02Nr\xff\xff\xff\x7fa.", MANY),
        (b"Np2147483647\na.", MANY),
        (b"\x80\x02}\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x1fNs.", MANY),
        (b"}U\x04dataNs.", "its images are no array"),
        (b"\x80\x02}" + NESTED + b"Ns.", MANY),
        (b"\x80\x02}" + DOUBLED + b"Ns.", MANY),
        (b"\x80\x02}" + DUPLICATED + b"Ns.", MANY),
        (b"\x80\x02" + b"]" * 2_000_000 + b".", MANY),
        (b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b".", "bytes"),
        (b"\x80\x04\x95" + (2**40).to_bytes(8, "little") + b"N.", ""),
        (b"\x80\x05\x96" + bytes(8) + b".", "no attribute 'get'"),
        (b"\x80\x02Na.", ""),
        (b"\x80\x02NNa.", "append"),
        (b"\x80\x02\x86.", ""),
        (b"\x80\x02h\7.", "7"),
        (b"\x80\x02\x82\1.", "extension code 1"),
        (b"\x80\x02c__main__\nx\n)\x81.", "asks for __main__.x"),
        (b"(i__main__\nx\n.", "asks for __main__.x"),
        (b"Pname\n.", "persistent id"),
    ],
)
def test_pickles_that_do_other_things_are_rejected(tmp_path, contents, reason):
    (tmp_path / "test_batch").write_bytes(contents)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=f"test_batch is not .*{reason}") as error:
        data.load("cifar", str(tmp_path), "test")
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
    batch = cifar_pickle.load_batch(pickled)
    assert isinstance(batch["data"], cifar_pickle.StandIn)
    with pytest.raises(ValueError):
        cifar_pickle.uint8_array(batch["data"])


@pytest.mark.parametrize("how", [b"}U\1xK\1sb", b"N}U\1xK\1s\x86b", b")\x81"])
def test_the_class_of_stand_ins_cannot_be_changed(how):
    """Given a state of attributes, of slots, or called without its constructor."""
    before = dict(vars(cifar_pickle.StandIn))
    with contextlib.suppress(TypeError):
        cifar_pickle.load_batch(b"\x80\x02cnumpy\ndtype\n" + how + b".")
    assert dict(vars(cifar_pickle.StandIn)) == before


def test_a_batch_of_the_original_size_has_far_fewer_opcodes_than_are_allowed():
    images = np.zeros((10_000, 32, 32, 3), np.uint8)
    for encode in (python_2_pickle, python_3_pickle):
        contents = encode(images, [0] * 10_000)
        names = [opcode.name for opcode, *_ in pickletools.genops(contents)]
        assert len(names) < cifar_pickle.MAX_OPCODES / 10
        nesting = [name for name in names if name in cifar_pickle.NESTING]
        assert len(nesting) <= cifar_pickle.MAX_NESTING / 2
