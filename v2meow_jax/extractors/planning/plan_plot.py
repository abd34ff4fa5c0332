"""Draws a plan over what was seen of its clip."""

import os

import numpy as np

from v2meow_jax.extractors.planning import analysis as analysis_lib
from v2meow_jax.extractors.planning import plan as plan_lib
from v2meow_jax.files import atomic

_WIDTH, _HEIGHT, _DPI = 11.0, 4.6, 120
_BEAT, _DOWNBEAT, _CUT, _END = '#9aa7b1', '#1f4e79', '#c0392b', '#8e44ad'
_MOST_BEATS = 400  # Most beats that are drawn as lines of their own.


def write(
  path: str | os.PathLike,
  plan: plan_lib.MusicPlan,
  seen: analysis_lib.Analysis,
) -> None:
  """Writes a plot as png, whole or not at all.

  Args:
    path: Path of the plot.
    plan: Plan to draw.
    seen: Analysis that it was made of.
  """
  from matplotlib import figure
  from matplotlib.backends import backend_agg

  page = figure.Figure(
    figsize=(_WIDTH, _HEIGHT), dpi=_DPI, layout='constrained'
  )
  canvas = backend_agg.FigureCanvasAgg(page)
  top, bottom = page.subplots(2, 1, sharex=True)
  top.fill_between(
    seen.times, seen.accents / max(seen.accents.max(), 1e-9), color='#f0b27a'
  )
  top.plot(seen.times, seen.motion, color='#566573', linewidth=0.8)
  top.set_ylabel('accents (area), motion')
  bottom.plot(
    seen.times, plan.energy_at(seen.times), color='#117864', linewidth=1.2
  )
  bottom.set_ylabel('planned energy')
  bottom.set_xlabel('seconds')
  for section in plan.sections:
    bottom.axvline(section.start_seconds, color='#117864', linestyle=':')
    bottom.text(
      section.start_seconds, 1.02, f' {section.mood}', fontsize=8, va='bottom'
    )
  for axes in (top, bottom):
    axes.set_ylim(0, 1.15)
    axes.set_xlim(0, plan.seconds)
    _lines(axes, plan, seen.cuts)
  top.set_title(
    f'{plan.tempo_bpm:g} bpm ({plan.source}), {plan.beats_per_bar} beats a bar;'
    ' bars dark, beats light, cuts red, last downbeat violet',
    fontsize=9,
  )
  with atomic.replacing(path) as temp:
    canvas.print_png(temp)


def _lines(axes, plan: plan_lib.MusicPlan, cuts: np.ndarray) -> None:
  """Draws beats behind the curves, and cuts over them."""
  for beat in plan.beats:
    if beat.downbeat or len(plan.beats) <= _MOST_BEATS:
      colour = _DOWNBEAT if beat.downbeat else _BEAT
      axes.axvline(beat.seconds, color=colour, linewidth=0.8, zorder=0)
  for cut in cuts:
    axes.axvline(cut, color=_CUT, linewidth=1.6, alpha=0.7)
  if plan.end_seconds is not None:
    axes.axvline(plan.end_seconds, color=_END, linewidth=1.6, linestyle='--')
