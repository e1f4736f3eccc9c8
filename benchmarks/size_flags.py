"""Flags that say how large a network is measured, on how many images."""

from absl import flags

flags.DEFINE_integer("nr_resnet", 5, "Residual blocks per stage.", short_name="q")
flags.DEFINE_integer("nr_filters", 160, "Filters of every layer.", short_name="n")
flags.DEFINE_integer("batch_size", 8, "Images at a time.", short_name="b")
