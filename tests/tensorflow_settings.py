"""TensorFlow for the tests: eight logical CPU devices, no XLA and no Grappler."""

import gc
import os
import pathlib
import sys

# Without what is set here; xdist starts its processes with what the first one has set.
SET_HERE = ("TF_CPP_MIN_LOG_LEVEL", "XLA_FLAGS", "CUDA_VISIBLE_DEVICES")
USER_ENVIRONMENT = {k: v for k, v in os.environ.items() if k not in SET_HERE}
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = ""
# XLA compiles for longer than the tests run what it compiled. Without its fusion
# emitters and in one part of code it compiles a step in 8 s instead of 14.
os.environ["XLA_FLAGS"] = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
)

import tensorflow as tf
from tensorflow.python.util import tf_stack

# Building graphs makes many objects that live as long as their graph: by default
# Python looks through them for a tenth of the tests' time.
gc.freeze()
gc.set_threshold(20_000, 20, 20)

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 8,
)

# Every operation of a graph notes the lines of Python that it comes from, for errors
# ("Detected at node …"). That is a twelfth of the tests' time and a third of their
# memory, so here they share one note.
stack = tf_stack.extract_stack()
tf_stack.extract_stack = lambda stacklevel=1: stack

# Rewriting the graphs takes longer than running them once or twice does.
# test_processes.py runs with TensorFlow's defaults.
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})

# XLA, the default in part, compiles for longer than most tests run what it compiled.
# With it: test_sampling.py, what asks for it by name, and all that runs as a process.
ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from pixel_cnn_pp import distribution  # After the devices are set.

default_scope = distribution.xla_scope


def _scope_without_xla(jit_compile):
    scope = default_scope(jit_compile)
    return False if scope is None else scope


distribution.xla_scope = _scope_without_xla


def _without_tuning(dataset):
    """Without the thread that tunes the input: the end of an iteration waits for it, up
    to a minute."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return _original(dataset).with_options(options)


# Called by whatever iterates over a data set, Keras among them.
_original = tf.data.Dataset._apply_debug_options
tf.data.Dataset._apply_debug_options = _without_tuning
