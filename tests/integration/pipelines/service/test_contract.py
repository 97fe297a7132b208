"""The OpenAPI document is true, whatever is sent."""

from collections.abc import Callable

import orjson
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import positive_data_acceptance
from serving import KEY, READ_KEY, Service, served
from sqlalchemy import Engine, text

QUICK = settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)


@pytest.fixture(scope="module")
def service(serve_app: Callable[..., Service], database_url: str, engine: Engine) -> Service:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO asleep.users (user_id, source) VALUES ('G-1', 'import')"))
    return serve_app(
        served(
            database_url,
            api_keys=(KEY, READ_KEY),
            service_api_keys=(READ_KEY,),
            read_requests_per_hour=10**6,
            session_requests_per_minute=10**6,
            summary_requests_per_minute=10**6,
            refusals_per_minute=10**6,
        )
    )


@pytest.fixture(scope="module")
def api(service: Service) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{service.url}/openapi.json")


def for_each_operation(api: schemathesis.BaseSchema, check: Callable[[schemathesis.Case], None]) -> int:
    """Run a check on generated requests, valid and not, to every documented operation; how many there are."""
    operations = [found.ok() for found in api.get_all_operations()]
    for operation in operations:
        right = operation.as_strategy(generation_mode=schemathesis.GenerationMode.POSITIVE)
        wrong = operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)
        for requests_of in (right, wrong) if operation.query or operation.path_parameters else (right,):
            QUICK(given(case=requests_of)(check))()
    return len(operations)


def test_every_answer_is_as_documented(api: schemathesis.BaseSchema):
    """Generated requests, right and wrong: status, headers and body must be what the document says."""

    def check(case: schemathesis.Case) -> None:
        case.call_and_validate(
            headers={"x-api-key": READ_KEY},
            timeout=30,
            # A cursor of one's own making and a range that ends before it begins are refused, whatever their form.
            excluded_checks=[positive_data_acceptance],
        )

    assert for_each_operation(api, check) == 8


def test_no_generated_request_gets_in_without_a_key(api: schemathesis.BaseSchema):
    """Not by another type, header or parameter either."""

    def check(case: schemathesis.Case) -> None:
        answer = case.call(headers={"x-api-key": "wrong"}, timeout=30)
        assert answer.status_code in {400, 401, 404, 422} or case.path in {"/live", "/ready", "/health", "/metrics"}

    for_each_operation(api, check)


HEADER_NAMES = st.from_regex(r"\A[a-z][a-z0-9-]{0,20}\Z").filter(
    lambda name: name not in {"content-length", "transfer-encoding", "connection", "host", "expect", "upgrade", "te"}
)
HEADER_VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=255, exclude_categories=["Cc"]), max_size=50)
KNOWN = st.sampled_from(["x-user-id", "x-signature", "x-forwarded-for", "content-type", "content-encoding", "accept"])


@settings(QUICK, max_examples=150)
@given(body=st.binary(max_size=500), headers=st.dictionaries(HEADER_NAMES | KNOWN, HEADER_VALUES, max_size=8))
def test_no_bytes_and_headers_break_the_webhook_endpoint(service: Service, body: bytes, headers: dict[str, str]):
    """Bodies and headers of any shape end in one of the documented answers."""
    sent = {name: value.encode("latin-1") for name, value in headers.items()}
    answer = requests.post(f"{service.url}/webhooks/asleep", body, headers={**sent, "x-api-key": KEY}, timeout=30)
    assert answer.status_code in {200, 400, 401}, answer.text
    assert answer.headers["content-type"] == "application/json"


EVENT = st.fixed_dictionaries(
    {},
    optional={
        name: st.recursive(
            st.none() | st.text() | st.integers(-(2**60), 2**60),
            lambda inner: st.dictionaries(
                st.sampled_from(["user_id", "session_id", "session", "sleep_data", "stat", "id", "\x00"]), inner
            ),
            max_leaves=6,
        )
        for name in ("event", "version", "data", "callback_event", "callback_version", "callback_data", "user_id")
    },
)


@settings(QUICK, max_examples=100)
@given(event=EVENT)
def test_every_object_is_stored_and_comes_out_as_it_went_in(service: Service, engine: Engine, event: dict[str, object]):
    """An odd event is for people to look at, not for us to refuse."""
    body = orjson.dumps(event)
    assert service.event(body).status_code == 200
    with engine.connect() as connection:
        stored = connection.scalars(
            text("SELECT body FROM asleep.webhook_events WHERE body_hash = sha256(:body)"), {"body": body}
        ).all()
    assert [bytes(found) for found in stored] == [body]
