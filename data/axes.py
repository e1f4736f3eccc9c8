"""Which axes an array of images has, where its shape tells."""

FEW = 4  # An axis of this length or less is likely to be channels, not pixels.


def find_other_axes(shape: tuple[int, ...]) -> tuple[str, str] | None:
    """Axes likelier than [N, H, W, C] or [N, H, W], and how to get [N, H, W, C].

    None where no other axes are likelier.
    """
    return find_other_3_axes(*shape) if len(shape) == 3 else find_other_4_axes(*shape)


def find_other_4_axes(a: int, b: int, c: int, d: int) -> tuple[str, str] | None:
    """As `find_other_axes`, of a shape [a, b, c, d]."""
    if d <= FEW:
        if a == b and c > 16 * b:
            return "[H, W, N, C]", "images.transpose(2, 0, 1, 3)"
    elif b <= FEW < min(c, d):
        return "[N, C, H, W]", "images.transpose(0, 2, 3, 1)"
    elif c <= FEW < min(a, b):
        return "[H, W, C, N]", "images.transpose(3, 0, 1, 2)"
    elif a <= FEW < min(b, c) and d > max(b, c):
        return "[C, H, W, N]", "images.transpose(3, 1, 2, 0)"
    elif a <= FEW and b != c == d:
        return "[C, N, H, W]", "images.transpose(1, 2, 3, 0)"
    return None


def find_doubt(shape: tuple[int, int, int, int]) -> str | None:
    """Other axes that make the images square, where [N, H, W, C] does not.

    Images that are not square exist: a reason to warn, none to reject a file.
    """
    a, b, c, d = shape
    if a == b != c:
        return "[H, W, N, C]"
    if b != c == d:
        return "[N, C, H, W]"
    return None


def find_other_3_axes(a: int, b: int, c: int) -> tuple[str, str] | None:
    """As `find_other_axes`, of a shape [a, b, c]."""
    if c <= FEW:
        if a <= 4 * b:
            return "one image [H, W, C]", "images[None]"
        return "[N, H * W, C]", "images.reshape(N, H, W, C)"
    if b <= FEW:
        return "[N, C, H * W]", "images.reshape(N, C, H, W).transpose(0, 2, 3, 1)"
    if a == 3 and b == c:
        return "one image [C, H, W]", "images.transpose(1, 2, 0)[None]"
    if a == b != c:
        return "[H, W, N]", "images.transpose(2, 0, 1)[..., None]"
    return None
