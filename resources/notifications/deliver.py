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


def send(session: requests.Session, method: str, url: str, **content: object) -> None:
    """Send one request; redirects are refusals, and the body of the response is not read.

    Args:
        session: keeps the connection.
        method: of HTTP.
        url: where to.
        content: body and headers, as `requests` takes them.

    Raises:
        NotDelivered: no response, or any but 2xx.
    """
    options = {"timeout": TIMEOUT_SECONDS, "allow_redirects": False, "stream": True, **content}
    try:
        with session.request(method, url, **options) as response:  # type: ignore[arg-type] # of several types
            status = response.status_code
    except requests.RequestException as error:
        raise NotDelivered(type(error).__name__) from None
    if not 200 <= status < 300:  # noqa: PLR2004 the class of successes
        raise NotDelivered(f"status {status}")


@retry(
    retry=retry_if_exception_type(NotDelivered),
    stop=stop_after_attempt(ATTEMPTS),
    wait=wait_exponential(multiplier=FIRST_PAUSE_SECONDS, max=MAX_PAUSE_SECONDS),
    reraise=True,
)
def deliver(url: str, text: str | None = None) -> None:
    """Request an address.

    Args:
        url: where to.
        text: posted as `{"text": …}`, as Slack, Mattermost, Teams and Google Chat expect; None sends a plain GET, as
            monitors of heartbeats expect.

    Raises:
        NotDelivered: no response, or any but 2xx, each time.
    """
    with requests.Session() as session:
        send(session, "GET" if text is None else "POST", url, json=None if text is None else {"text": text})
