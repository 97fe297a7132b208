"""What one write of a batch leaves to the next ones."""

from datetime import date

import pytest

from assets.sync.batch_state import BatchState
from assets.sync.user_steps import UserOutcome
from assets.sync.window import Window
from resources.database.sync.sync_state import UserToSync

WINDOW = Window.of_days(date(2026, 3, 10), date(2026, 3, 16))


@pytest.mark.parametrize(("owner", "mended"), [(None, []), ("user-2", [7])])
def test_a_session_without_an_owner_stays_on_record_until_the_user_is_done(owner, mended):
    """A long sync writes many times: what one write records, a later one of the same sync must not resolve."""
    state = BatchState()
    outcome = UserOutcome(UserToSync("user-1", fresh=False, failure_ids=(7,), failed=("session",)), WINDOW)
    state.settle_owner("session", owner, {"user-1", "user-2"})
    assert len(state.unconfirmed) == (2 if owner is None else 0)
    state.forget_written()
    state.done.append(outcome)

    assert state.mended() == mended
