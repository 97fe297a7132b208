"""What Prometheus reads, and the alert rules that are shipped for it."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from serving import KEY, Service, free_port, served
from sqlalchemy import Engine, text

from pipelines.service.bounds import Bounds
from pipelines.settings import Settings
from resources.rate_limit.shared_row import key_id_of

ROOT = Path(__file__).resolve().parents[4]
RULES = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yaml").read_text("utf-8"))
USER = "G-who-must-not-be-shown"


def samples(service: Service) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Labels and value of each sample, by name."""
    response = service.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(response.text):
        assert family.documentation, family.name
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def events(service: Service) -> dict[str, float]:
    return {labels["outcome"]: value for labels, value in samples(service)["asleep_sync_webhook_events_total"]}


@pytest.fixture(scope="module")
def service(serve_app: Callable[..., Service], database_url: str, engine: Engine) -> Service:
    """A service with every part switched on, as the environment would have it."""
    with engine.begin() as connection:
        for statement in (
            "INSERT INTO asleep.users (user_id, source, last_synced_at) VALUES (:id, 'import', now() - interval '1 h')",
            "INSERT INTO asleep.sync_failures (user_id, kind, message, attempts) VALUES (:id, 'malformed', 'm', 1)",
            "INSERT INTO asleep.rate_limits (key_id, requests_per_second, circuit) VALUES (:key, 40, 'open')",
        ):
            connection.execute(text(statement), {"id": USER, "key": key_id_of(KEY)})
    settings = Settings(
        _env_file=None, asleep_api_key=KEY, database_url=database_url, service_api_keys="read",  # type: ignore[call-arg]
        notify_url="http://127.0.0.1:9/", notify_secret=KEY, enable_metrics=False,
    )  # fmt: skip
    return serve_app((settings, Bounds(), None))


def test_the_figures_are_those_of_the_tables_and_requests(service: Service):
    """A dashboard that shows zero instead of what is missing is worse than none."""
    assert service.event(b'{"n": 1}').json() == {"status": "stored"}
    assert service.event(b'{"n": 1}').json() == {"status": "duplicate"}
    assert service.event(b'{"n": 2}', x_api_key="wrong").status_code == 401

    found = samples(service)
    assert events(service) == {"stored": 1, "duplicate": 1, "wrong_key": 1}
    levels = {name: values[0][1] for name, values in found.items() if values[0][0] == {}}
    assert levels["asleep_sync_database_up"] == 1
    assert levels["asleep_sync_inbox_waiting"] == 1
    assert levels["asleep_sync_missing_data"] == 1
    assert levels["asleep_sync_never_synced_users"] == 0
    assert 3600 <= levels["asleep_sync_oldest_sync_seconds"] < 7200
    assert levels["asleep_sync_asleep_api_requests_per_second"] == 40
    assert levels["asleep_sync_asleep_api_circuit_open"] == 1
    requests = {
        (labels["route"], labels["status"]): value for labels, value in found["asleep_sync_service_requests_total"]
    }
    assert requests["/webhooks/asleep", "401"] == 1


def test_no_label_names_a_person_or_a_client(service: Service):
    """Monitoring systems keep labels for years, and many people read them."""
    service.get(f"/api/users/{USER}/sessions", "read")
    response = service.get("/metrics").text
    assert "/api/users/{user_id}/sessions" in response
    assert USER not in response
    names = {name for values in samples(service).values() for labels, _ in values for name in labels}
    assert names == {"route", "method", "status", "outcome", "le"}


def test_every_alert_rule_uses_metrics_that_exist(service: Service):
    """A rule about a metric that was renamed never fires, and nobody notices."""
    names = set(samples(service)) | {"up"}
    rules = [rule for group in RULES["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        used = set(re.findall(r"\b(?:asleep_sync_\w+|up(?={))", rule["expr"]))
        assert used, rule["alert"]
        assert used <= names, rule["alert"]
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"]


def test_a_service_without_its_database_reports_just_that(serve_app: Callable[..., Service]):
    """The most important alert must not depend on what is down."""
    away = serve_app(served(f"postgresql://a:b@127.0.0.1:{free_port()}/nowhere", api_keys=(KEY,)))
    found = samples(away)
    assert found["asleep_sync_database_up"] == [({}, 0)]
    assert "asleep_sync_missing_data" not in found
    assert found["asleep_sync_webhook_events_total"] == [({"outcome": "stored"}, 0)]
