"""A page of another site commands nothing: tried against the webserver as it is started everywhere."""

import json
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from tests.end_to_end.dagster.running import BIN, ROOT, answers, environment_for, free_port, process, until

_LAUNCH = (
    'mutation { launchRun(executionParams: {selector: {repositoryLocationName: "asleep-sync", repositoryName: '
    '"__repository__", jobName: "erase_deleted_users"}, runConfigData: {}}) { __typename } }'
)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_foreign_page_launches_no_run(dagster, method):
    """The browser of somebody with access sends whatever a page tells it to."""
    url, body, headers = f"{dagster.url}/graphql", None, {"origin": "https://evil.example"}
    if method == "GET":
        url += "?" + urllib.parse.urlencode({"query": _LAUNCH})
    else:
        body, headers["content-type"] = json.dumps({"query": _LAUNCH}).encode(), "text/plain;application/json"
    before = len(dagster.runs(pipelineName="erase_deleted_users"))
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=30)  # noqa: S310 loopback
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(  # noqa: S310 loopback
            urllib.request.Request(url, body, {**headers, "host": "evil.example", "origin": "http://evil.example"}),  # noqa: S310
            timeout=30,
        )
    assert len(dagster.runs(pipelineName="erase_deleted_users")) == before


def test_the_development_ui_is_guarded_and_ends_with_its_daemon(new_database, tmp_path):
    """`asleep-sync dev` is what everybody starts first; it must leave no process behind."""
    port = free_port()
    with new_database() as url:
        environment = {**environment_for(url, tmp_path), "DAGSTER_HOME": str(ROOT), "DATA_DIRECTORY": str(tmp_path)}
        command = [str(BIN / "asleep-sync"), "dev", "--port", str(port)]
        with process(command, environment, tmp_path / "dev.log") as dev:
            until("the UI answers", lambda: answers(f"http://127.0.0.1:{port}/server_info"))
            with pytest.raises(urllib.error.HTTPError, match="403"):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/graphql?query=%7B__typename%7D", timeout=30)
            children = Path(f"/proc/{dev.pid}/task/{dev.pid}/children").read_text().split()
            assert len(children) == 3, "code server, daemon and UI"
            dev.terminate()
            assert dev.wait(60) == 0
        assert not any(Path(f"/proc/{child}").exists() for child in children)
