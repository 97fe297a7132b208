"""Telling a person through a chat's webhook.

Lives here: one message, tried a few times.  Not here: when, what about.
"""

import requests
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential

TIMEOUT_SECONDS = 10.0
FIRST_PAUSE_SECONDS = 0.5
MAX_PAUSE_SECONDS = 5.0
ATTEMPTS = 3
"""All within one evaluation of the sensor, which does not repeat a message that was not accepted."""


class AlertNotDelivered(Exception):
    """The alert webhook did not accept the message."""


@retry(
    retry=retry_if_exception_type(AlertNotDelivered),
    stop=stop_after_attempt(ATTEMPTS),
    wait=wait_exponential(multiplier=FIRST_PAUSE_SECONDS, max=MAX_PAUSE_SECONDS),
    reraise=True,
)
def post_alert(url: str, text: str) -> None:
    """Send `{"text": …}`, the form that Slack, Mattermost, Teams and Google Chat accept. Redirects are refusals.

    Raises:
        AlertNotDelivered: no answer, or any but 2xx, each time. The message holds neither the address nor the answer.
    """
    try:
        answer = requests.post(url, json={"text": text}, timeout=TIMEOUT_SECONDS, allow_redirects=False)
    except requests.RequestException as error:
        raise AlertNotDelivered(type(error).__name__) from None
    if not answer.ok or answer.is_redirect:
        raise AlertNotDelivered(f"status {answer.status_code}")
