"""kill -9 at any moment: what was committed is right, nothing is lost, and the next good run has it all."""

import random

import pytest


def _kill_somewhere(deployment, dice, most_requests):
    """Start a sync, kill it once so many requests were served as the dice say; its exit code and what it said."""
    deployment.api.reset()
    process = deployment.sync(ASLEEP_REQUESTS_PER_SECOND="150")
    deployment.reach(dice.randrange(most_requests), process)
    process.kill()
    said = "".join(process.communicate())
    return process.returncode, said


def _kill_and_mend(deployment, seed, kills):
    dice = random.Random(seed)  # noqa: S311 reproducible
    least = deployment.api.ask("least_requests")["total"]
    ends = [_kill_somewhere(deployment, dice, max(2, least // (number + 1))) for number in range(kills)]
    assert {code for code, _ in ends} <= {-9, 0}, ends
    assert any(code == -9 for code, _ in ends), "no run was still under way when it was killed"
    assert all(wrong.startswith("missing: ") for wrong in deployment.wrong())
    assert deployment.queued_averages() == deployment.averages_from_nothing()

    code, said = deployment.run()
    assert code == 0, said
    assert deployment.wrong() == []
    assert deployment.missing_data() == []
    assert deployment.rows("SELECT FROM asleep.stale_months") == []
    assert deployment.queued_averages() == deployment.averages_from_nothing()


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in (1, 2))])
def test_a_run_killed_at_a_random_moment_loses_nothing(deployment, seed):
    """Machines die. A torn batch, a month not computed, a lock that stays: none of it may survive the next run."""
    _kill_and_mend(deployment, seed, kills=1)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(100, 122))
def test_a_run_killed_at_many_random_moments_loses_nothing(deployment, seed):
    _kill_and_mend(deployment, seed, kills=3)
