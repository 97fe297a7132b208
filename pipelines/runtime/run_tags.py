"""Tags that Dagster reads on a run: range of partitions, longest time, code location."""

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"

MAX_RUNTIME = "dagster/max_runtime"
"""Seconds after which run monitoring ends a run."""

LOCATION = "asleep-sync"
"""The code location's name in every workspace file."""


def range_tags(first: str, last: str) -> dict[str, str]:
    """Return the tags that make one run of a range of partitions, both ends included.

    Args:
        first: key of the first partition.
        last: key of the last one.
    """
    return {RANGE_START: first, RANGE_END: last}
