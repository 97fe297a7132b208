"""Sends one short message: to a chat's webhook, or as a heartbeat to an outside monitor."""

import requests
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential

TIMEOUT_SECONDS = 10.0
FIRST_PAUSE_SECONDS = 0.5
MAX_PAUSE_SECONDS = 5.0
ATTEMPTS = 3
"""All within one evaluation of a sensor, which does not repeat a message that was not accepted."""


class NotDelivered(Exception):
    """The other side did not accept the request. The message holds neither the address nor the response."""


@retry(
    retry=retry_if_exception_type(NotDelivered),
    stop=stop_after_attempt(ATTEMPTS),
    wait=wait_exponential(multiplier=FIRST_PAUSE_SECONDS, max=MAX_PAUSE_SECONDS),
    reraise=True,
)
def deliver(url: str, text: str | None = None) -> None:
    """Request an address; redirects are refusals.

    Args:
        url: where to.
        text: posted as `{"text": …}`, as Slack, Mattermost, Teams and Google Chat expect; None sends a plain GET, as
            monitors of heartbeats expect.

    Raises:
        NotDelivered: no response, or any but 2xx, each time.
    """
    method, body = ("GET", None) if text is None else ("POST", {"text": text})
    try:
        response = requests.request(method, url, json=body, timeout=TIMEOUT_SECONDS, allow_redirects=False)
    except requests.RequestException as error:
        raise NotDelivered(type(error).__name__) from None
    if not response.ok or response.is_redirect:
        raise NotDelivered(f"status {response.status_code}")
