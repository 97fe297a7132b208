"""The first contact with an address: without a single response of the API it ends within seconds, with the reason.

Once the API has responded, to this process or an earlier one, the transport waits out outages.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

from resources.asleep.errors import AsleepError, NoContact, Unavailable
from resources.asleep.http.http_client import HttpClient, HttpResponse
from resources.json_decoding import decode

PATIENCE_SECONDS = 3.0
"""From the first request on: the first failure after it ends the contact."""
REQUEST_SECONDS = 8.0
"""Time-out of a request while there is no contact."""


class FirstContact:
    """Sends requests as `HttpClient` does, and raises `NoContact` when the API responds to none of the first."""

    def __init__(
        self,
        http: HttpClient,
        base_url: str,
        note_answer: Callable[[], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare.

        Args:
            http: sends the requests.
            base_url: named in the error.
            note_answer: called when the API responds for the first time.
            clock: monotonic seconds.
        """
        self._http = http
        self._base_url = base_url
        self._note_answer = note_answer
        self._clock = clock
        self._lock = threading.Lock()
        self._has_contact = False
        self._give_up_at: float | None = None

    def get(self, *request: Any, **callbacks: Any) -> HttpResponse:
        """Send one GET request; the arguments are those of `HttpClient.get`.

        Raises:
            NoContact: the API has not responded to any request, and no other will be sent.
            AsleepError: as `HttpClient.get`.
        """
        if self._has_contact:
            return self._http.get(*request, **callbacks)
        with self._lock:
            if self._give_up_at is None:
                self._give_up_at = self._clock() + PATIENCE_SECONDS
        try:
            response = self._http.get(*request, **callbacks, max_seconds=REQUEST_SECONDS)
        except AsleepError as error:
            failure = error
        else:
            if _is_of_the_api(response):
                self._note_first()
                return response
            failure = Unavailable(
                f"HTTP {response.status} with something that is not the API's, such as a proxy's page"
            )
        if self._has_contact or self._clock() < self._give_up_at or failure.stops_everything:
            raise failure
        raise NoContact(
            f"The Asleep API does not answer at {self._base_url}: {failure}. It has never answered from this address. "
            "Check ASLEEP_BASE_URL and the network; in a company's network, ASLEEP_PROXY and ASLEEP_CA_BUNDLE."
        )

    def _note_first(self) -> None:
        with self._lock:
            is_first, self._has_contact = not self._has_contact, True
        if is_first:
            self._note_answer()


def _is_of_the_api(response: HttpResponse) -> bool:
    """True for the envelope of the contract, errors included, and for a cloud gateway's own message about the key."""
    try:
        answer: Any = decode(response.body)
    except ValueError:
        return False
    return isinstance(answer, dict) and not {"result", "detail", "message", "Message"}.isdisjoint(answer)
