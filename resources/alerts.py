"""Telling a person through a chat's webhook.

Lives here: one POST.  Not here: when, what about, retries.
"""

import requests

TIMEOUT_SECONDS = 10.0


class AlertNotDelivered(Exception):
    """The alert webhook did not accept the message."""


def post_alert(url: str, text: str) -> None:
    """Send `{"text": …}`, the form that Slack, Mattermost, Teams and Google Chat accept. Redirects are refusals.

    Raises:
        AlertNotDelivered: no answer, or any but 2xx. The message holds neither the address nor the answer.
    """
    try:
        answer = requests.post(url, json={"text": text}, timeout=TIMEOUT_SECONDS, allow_redirects=False)
    except requests.RequestException as error:
        raise AlertNotDelivered(type(error).__name__) from None
    if not answer.ok or answer.is_redirect:
        raise AlertNotDelivered(f"status {answer.status_code}")
