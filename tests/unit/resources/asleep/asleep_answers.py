"""Example answers of the API, built anew for each test so that it may spoil them."""

from typing import Any

USER = "G-20260301091502-AbCdEfGhIjKlMnOpQrSt"
SESSION = "20260307140211_q7x4m"


def stat() -> dict[str, Any]:
    """The 38 statistics of a nap of 80 slots."""
    return {
        "sleep_time": "2026-03-07T14:05:11+00:00",
        "wake_time": "2026-03-07T14:39:28+00:00",
        "sleep_index": 58,
        "sleep_latency": 180,
        "wakeup_latency": 180,
        "light_latency": 0,
        "deep_latency": 300,
        "rem_latency": 1200,
        "time_in_bed": 2417,
        "time_in_sleep_period": 2040,
        "time_in_sleep": 1980,
        "time_in_wake": 60,
        "time_in_light": 720,
        "time_in_deep": 600,
        "time_in_rem": 660,
        "time_in_stable_breath": 1900,
        "time_in_unstable_breath": 140,
        "time_in_snoring": 300,
        "time_in_no_snoring": 1740,
        "sleep_efficiency": 0.82,
        "sleep_ratio": 0.97,
        "wake_ratio": 0.03,
        "light_ratio": 0.36,
        "deep_ratio": 0.29,
        "rem_ratio": 0.32,
        "stable_breath_ratio": 0.93,
        "unstable_breath_ratio": 0.07,
        "snoring_ratio": 0.15,
        "no_snoring_ratio": 0.85,
        "breathing_index": 4.5,
        "breathing_pattern": "STABLE_BREATH",
        "unstable_breath_count": 3,
        "waso_count": 1,
        "longest_waso": 60,
        "sleep_cycle_count": 1,
        "sleep_cycle": 1830,
        "sleep_cycle_time": ["2026-03-07T14:05:11+00:00", "2026-03-07T14:35:41+00:00"],
        "snoring_count": 2,
    }


def session_result() -> dict[str, Any]:
    """A finished session."""
    return {
        "timezone": "UTC",
        "peculiarities": [],
        "missing_data_ratio": 0,
        "session": {
            "id": SESSION,
            "state": "COMPLETE",
            "start_time": "2026-03-07T14:02:11+00:00",
            "end_time": "2026-03-07T14:42:28+00:00",
            "unexpected_end_time": None,
            "created_timezone": "Asia/Seoul",
            "sleep_stages": [0] * 6 + [1] * 38 + [-1] + [3] * 29 + [0] * 6,
            "breath_stages": [0] * 80,
            "snoring_stages": [0] * 40 + [1] * 10 + [0] * 30,
        },
        "stat": stat(),
    }


def list_row(session_id: str = SESSION, start: str = "2026-03-07T14:02:11+00:00") -> dict[str, Any]:
    """A finished session's row in the list."""
    return {
        "session_id": session_id,
        "state": "COMPLETE",
        "session_start_time": start,
        "session_end_time": "2026-03-07T14:42:28+00:00",
        "created_timezone": "Asia/Seoul",
        "unexpected_end_time": None,
        "last_received_seq_num": 79,
        "time_in_bed": 2417,
    }


def averages_result() -> dict[str, Any]:
    """The averages of two days with one night's sleep and one sleepless night."""
    slept = {name: value for name, value in stat().items() if "breath" not in name}
    return {
        "period": {"timezone": "UTC", "start_date": "2026-03-07", "end_date": "2026-03-08"},
        "peculiarities": ["NO_BREATHING_STABILITY"],
        "average_stats": {
            "start_time": "23:02:11",
            "sleep_time": "23:05:11",
            "sleep_efficiency": 0.819,
            "time_in_bed": 2417.5,
            "waso_count": 2.5,
            "breathing_index": None,
        },
        "never_slept_sessions": [
            {
                "id": "20260308130005_k2v9d",
                "start_time": "2026-03-08T22:00:05+09:00",
                "end_time": "2026-03-08T22:31:00+09:00",
                "completed_time": "2026-03-08T22:31:40+09:00",
            }
        ],
        "slept_sessions": [
            {
                "id": SESSION,
                "created_timezone": "Asia/Seoul",
                "start_time": "2026-03-07T23:02:11+09:00",
                "end_time": "2026-03-07T23:42:28+09:00",
                "completed_time": "2026-03-07T23:43:05+09:00",
                **slept,
            }
        ],
    }


def user_result() -> dict[str, Any]:
    """A user's profile as documented: the last session's times lack their offset."""
    return {
        "user_id": USER,
        "to_be_deleted": False,
        "last_session_info": {
            "session_id": "20260308130005_k2v9d",
            "inference_type": "MELSPECTROGRAM",
            "service": "demo",
            "start_time": "2026-03-08T13:00:05",
            "end_time": "2026-03-08T13:31:00",
            "state": "COMPLETE",
            "complete_time": "2026-03-08T13:31:40",
        },
        "metadata": {"birth_year": 1990, "gender": "prefer_not_to_say", "height": 171.5},
    }
