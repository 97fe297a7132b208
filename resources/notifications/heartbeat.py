"""The sign of life for an outside monitor, which alerts when it stops coming."""

import requests
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential

TIMEOUT_SECONDS = 10.0
ATTEMPTS = 3
FIRST_PAUSE_SECONDS = 0.5
MAX_PAUSE_SECONDS = 5.0


class HeartbeatNotDelivered(Exception):
    """The monitor did not accept the request."""


@retry(
    retry=retry_if_exception_type(HeartbeatNotDelivered),
    stop=stop_after_attempt(ATTEMPTS),
    wait=wait_exponential(multiplier=FIRST_PAUSE_SECONDS, max=MAX_PAUSE_SECONDS),
    reraise=True,
)
def send_heartbeat(url: str) -> None:
    """Request the address once by GET, as the usual monitors expect. Redirects are refusals.

    Raises:
        HeartbeatNotDelivered: no answer, or any but 2xx, each time. The message does not hold the address.
    """
    try:
        answer = requests.get(url, timeout=TIMEOUT_SECONDS, allow_redirects=False)
    except requests.RequestException as error:
        raise HeartbeatNotDelivered(type(error).__name__) from None
    if not answer.ok or answer.is_redirect:
        raise HeartbeatNotDelivered(f"status {answer.status_code}")
