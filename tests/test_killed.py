"""A run that is killed again and again is, in the end, the run never killed."""

from kill_and_resume import kill_and_resume


def test_run_killed_5_times_comes_to_what_the_undisturbed_one_does(tmp_path):
    ends = kill_and_resume(5, 0, tmp_path)
    assert [end.split()[0] for end in ends] == ["SIGKILL"] * 4 + ["SIGTERM"]
