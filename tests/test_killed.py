"""A run that is killed again and again equals the uninterrupted run."""

import pytest
from kill_and_resume import kill_and_resume

pytestmark = pytest.mark.slow


def test_run_killed_3_times_equals_the_uninterrupted_run(tmp_path):
    ends = kill_and_resume(3, 0, tmp_path)
    assert [end.split()[0] for end in ends] == ["SIGKILL", "SIGKILL", "SIGTERM"]
