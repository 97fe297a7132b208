"""The report of `asleep-sync doctor` can be published: it holds names of the contract, never a person's."""

from datetime import date

from resources.contract.statements import Findings

USER = "G-20260301091502-AbCdEfGhIjKlMnOpQrSt"


def test_a_field_named_after_a_user_is_not_repeated():
    """An API that keys an object by user id would put that id into a public report."""
    findings = Findings()
    period = {"timezone": "UTC", "start_date": "2026-03-01", "end_date": "2026-03-02", USER: 1, "days": 2}
    result = {"period": period, "slept_sessions": [], "never_slept_sessions": []}

    findings.check_average_stats(result, (date(2026, 3, 1), date(2026, 3, 2)))

    (found,) = (each for each in findings.contradicted if "`period`" in each.statement)
    assert found.detail == "also: (a name with other characters), days"
