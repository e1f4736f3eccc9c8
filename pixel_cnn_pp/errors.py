"""Errors of TensorFlow in one line."""

import re

# How lines begin that say where an error occurred, not what failed.
_PLACES = re.compile(r"\s|$|Graph execution error|Detected at|Stack trace")


def tensorflow_reason(error: Exception) -> str:
    """The line of an error of TensorFlow that says what failed."""
    lines = str(getattr(error, "message", error)).splitlines()
    reasons = [line for line in lines if not _PLACES.match(line)]
    return (reasons or [type(error).__name__])[0]
