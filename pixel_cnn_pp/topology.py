"""The topology of the network, declared once: a list of blocks."""

from typing import NamedTuple

IMAGE = -1  # in place of a block's index: the image and its channel of ones
STRIDES = (1, 2, 4)
COARSEST = STRIDES[-1]


class Block(NamedTuple):
    """One step of the network; its output is a map of its stream at its stage."""

    kind: str  # 'input', 'gated_resnet', 'conv' or 'deconv'
    stream: str  # 'u' sees the rows above, 'ul' those and the pixels to the left
    stride: int  # its output is [N, H / stride, W / stride, F]
    x: int  # index of the block that it reads
    a: tuple[int, ...] = ()  # blocks whose maps side by side are its short-cut input


def topology(nr_resnet: int) -> list[Block]:
    """The blocks of the official `model_spec` in their order, the output last."""
    blocks: list[Block] = []

    def add(*block) -> int:
        blocks.append(Block(*block))
        return len(blocks) - 1

    # Up pass: every output goes on the list of its stream.
    u = [add("input", "u", 1, IMAGE)]
    ul = [add("input", "ul", 1, IMAGE)]
    for stride in STRIDES:
        if stride > 1:
            u.append(add("conv", "u", stride, u[-1]))
            ul.append(add("conv", "ul", stride, ul[-1]))
        for _ in range(nr_resnet):
            u.append(add("gated_resnet", "u", stride, u[-1]))
            ul.append(add("gated_resnet", "ul", stride, ul[-1], (u[-1],)))

    # Down pass: the lists come back as short-cuts, last in, first out.
    u_top, ul_top = u.pop(), ul.pop()
    for stride in reversed(STRIDES):
        if stride < COARSEST:
            u_top = add("deconv", "u", stride, u_top)
            ul_top = add("deconv", "ul", stride, ul_top)
        for _ in range(nr_resnet + (stride < COARSEST)):
            u_top = add("gated_resnet", "u", stride, u_top, (u.pop(),))
            ul_top = add("gated_resnet", "ul", stride, ul_top, (u_top, ul.pop()))
    assert not u and not ul
    return blocks
