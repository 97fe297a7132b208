"""Small decisions that strangers will try to get round."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from pipelines.service.http.clients import KeyRing
from resources.database.service.service_limits import Counter, Limit, _Use
from resources.notifications.signature import sign, verify

START = datetime(2026, 3, 7, tzinfo=UTC)
MINUTE = Limit("sessions", 10, 60)


@pytest.mark.parametrize(
    ("after_seconds", "expected"),
    [
        (-5, Counter(START, 7, 3)),
        (59, Counter(START, 7, 3)),
        (60, Counter(START + timedelta(seconds=60), 0, 7)),
        (119, Counter(START + timedelta(seconds=60), 0, 7)),
        (120, Counter(START + timedelta(seconds=120), 0, 0)),
    ],
)
def test_a_counter_slides_on_window_by_window(after_seconds: float, expected: Counter):
    """The window before still counts; the one before that does not."""
    use = _Use(MINUTE, Counter(START, 7, 3), START + timedelta(seconds=after_seconds))
    assert use.slid().counter == expected


def test_a_key_is_found_among_several_and_named_without_its_value():
    """The name may be logged, the key may not."""
    ring = KeyRing([SecretStr("one"), SecretStr("two"), SecretStr("")])
    assert ring.client_of(["one"]) != ring.client_of(["two"])
    assert ring.client_of([""]) is None
    assert ring.client_of(["one", "two"]) is None
    assert ring.client_of([]) is None
    assert "one" not in repr(vars(ring)) + str(ring.client_of(["one"]))


@given(shown=st.text(st.characters(max_codepoint=255)))
def test_no_header_breaks_the_comparison(shown: str):
    """Comparing text outside ASCII raises in the standard library."""
    assert (KeyRing([SecretStr("key")]).client_of([shown]) is not None) == (shown == "key")


@given(body=st.binary(), signature=st.binary())
def test_no_signature_breaks_the_check(body: bytes, signature: bytes):
    """Whatever the header holds, the answer is yes or no."""
    assert not verify("secret", body, signature)
    assert verify("secret", body, sign("secret", body).encode())
    assert not verify("secret", body + b" ", sign("secret", body).encode())
