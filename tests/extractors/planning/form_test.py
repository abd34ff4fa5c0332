"""Films with planted scenes: where acts begin, and which of them return."""

import dataclasses

import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax.extractors.planning import analysis
from v2meow_jax.extractors.planning import form
from v2meow_jax.extractors.planning import plan as plan_lib
from v2meow_jax.extractors.planning import planner
from v2meow_jax.extractors.planning import themes

pytestmark = pytest.mark.slow

RATE_HZ = 5
# Colour, and where the darker half is, of each scene.
SCENES = {
  'sea': ((30, 60, 190), 'below'),
  'fire': ((220, 90, 20), 'left'),
  'snow': ((215, 220, 225), 'above'),
}


def pictures(scene, num):
  colour, dark = SCENES[scene]
  rng = np.random.default_rng(len(scene))
  frames = np.empty((num, 36, 64, 3), np.uint8)
  for i in range(num):
    shot = np.random.default_rng((len(scene), i // 40)).normal(0, 8, 3)
    picture = np.clip(np.array(colour) + shot, 0, 255)
    frames[i] = picture
    half = {
      'below': np.s_[18:],
      'left': np.s_[:, :32],
      'above': np.s_[:18],
    }[dark]
    frames[i][half] = picture // 2
    x = int(rng.integers(0, 50))
    frames[i, 10:20, x : x + 8] = 255 - picture
  return frames


def film(*scenes, seconds=40.0):
  frames = np.concatenate(
    [pictures(scene, round(seconds * RATE_HZ)) for scene in scenes]
  )
  return media.Video(
    frames=frames,
    times=np.arange(len(frames)) / RATE_HZ,
    seconds=len(frames) / RATE_HZ,
  )


def analysed(*scenes, **options):
  return analysis.analyse(film(*scenes, **options).pieces(10.0))


@pytest.fixture(scope='module')
def there_and_back():
  return analysed('sea', 'fire', 'sea', 'snow')


def test_parts_begin_where_the_scene_changes_and_return_where_it_does(
  there_and_back,
):
  acts = form.acts(there_and_back)
  assert [act.label for act in acts] == ['A', 'B', 'A', 'C']
  np.testing.assert_allclose([p.start for p in acts], [0, 40, 80, 120])
  assert [p.end for p in acts] == [*(p.start for p in acts[1:]), 160.0]


def test_a_clip_and_a_film_of_one_scene_are_one_part(there_and_back):
  (act,) = form.acts(analysed('sea', 'sea', 'sea'))
  assert (act.start, act.end) == (0.0, 120.0)
  assert len(form.acts(analysed('sea', 'fire', seconds=20.0))) == 1
  unknown = dataclasses.replace(there_and_back, looks=np.zeros((0, 0)))
  assert len(form.acts(unknown)) == 1


def test_a_part_is_analysed_as_it_would_be_alone(there_and_back):
  piece = form.between(there_and_back, form.acts(there_and_back)[1])
  alone = analysed('fire')
  assert len(piece.motion) == len(alone.motion) and piece.seconds == 40.0
  np.testing.assert_allclose(piece.brightness, alone.brightness, atol=1e-3)
  # The ends of a clip alone have no neighbours.
  differences = np.abs(piece.motion - alone.motion)[50:-50]
  assert np.mean(differences < 1e-4) > 0.9
  assert piece.cuts[0] == 0.0 and piece.cuts.max() < 40.0


def test_tempo_and_key_of_a_part_persist_and_return_with_it(there_and_back):
  plan = planner.plan(there_and_back)
  assert plan_lib.from_json(plan_lib.to_json(plan)) == plan
  runs = themes.runs(plan)
  assert [run.label for run in runs] == ['A', 'B', 'A', 'C']
  assert runs[0].key == runs[2].key != runs[1].key
  tempi = []
  for run in runs:
    gaps = np.diff(
      [b.seconds for b in plan.beats if run.start <= b.seconds < run.end]
    )
    tempi.append(60 / np.median(gaps))
  assert tempi[0] == pytest.approx(tempi[2], rel=0.02)
  assert np.diff(plan.beat_times).min() > 0.4 * 60 / max(tempi)
  assert np.diff(plan.beat_times).max() < 2.1 * 60 / min(tempi)
  (again,) = themes.returns(plan)
  bar_seconds = plan.beats_per_bar * 60 / tempi[0]
  assert 80 <= again.times[0] < 80 + 60 / tempi[0]
  assert 0 <= again.earlier[0] < bar_seconds
  assert again.times[-1] - again.times[0] == pytest.approx(
    8 * bar_seconds, rel=0.05
  )
  # The music ends once, at the end of the film.
  assert plan.end_seconds is None or plan.end_seconds > 157


def test_wishes_hold_for_all_parts(there_and_back):
  wishes = planner.Wishes(bpm=96.0, key='D minor')
  plan = planner.plan(there_and_back, prompt='calm piano', wishes=wishes)
  assert {run.key for run in themes.runs(plan)} == {'D minor'}
  assert {s.prompt for s in plan.sections} == {'calm piano'}
  assert np.median(np.diff(plan.beat_times)) == pytest.approx(60 / 96, rel=0.05)


def test_there_are_names_for_many_scenes():
  assert [form._name(n) for n in (0, 25, 26, 52)] == ['A', 'Z', 'A2', 'A3']
