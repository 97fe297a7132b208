"""The webhook endpoint: whose events are accepted, what is stored, and the form of a refusal."""

import concurrent.futures
import gzip
import re
from collections.abc import Callable, Iterator

import orjson
import pytest
import requests
from serving import KEY, SECOND_KEY, Service, await_truth, served
from sqlalchemy import Engine, text

from assets.webhooks.events import read_event
from pipelines.service.app import create_app
from resources.notifications.signature import sign

SECRET, NEXT_SECRET = "webhook-secret", "next-secret"


@pytest.fixture(scope="module")
def service(serve_app: Callable[..., Service], database_url: str) -> Service:
    return serve_app(served(database_url, api_keys=(KEY, SECOND_KEY), refusals_per_minute=10_000))


@pytest.fixture(scope="module")
def signed(serve_app: Callable[..., Service], database_url: str) -> Service:
    options = served(database_url, api_keys=(KEY,), webhook_secrets=(SECRET, NEXT_SECRET), refusals_per_minute=10_000)
    return serve_app(options)


@pytest.fixture(autouse=True)
def _empty_inbox(engine: Engine) -> Iterator[None]:
    yield
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM asleep.webhook_events"))


def inbox(engine: Engine) -> list[tuple[bytes, dict[str, str]]]:
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT body, headers FROM asleep.webhook_events ORDER BY event_id"))
        return [(bytes(row.body), row.headers) for row in rows]


def test_an_event_is_in_the_inbox_when_the_sender_receives_200(service: Service, engine: Engine):
    """The sender never sends it again: it must be safe by then."""
    body = b'{"event": "SESSION_COMPLETE", "data": {"user_id": "G-1"}}'
    answer = service.event(body, x_user_id="G-1")
    assert (answer.status_code, answer.json()) == (200, {"status": "stored"})
    ((stored, headers),) = inbox(engine)
    assert stored == body
    assert headers["x-user-id"] == "G-1"


def test_a_repeated_event_is_welcome_and_stored_once(service: Service, engine: Engine):
    """Asleep may repeat; an error would make it repeat for ever."""
    answers = [service.event(b'{"n": 1}').json()["status"] for _ in range(3)]
    assert answers == ["stored", "duplicate", "duplicate"]
    assert len(inbox(engine)) == 1


def test_a_crowd_sending_the_same_event_stores_it_once(service: Service, engine: Engine):
    """Replays at once race for the same row."""
    with concurrent.futures.ThreadPoolExecutor(20) as crowd:
        answers = list(crowd.map(lambda number: service.event(f'{{"n": {number % 5}}}').json()["status"], range(100)))
    assert answers.count("stored") == 5
    assert answers.count("duplicate") == 95
    assert len(inbox(engine)) == 5


def test_every_valid_key_is_accepted_and_none_is_stored(service: Service, engine: Engine):
    """A key in the inbox would be a key in every backup."""
    assert service.event(b'{"n": 1}', x_api_key=SECOND_KEY, authorization=f"Bearer {KEY}", x_strayed=KEY).ok
    kept = orjson.dumps(inbox(engine)[0][1]).decode()
    assert KEY not in kept
    assert SECOND_KEY not in kept


@pytest.mark.parametrize("key", ["", "wrong", KEY[:-1], KEY + "0", KEY.upper(), "ké", f"{KEY}, {KEY}"])
def test_a_wrong_key_is_refused_and_nothing_is_stored(service: Service, engine: Engine, key: str):
    """Anybody can reach the door."""
    answer = requests.post(f"{service.url}/webhooks/asleep", b"{}", headers={"x-api-key": key.encode()}, timeout=30)
    assert (answer.status_code, answer.json()) == (401, {"detail": "The key is missing or not valid."})
    assert "www-authenticate" in answer.headers
    assert inbox(engine) == []


def test_a_missing_key_is_refused(service: Service):
    """The same answer as for a wrong one."""
    assert requests.post(f"{service.url}/webhooks/asleep", b"{}", timeout=30).status_code == 401


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"[" * 5000, b"\x00"])
def test_what_is_no_object_is_a_bad_request(service: Service, engine: Engine, body: bytes):
    """The reader may rely on an object."""
    answer = service.event(body)
    assert answer.status_code == 400
    assert list(answer.json()) == ["detail"]
    assert inbox(engine) == []


NIGHT = b'{"event": "SESSION_COMPLETE", "data": {"user_id": "G-1", "stat": {"sleep_index": %s}}}'


@pytest.mark.parametrize(
    "body",
    [
        NIGHT % b"NaN",
        NIGHT % b"-Infinity",
        NIGHT % b'"\\ud800"',
        NIGHT % b"1e999",
        b"\xef\xbb\xbf" + NIGHT % b"1",
        (NIGHT % b"1").decode().encode("utf-16"),
    ],
    ids=["NaN", "infinity", "half a surrogate pair", "beyond a double", "byte order mark", "UTF-16"],
)
def test_what_the_sync_can_read_is_stored_and_understood(service: Service, engine: Engine, body: bytes):
    """An event refused with 400 may never come again. The API's own answers in these forms are read as well."""
    assert service.event(body).json() == {"status": "stored"}
    ((stored, headers),) = inbox(engine)
    assert stored == body
    assert read_event(stored, headers).user_id == "G-1"


@pytest.mark.parametrize("sent", ["G-é".encode(), "G-é".encode("latin-1")], ids=["UTF-8", "Latin-1"])
def test_a_user_in_a_header_is_read_in_either_encoding(service: Service, engine: Engine, sent: bytes):
    """Read as Latin-1 alone, UTF-8 names a user who does not exist."""
    headers = {"x-api-key": KEY, "x-user-id": sent}
    assert requests.post(f"{service.url}/webhooks/asleep", b'{"event": "x"}', headers=headers, timeout=30).ok
    ((stored, kept),) = inbox(engine)
    assert read_event(stored, kept).user_id == "G-é"


def test_a_compressed_body_is_stored_as_its_content(service: Service, signed: Service, engine: Engine):
    """With and without the header, also in several members; the sender signs either the content or what it sends."""
    body = NIGHT % b"1"
    packed = gzip.compress(body[:20]) + gzip.compress(body[20:])
    assert service.event(packed, content_encoding="gzip").json() == {"status": "stored"}
    assert service.event(gzip.compress(body)).json() == {"status": "duplicate"}
    for of in (body, packed):
        assert signed.event(packed, x_signature=sign(SECRET, of)).json() == {"status": "duplicate"}
    assert [stored for stored, _ in inbox(engine)] == [body]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (gzip.compress(b"{}")[:-4], 400),
        (gzip.compress(b"{}") + b"rest", 400),
        (b"\x1f\x8b", 400),
        (b"\x1f\x8bnot gzip", 400),
        (gzip.compress(b'{"a": "%s"}' % (b" " * 2**25)), 413),
    ],
    ids=["cut short", "with a rest", "two bytes", "not gzip", "32 MiB in 32 KiB"],
)
def test_a_compressed_body_that_is_broken_or_too_large_is_refused(
    service: Service, engine: Engine, body: bytes, status: int
):
    """A bomb costs no more memory than the largest event."""
    answer = service.event(body)
    assert (answer.status_code, list(answer.json())) == (status, ["detail"])
    assert inbox(engine) == []


def nested(levels: int) -> bytes:
    """Objects and lists in turns, and brackets in a text, which are no levels."""
    opening, closing = b'{"a":[' * (levels // 2), b"]}" * (levels // 2)
    return opening + b'"' + b"[{" * 200 + b'\\"[{"' + closing


def test_a_body_of_a_thousand_levels_is_a_bad_request(service: Service, engine: Engine):
    """Whoever reads it later would run out of stack, again and again."""
    for levels, status in ((100, 200), (102, 400), (1000, 400)):
        assert service.event(nested(levels)).status_code == status
    assert [body for body, _ in inbox(engine)] == [nested(100)]


@pytest.mark.parametrize("form", [sign, lambda *a: sign(*a).removeprefix("sha256="), lambda *a: sign(*a).upper()])
def test_a_right_signature_is_accepted(signed: Service, form: Callable[[str, bytes], str]):
    """In every usual spelling."""
    assert signed.event(b'{"a": 1}', x_signature=form(SECRET, b'{"a": 1}')).status_code == 200


@pytest.mark.parametrize("signature", ["", "sha256=", "0" * 64, sign("other", b'{"a": 1}'), "é"])
def test_a_wrong_signature_is_refused(signed: Service, engine: Engine, signature: str):
    """Somebody has the key but not the secret."""
    headers = {"x-api-key": KEY, "x-signature": signature.encode()}
    answer = requests.post(f"{signed.url}/webhooks/asleep", b'{"a": 1}', headers=headers, timeout=30)
    assert answer.status_code == 401
    assert inbox(engine) == []


def test_two_secrets_are_valid_while_one_replaces_the_other(signed: Service):
    """A secret can be replaced without refusing a single event."""
    for secret in (SECRET, NEXT_SECRET):
        assert signed.event(b'{"a": 1}', x_signature=sign(secret, b'{"a": 1}')).status_code == 200


def test_a_signature_belongs_to_one_body(signed: Service):
    """A body changed on its way is not the one that was signed."""
    assert signed.event(b'{"a": 2}', x_signature=sign(SECRET, b'{"a": 1}')).status_code == 401


def test_a_missing_signature_is_refused_when_a_secret_is_set(signed: Service):
    """Otherwise leaving it out would be the way round it."""
    assert signed.event(b'{"a": 1}').status_code == 401


def test_a_signature_that_cannot_be_checked_is_refused(service: Service):
    """The sender believes it is protected; say that it is not."""
    assert service.event(b"{}", x_signature=sign(SECRET, b"{}")).status_code == 401


def test_the_largest_body_is_accepted_and_one_byte_more_is_not(service: Service, engine: Engine):
    """The limit is exact, and the refusal is heard even by a client that is still sending."""
    frame = b'{"a": "%s"}'
    largest = frame % (b"x" * (1024 * 1024 - len(frame) + 2))
    assert len(largest) == 1024 * 1024
    assert service.event(largest).status_code == 200
    answer = service.event(largest + b" ")
    assert (answer.status_code, list(answer.json())) == (413, ["detail"])
    assert len(inbox(engine)) == 1


def test_a_body_of_undeclared_length_is_counted(service: Service, engine: Engine):
    """A chunked body declares nothing, or lies."""

    def chunks() -> Iterator[bytes]:
        yield b'{"a": "'
        for _ in range(2048):
            yield b"x" * 1024

    url, headers = f"{service.url}/webhooks/asleep", {"x-api-key": KEY}
    assert requests.post(url, chunks(), headers=headers, timeout=30).status_code == 413
    assert inbox(engine) == []


def test_a_client_that_keeps_guessing_has_to_wait(serve_app: Callable[..., Service], database_url: str):
    """Guessing is slowed down, while the right key still opens from the same address."""
    service = serve_app(served(database_url, api_keys=(KEY,), refusals_per_minute=3))
    statuses = [service.event(b"{}", x_api_key="wrong").status_code for _ in range(5)]
    assert statuses == [401, 401, 401, 429, 429]
    answer = service.event(b"{}", x_api_key="wrong")
    assert 1 <= int(answer.headers["retry-after"]) <= 61
    assert service.event(b"{}").status_code == 200


def test_a_client_that_sends_too_much_has_to_wait(serve_app: Callable[..., Service], database_url: str):
    """One sender must not fill the disk."""
    service = serve_app(served(database_url, api_keys=(KEY,), events_per_minute=3))
    answers = [service.event(f'{{"n": {number}}}') for number in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert int(answers[-1].headers["retry-after"]) >= 1


def test_only_a_trusted_proxy_names_the_client(serve_app: Callable[..., Service], database_url: str):
    """Otherwise a client that names another address with each guess is never told to wait."""
    options = served(database_url, api_keys=(KEY,), refusals_per_minute=3)
    for trusted, expected in (((), 429), (("10.0.0.0/8",), 429), (("127.0.0.1",), 401)):
        service = serve_app(options, trusted_proxies=trusted)
        for number in range(5):
            answer = service.event(b"{}", x_api_key="wrong", x_forwarded_for=f"203.0.113.{number}")
        assert answer.status_code == expected, trusted


def test_a_slash_at_the_end_is_another_path(service: Service):
    """A redirect would repeat the key to whatever host the Host header names."""
    answer = requests.post(
        f"{service.url}/webhooks/asleep/",
        b"{}",
        headers={"x-api-key": KEY, "host": "elsewhere.example"},
        timeout=30,
        allow_redirects=False,
    )
    assert (answer.status_code, list(answer.json())) == (404, ["detail"])


def test_events_of_every_worker_meet_in_one_inbox(
    start_service: Callable[..., Service], database_url: str, engine: Engine
):
    """Two instances with two workers each, behind one balancer."""
    services = [start_service(database_url, workers=2) for _ in range(2)]
    with concurrent.futures.ThreadPoolExecutor(16) as crowd:
        answers = list(crowd.map(lambda n: services[n % 2].event(f'{{"n": {n // 4}}}').json()["status"], range(200)))
    assert answers.count("stored") == len(inbox(engine)) == 50
    assert services[0].get("/health").json()["dependencies"]["asleep_api"]["state"] == "up"
    for _ in range(8):  # Prometheus reaches one worker by chance, and each must report the sum of both
        shown = re.findall(
            r"^asleep_sync_webhook_events_total\{.*\} (\S+)$", services[0].get("/metrics").text, re.MULTILINE
        )
        assert sum(map(float, shown)) == 100


def test_a_stopped_service_finishes_what_it_began(start_service: Callable[..., Service], database_url: str):
    """A deployment loses no event: whoever was let in gets an answer, and the process ends by itself."""
    service = start_service(database_url)
    assert service.process is not None
    with concurrent.futures.ThreadPoolExecutor(8) as crowd:
        answers = [crowd.submit(service.event, f'{{"n": {number}}}') for number in range(100)]
        await_truth(lambda: sum(answer.done() for answer in answers) > 10)
        service.process.terminate()
        heard = [answer for answer in answers if answer.exception() is None]
    assert all(answer.result().status_code == 200 for answer in heard)
    assert service.process.wait(30) in {0, -15}


def test_webhooks_that_are_off_have_no_route(serve_app: Callable[..., Service], database_url: str):
    """Without webhooks there is no such route, and no keys are needed."""
    service = serve_app(served(database_url, enable_webhooks=False))
    assert service.event(b"{}").status_code == 404


def test_webhooks_without_a_key_are_refused_at_the_start(database_url: str):
    """A receiver that anybody may feed, or nobody, is never meant."""
    with pytest.raises(ValueError, match="ASLEEP_API_KEY"):
        create_app(*served(database_url))
