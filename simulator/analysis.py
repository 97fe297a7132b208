"""The result of analysing a recording: stage, snoring and breathing tracks, and statistics."""

from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random

import orjson

from simulator.figures import DEEP, LIGHT, SLEEP, Figures, figures_of
from simulator.hypnograms import STAGE_OF, stage_text

SHARE_STEP = 0.01
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
    edition: int = 0
    """Counts analyses that changed the tracks and left every statistic alone."""
    moved_share: bool = False
    """Whether a hundredth of the sleep period is called deep instead of light, in the ratios only."""


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
    if recording.moved_share:
        figures = _with_moved_share(figures)
    if recording.edition:
        stages = _edited(stages, recording.edition, (LIGHT, DEEP))
        snoring = _edited(snoring, recording.edition, (0, 1))
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


def _edited(track: list[int], edition: int, values: tuple[int, int]) -> list[int]:
    """The track with two different neighbours exchanged, at another place for each edition.

    Neighbours that hold the first epoch of their kind stay, for latencies depend on them.
    """
    first = {track.index(value) for value in values if value in track}
    places = [
        place
        for place in range(len(track) - 1)
        if {track[place], track[place + 1]} == set(values) and not first & {place, place + 1}
    ]
    if not places:
        return track
    place = places[(edition - 1) % len(places)]
    return [*track[:place], track[place + 1], track[place], *track[place + 2 :]]


def _with_moved_share(figures: Figures) -> Figures:
    """A hundredth less light sleep and more deep sleep, or the reverse; nothing where there is neither."""
    light, deep = figures.values["light_ratio"], figures.values["deep_ratio"]
    if max(light, deep) < SHARE_STEP:
        return figures
    step = SHARE_STEP if light >= SHARE_STEP else -SHARE_STEP
    moved = {"light_ratio": round(light - step, 3), "deep_ratio": round(deep + step, 3)}
    return replace(figures, values=figures.values | moved)
