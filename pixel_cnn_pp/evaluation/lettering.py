"""Lettering: numbers and a few words on pictures, in a font of 3×5 pixels."""

import numpy as np

HEIGHT = 5
# Five rows of three pixels for each letter, top to bottom.
GLYPHS = {
    "0": "### #.# #.# #.# ###",
    "1": ".#. ##. .#. .#. ###",
    "2": "### ..# ### #.. ###",
    "3": "### ..# ### ..# ###",
    "4": "#.# #.# ### ..# ..#",
    "5": "### #.. ### ..# ###",
    "6": "### #.. ### #.# ###",
    "7": "### ..# ..# .#. .#.",
    "8": "### #.# ### #.# ###",
    "9": "### #.# ### ..# ###",
    ".": "... ... ... ... .#.",
    "-": "... ... ### ... ...",
    "+": "... .#. ### .#. ...",
    "e": "... .## ### #.. .##",
    "b": "#.. #.. ##. #.# ##.",
    "i": ".#. ... .#. .#. .#.",
    "l": ".#. .#. .#. .#. .##",
    "p": "... ##. #.# ##. #..",
    "r": "... .## #.. #.. #..",
    "s": "... .## ##. ..# ##.",
    "t": ".#. ### .#. .#. .##",
    "x": "... #.# .#. .#. #.#",
    "/": "..# ..# .#. #.. #..",
    " ": "... ... ... ... ...",
}


def lettered(text: str) -> np.ndarray:
    """Where the ink of a text is, bool [5, 4·length − 1]."""
    ink = np.zeros((HEIGHT, 4 * len(text)), bool)
    for i, letter in enumerate(text):
        rows = GLYPHS[letter].split()
        ink[:, 4 * i : 4 * i + 3] = [[dot == "#" for dot in row] for row in rows]
    return ink[:, :-1]


def write(sheet: np.ndarray, top: int, left: int, text: str, size: int = 1) -> None:
    """Writes a text in black on uint8 [H, W, C], its dots `size` pixels wide."""
    ink = lettered(text).repeat(size, axis=0).repeat(size, axis=1)
    height, width = ink.shape
    sheet[top : top + height, left : left + width][ink] = 0
