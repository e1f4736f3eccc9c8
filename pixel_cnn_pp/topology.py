"""The topology of the network, declared once: a list of blocks."""

from typing import NamedTuple

from pixel_cnn_pp.config import FIELDS, ModelConfig

IMAGE = -1  # Input of a block: the image and its channel of ones.
STRIDES = (1, 2, 4)
# Rows and columns of the kernels of each stream in the official network.
FILTER_SIZES = {"u": (2, 3), "ul": (2, 2)}


class Block(NamedTuple):
    """One block of the network; its output is a feature map of its stream and stage."""

    kind: str  # 'input', 'gated_resnet', 'conv' or 'deconv'
    stream: str  # 'u' sees the rows above, 'ul' those and the pixels to the left
    stride: int  # its output is [N, H / stride, W / stride, F]
    x: int  # index of its input block
    a: tuple[int, ...] = ()  # indices of its other inputs: u for ul, skip connections
    filter_size: tuple[int, int] | None = None  # by default that of its stream
    input_stride: int | None = None  # that of x

    @property
    def run_stride(self) -> int:
        """Where the sampler runs it: a change of stage at the coarser stride."""
        return max(self.stride, self.input_stride)


class _Blocks(list):
    def add(self, *block) -> int:
        """Appends a block; returns its index."""
        block = Block(*block)
        size = block.filter_size or FILTER_SIZES[block.stream]
        input_stride = block.stride if block.x == IMAGE else self[block.x].stride
        self.append(block._replace(filter_size=size, input_stride=input_stride))
        return len(self) - 1


def topology(config: ModelConfig) -> list[Block]:
    """The blocks in their order, the output last."""
    if config.field is not None:
        return _small_field(*FIELDS[config.field], config.nin_blocks)
    return _official(config.nr_resnet, config.short_cuts)


def _official(nr_resnet: int, short_cuts: bool) -> list[Block]:
    """The official `model_spec`. short_cuts=False removes the skip connections from the
    downsampling to the upsampling path, the dotted lines of the paper's figure 2
    (section 3.4.2); ul still reads u."""
    blocks = _Blocks()

    # Downsampling path: each output goes on the list of its stream.
    u = [blocks.add("input", "u", 1, IMAGE)]
    ul = [blocks.add("input", "ul", 1, IMAGE)]
    for stride in STRIDES:
        if stride > 1:
            u.append(blocks.add("conv", "u", stride, u[-1]))
            ul.append(blocks.add("conv", "ul", stride, ul[-1]))
        for _ in range(nr_resnet):
            u.append(blocks.add("gated_resnet", "u", stride, u[-1]))
            ul.append(blocks.add("gated_resnet", "ul", stride, ul[-1], (u[-1],)))

    # Upsampling path: the lists become skip connections, last in, first out.
    u_top, ul_top = u.pop(), ul.pop()
    for stride in reversed(STRIDES):
        if stride < STRIDES[-1]:
            u_top = blocks.add("deconv", "u", stride, u_top)
            ul_top = blocks.add("deconv", "ul", stride, ul_top)
        for _ in range(nr_resnet + (stride < STRIDES[-1])):
            from_u, from_ul = u.pop(), ul.pop()
            a = (from_u,) if short_cuts else ()
            u_top = blocks.add("gated_resnet", "u", stride, u_top, a)
            a = (u_top, from_ul) if short_cuts else (u_top,)
            ul_top = blocks.add("gated_resnet", "ul", stride, ul_top, a)
    assert not u and not ul
    return blocks


def _small_field(layers: int, first_rows: int, nin_blocks: int) -> list[Block]:
    """A network of one stage that sees a small rectangle above the pixel and half its
    width to the left. Salimans et al. 2017, section 3.3.

    The second conv of a block widens the field of its skip connection. So that nothing
    sees farther than u at the end, a block of ul reads the u of the layer before, and a
    last block, 1×1, reads the last u.
    """
    blocks = _Blocks()
    u = blocks.add("input", "u", 1, IMAGE, (), (first_rows, 3))
    ul = blocks.add("input", "ul", 1, IMAGE)
    for layer in range(layers):
        if layer:
            for _ in range(nin_blocks):
                u = blocks.add("gated_resnet", "u", 1, u, (), (1, 1))
                ul = blocks.add("gated_resnet", "ul", 1, ul, (u,), (1, 1))
        u_before = u
        u = blocks.add("gated_resnet", "u", 1, u)
        ul = blocks.add("gated_resnet", "ul", 1, ul, (u_before,))
    blocks.add("gated_resnet", "ul", 1, ul, (u,), (1, 1))
    return blocks
