"""What Dagster's UI can show to anybody who may look at it."""

import json
import re

USER_ID = re.compile(r"G-\d{14}-[A-Za-z]{20}")
PASSWORD = re.compile(r"postgresql[a-z0-9+]*://[^:/\"]+:[^@\"]+@")

RUNS = "{ runsOrError { ... on Runs { results { runId runConfigYaml tags { key value } } } } }"
EVENTS = """query ($run: ID!) { logsForRun(runId: $run) { ... on EventConnection { events {
  __typename
  ... on MessageEvent { message stepKey }
  ... on MaterializationEvent { metadataEntries { label description ... on TextMetadataEntry { text } } }
  ... on ExecutionStepFailureEvent { error { message stack } }
} } } }"""
INSTANCE = "{ instance { info } }"


def test_the_ui_shows_no_key_no_user_and_no_password(dagster, early):
    """Run config, tags, events and the instance's own page are open to everybody with the UI."""
    dagster.finished_backfill(early.averages)
    runs = dagster.ask(RUNS)["results"]
    shown = [json.dumps(runs), json.dumps(dagster.ask(INSTANCE))]
    shown += [json.dumps(dagster.ask(EVENTS, run=run["runId"])) for run in runs]

    assert len(runs) > 1
    assert any("sync_users" in page for page in shown)
    for page in shown:
        assert "simulated-key" not in page
        assert not USER_ID.search(page)
        assert not PASSWORD.search(page)
