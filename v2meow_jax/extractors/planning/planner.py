"""Plans the music of a clip from its picture: READ THIS FIRST.

`analysis` says what is seen: cuts, motion, accents, look. `mood` gives tempi a
prior. `grid` finds the tempo and the phase on which most accents fall,
`bending` moves beats to the cuts, and here bars, sections and energy follow.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
import dataclasses

import numpy as np

from v2meow_jax.extractors.planning import analysis as analysis_lib
from v2meow_jax.extractors.planning import bending
from v2meow_jax.extractors.planning import form
from v2meow_jax.extractors.planning import grid as grid_lib
from v2meow_jax.extractors.planning import mood as mood_lib
from v2meow_jax.extractors.planning import plan as plan_lib

PLANNER_VERSION = 4  # Raised when a video and a prompt get another plan.

_CUT_COST = 2.0  # Weight of missed cuts against the logarithm of the prior.
_SECTION_SECONDS = 4.0  # Least length of a section.
_CUT_ACCENT = 1.0  # Accent of a cut, where a downbeat is looked for.
_TRIPLE_SURELY = 1.3  # How much clearer bars of three must be than of four.
_NEAR_SECONDS = 0.04
_SMOOTH_SECONDS = 1.0  # Of energy.
_RANK_SHARE = 0.5
# Deviation of motion within a clip at which ranks count in full.
_VARIED = 0.12
# The music rings out for this long after its last downbeat, before which there
# are as many beats at least.
_RING_SECONDS = (0.3, 2.0)
_FEWEST_BEATS = 6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wishes:
  """Wishes of a user for the plan of a video.

  Attributes:
    bpm: Tempo in beats a minute; None: one that fits the picture.
    key: Tonic and mode, such as 'Eb minor'; None: that of the prompt, else one
      that fits the mood.
  """

  bpm: float | None = None
  key: str | None = None

  def __post_init__(self):
    if self.key is not None:
      object.__setattr__(self, 'key', plan_lib.named_key(self.key))
    low, high = plan_lib.MIN_BPM, plan_lib.MAX_BPM
    if self.bpm is not None and not low <= self.bpm <= high:
      raise ValueError(
        f'the tempo is {self.bpm:g} bpm; wanted {low:g} to {high:g}.'
      )


FROM_PICTURE = Wishes()  # No wish at all.


def plan(
  seen: analysis_lib.Analysis,
  *,
  prompt: str | None = None,
  wishes: Wishes = FROM_PICTURE,
  look_decides: bool = False,
) -> plan_lib.MusicPlan:
  """Plans the music of a clip, or of the acts of a film.

  Args:
    seen: Analysis of the whole clip.
    prompt: Style in words; it wins over the mood of the picture, and a genre
      or a tempo that it names over the tempo of the mood. A pulse of the
      picture's own is kept, unless the prompt names a tempo.
    wishes: Wishes of the user, which win over all.
    look_decides: Whether the stages see the picture too, and have learnt from
      drawn clips: genres are those of such clips. Where the picture has a pulse
      of its own, they know what goes with its look, and the plan names neither
      key nor style by its mood.

  Returns:
    The plan.
  """
  acts = form.acts(seen)
  if len(acts) == 1:
    return _clip(seen, prompt, wishes, look_decides)
  plans: list[plan_lib.MusicPlan] = []
  of_labels: dict[str, plan_lib.MusicPlan] = {}
  for act in acts:
    words, wished = prompt, wishes
    if (earlier := of_labels.get(act.label)) is not None:
      words = earlier.sections[0].prompt
      wished = Wishes(bpm=earlier.tempo_bpm, key=earlier.key)
    made = _clip(
      form.between(seen, act),
      words,
      wished,
      look_decides,
      beats_per_bar=plans[0].beats_per_bar if plans else None,
      is_first=not plans,
      is_last=act is acts[-1],
    )
    of_labels.setdefault(act.label, made)
    plans.append(made)
  return form.joined(acts, plans, float(seen.seconds))


def _clip(
  seen: analysis_lib.Analysis,
  prompt: str | None,
  wishes: Wishes,
  look_decides: bool,
  *,
  beats_per_bar: int | None = None,
  is_first: bool = True,
  is_last: bool = True,
) -> plan_lib.MusicPlan:
  """Plans a clip, or an act of a film.

  Args:
    seen: Analysis of the clip.
    prompt: Style in words.
    wishes: Wishes of the user, or what returns of an earlier act.
    look_decides: Whether stages that see the picture decide, as in `plan`.
    beats_per_bar: Metre of the act before; None: that which fits.
    is_first: Whether nothing comes before; else it begins with a new scene.
    is_last: Whether the music ends with it.
  """
  bpm = wishes.bpm or tempo_in_range(mood_lib.bpm_of_prompt(prompt or ''))
  named = mood_lib.genres_of_prompt(prompt or '')
  mood = mood_lib.of_picture(seen, 0.0, seen.seconds)
  probabilities = named or mood_lib.genres_of_mood(
    mood, of_songs=not look_decides
  )
  pulse, bent = _beats(seen, probabilities, bpm)
  grid, tempo_bpm = bent.grid, pulse.grid.tempo_bpm
  numbers = _numbers(grid, seen.seconds)
  times = grid.times_at(numbers)
  sections = _section_starts(seen, times, bent.met)
  genre = mood_lib.genre_of_tempo(probabilities, tempo_bpm)
  changes = sections[1:] if is_first else sections
  beats_per_bar, first = _bars(
    _strengths(seen, times, changes),
    pulse.is_own and not named and beats_per_bar is None,
    beats_per_bar or mood_lib.metre(genre),
  )
  energies = _energies(seen, times)
  downbeats = (np.arange(len(times)) - first) % beats_per_bar == 0
  end = None
  if is_last and not pulse.is_own:
    end = _end(times, downbeats, seen)
  kept = times <= (seen.seconds if end is None else end)
  beats = [
    plan_lib.Beat(
      seconds=round(float(time), 4),
      downbeat=bool(downbeat),
      energy=round(float(energy), 3),
    )
    for time, downbeat, energy in zip(
      times[kept], downbeats[kept], energies[kept], strict=True
    )
  ]
  key = wishes.key or mood_lib.key_of_prompt(prompt or '')
  is_left_to_look = look_decides and pulse.is_own
  if key is None and not is_left_to_look:
    key = mood_lib.key_of_mood(mood, float(seen.warmth.mean()))
  if bpm is not None:
    source = 'given'
  else:
    source = 'picture' if pulse.is_own else 'prior'
  return plan_lib.MusicPlan(
    seconds=float(seen.seconds),
    tempo_bpm=round(tempo_bpm, 3),
    beats_per_bar=beats_per_bar,
    source=source,
    beats=tuple(beats),
    sections=_sections(
      seen,
      sections,
      beats,
      prompt or (None if is_left_to_look else _prompt(key, genre)),
    ),
    end_seconds=None if end is None else round(end, 4),
    key=key,
  )


def _prompt(key: str, genre: str) -> str:
  """Words for mode and genre."""
  return mood_lib.prompt(key.split()[1], genre)


def tempo_in_range(bpm: float | None) -> float | None:
  """A tempo of a prompt; None where it is none of music."""
  if bpm is None or not plan_lib.MIN_BPM <= bpm <= plan_lib.MAX_BPM:
    return None
  return bpm


def _beats(
  seen: analysis_lib.Analysis,
  probabilities: dict[str, float],
  bpm: float | None,
) -> tuple[grid_lib.Pulse, bending.Bent]:
  """The pulse whose beats meet accents and cuts best, and its bent grid."""
  log_prior = mood_lib.log_tempo_prior(probabilities)
  pulses = grid_lib.find(seen.accents, log_prior, bpm)
  pairs = [
    (pulse, bending.bend(pulse.grid, seen.cuts, is_own=pulse.is_own))
    for pulse in pulses
  ]
  values = [
    grid_lib.EVIDENCE * pulse.share
    + float(log_prior(np.array([pulse.grid.tempo_bpm]))[0])
    - _CUT_COST * bent.cost
    for pulse, bent in pairs
  ]
  return pairs[int(np.argmax(values))]


def _numbers(grid: grid_lib.Grid, seconds: float) -> np.ndarray:
  """Numbers of the beats in the clip."""
  first, last = grid.beats_at(np.array([0.0, seconds]))
  # The last hair of a clip has no room for a beat.
  numbers = np.arange(np.ceil(first - 1e-6), np.floor(last) + 1)
  times = grid.times_at(numbers)
  return numbers[(times > -1e-6) & (times < seconds - _NEAR_SECONDS)]


def _section_starts(
  seen: analysis_lib.Analysis, times: np.ndarray, met: np.ndarray
) -> np.ndarray:
  """Beats at which a scene changes, the greatest changes first: their times."""
  starts = [0.0, seen.seconds]
  if len(times):
    for cut in np.argsort(-seen.cut_changes * (0.5 + 0.5 * met), kind='stable'):
      beat = float(times[np.argmin(np.abs(times - seen.cuts[cut]))])
      at = bisect.bisect(starts, beat)
      nearest = starts[at - 1 : at + 1]
      if min(abs(beat - other) for other in nearest) >= _SECTION_SECONDS:
        starts.insert(at, beat)
  return np.array(starts[:-1])


def _strengths(
  seen: analysis_lib.Analysis, times: np.ndarray, changes: np.ndarray
) -> np.ndarray:
  """Strength of what is seen at each beat, and of a change of scene there."""
  offsets = np.linspace(-_NEAR_SECONDS, _NEAR_SECONDS, 5)
  strengths = np.max(
    [np.interp(times + o, seen.times, seen.accents) for o in offsets], axis=0
  )
  for start in changes:
    strengths = strengths + _CUT_ACCENT * (np.abs(times - start) < 1e-3)
  return strengths


def _bars(strengths: np.ndarray, is_seen: bool, metre: int) -> tuple[int, int]:
  """Beats in a bar, and the number of the first downbeat.

  The metre is as given, unless the picture's own pulse shows another.
  """

  def clearest(metre: int) -> tuple[float, int]:
    values = []
    for first in range(min(metre, len(strengths))):
      is_down = (np.arange(len(strengths)) - first) % metre == 0
      others = strengths[~is_down]
      usual = others.mean() if len(others) else 0.0
      values.append(float(strengths[is_down].mean() - usual))
    # The first of equals, despite rounding.
    best = int(np.argmax(np.round(values, 6))) if values else 0
    return (values[best] if values else 0.0), best

  if is_seen and len(strengths) >= 12:
    three, four = clearest(3)[0], clearest(4)[0]
    metre = 3 if three > _TRIPLE_SURELY * max(four, 1e-3) else 4
  return metre, clearest(metre)[1]


def _energies(seen: analysis_lib.Analysis, times: np.ndarray) -> np.ndarray:
  """Energy at each beat: motion by a fixed measure, and ranked in the clip."""
  width = max(1, round(_SMOOTH_SECONDS * analysis_lib.RATE_HZ)) | 1
  width = min(width, (len(seen.motion) - 1) | 1)
  padded = np.pad(seen.motion, width // 2, mode='edge')
  level = np.convolve(padded, np.ones(width) / width, 'valid')
  level = level[: len(seen.motion)]
  ordered = np.sort(level)
  ranks = np.searchsorted(ordered, level, 'left') + np.searchsorted(
    ordered, level, 'right'
  )
  ranks = ranks / (2 * len(level))
  share = _RANK_SHARE * min(float(level.std()) / _VARIED, 1.0)
  energy = (1 - share) * level + share * ranks
  return np.clip(np.interp(times, seen.times[: len(energy)], energy), 0, 1)


def _end(
  times: np.ndarray, downbeats: np.ndarray, seen: analysis_lib.Analysis
) -> float | None:
  """The last downbeat that leaves time to ring out, or the last such beat.

  No cut comes after it.
  """
  low, high = _RING_SECONDS
  left = seen.seconds - times
  last_cut = seen.cuts[-1] if len(seen.cuts) else 0.0
  fits = (left >= low) & (left <= high) & (times >= last_cut - _NEAR_SECONDS)
  for allowed in (downbeats, np.ones(len(times), bool)):
    fitting = np.flatnonzero(allowed & fits)
    if len(fitting) and fitting[-1] >= _FEWEST_BEATS:
      return float(times[fitting[-1]])
  return None


def _sections(
  seen: analysis_lib.Analysis,
  starts: np.ndarray,
  beats: Sequence[plan_lib.Beat],
  prompt: str | None,
) -> tuple[plan_lib.Section, ...]:
  """Sections with their mood and the mean energy of their beats."""
  sections = []
  ends = [*starts[1:], seen.seconds]
  times, energies = [b.seconds for b in beats], [b.energy for b in beats]
  for start, end in zip(starts, ends, strict=True):
    mood = mood_lib.of_picture(seen, start, end)
    first, last = np.searchsorted(times, (start - 1e-3, end - 1e-3))
    inside = energies[first:last]
    energy = float(np.mean(inside)) if inside else mood.energy
    sections.append(
      plan_lib.Section(
        start_seconds=round(float(start), 4),
        mood=mood.words,
        energy=round(energy, 3),
        prompt=prompt,
      )
    )
  return tuple(sections)
