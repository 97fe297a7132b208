"""Tags that tell Dagster what a run is about.

Lives here: their names.  Not here: days and months (`assets.partitions`).
"""

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def range_tags(first: str, last: str) -> dict[str, str]:
    """The tags that make one run of a range of partitions, both ends included."""
    return {RANGE_START: first, RANGE_END: last}
