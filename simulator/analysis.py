"""What the service finds in a recording: stage, snoring and breathing tracks with their statistics.

Lives here: the tracks of a recording, made once and kept as JSON.  Not here: sessions, clocks, HTTP.
"""

from dataclasses import dataclass
from functools import lru_cache
from random import Random

import orjson

from simulator.figures import SLEEP, Figures, figures_of
from simulator.hypnograms import STAGE_OF, stage_text

SNORING_TAIL_EPOCHS = 4
"""Some snoring tracks end earlier than their stages: the API does not promise equal lengths."""


@dataclass(frozen=True, slots=True)
class Recording:
    """Which epochs of which night a session plays, and how it was scored."""

    source: str
    first: int
    count: int
    variant: int
    """Which of several invented snoring tracks goes with it."""
    rescored: bool
    breathing: bool
    decimals: int = 2
    """Of the ratios; older results carry three."""


@dataclass(frozen=True, slots=True)
class Analysis:
    """The result for one recording. The tracks are JSON text, ready to be sent."""

    stages: bytes
    snoring: bytes
    breath: bytes
    figures: Figures


@lru_cache(maxsize=4096)
def analysis_of(recording: Recording) -> Analysis:
    """Tracks and statistics of a recording; the same recording always has the same ones."""
    stages = stages_of(recording)
    snoring = _episodes(stages, recording, share=0.12 * recording.variant, name="snoring")
    if recording.variant == 1:
        snoring = snoring[:-SNORING_TAIL_EPOCHS]
    breath = _episodes(stages, recording, share=0.05, name="breath") if recording.breathing else None
    figures = figures_of(stages, snoring, breath, recording.decimals)
    return Analysis(
        orjson.dumps(stages),
        orjson.dumps(snoring),
        orjson.dumps(breath),
        figures,
    )


def stages_of(recording: Recording) -> list[int]:
    """One stage for each epoch of the recording."""
    text = stage_text(recording.source, recording.first, recording.count, alternative=recording.rescored)
    return [STAGE_OF[character] for character in text]


def _episodes(stages: list[int], recording: Recording, *, share: float, name: str) -> list[int]:
    """A track of 0 and 1: episodes of 1 to 12 epochs that cover about `share` of the sleep, never wakefulness.

    The same night has the same episodes however it was scored, except where one scorer saw it awake.
    """
    dice = Random(f"{name} {recording.source} {recording.first} {recording.variant}")
    track = [0] * len(stages)
    epoch = dice.randrange(1, 30)
    while share and epoch < len(stages):
        length = dice.randrange(1, 13)
        for each in range(epoch, min(epoch + length, len(stages))):
            track[each] = int(stages[each] in SLEEP)
        epoch += length + 1 + int(dice.expovariate(share / 6.5))
    return track
