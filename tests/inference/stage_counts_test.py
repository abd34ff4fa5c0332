"""A system has as many stages as its sound needs."""

import numpy as np
import pytest

from tests.fakes import small_system
from v2meow_jax import media
from v2meow_jax.inference import system
from v2meow_jax.models.sampling import options

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
  ('count', 'depth'), [('one', 4), ('two', 2), ('four', 4)]
)
def test_systems_of_any_number_of_stages_are_exported_and_play(
  count, depth, tmp_path
):
  chain = small_system.CHAINS[count]
  names = [spec.name for spec in chain]
  loaded = system.load(small_system.pack(tmp_path / 'system', chain))
  video = media.Video(
    frames=np.zeros((20, 32, 32, 3), np.uint8),
    times=np.arange(20) / 5,
    seconds=3.7,
  )
  given = [options.Sampling(temperature=0.1 * i) for i in range(len(chain))]
  soundtrack = loaded.run(video, sampling=given, rows=2)
  assert len(soundtrack.audio.samples) == round(3.7 * 16_000)
  assert soundtrack.codes.shape == (93, depth)
  assert list(soundtrack.settings['sampling']) == names
  assert soundtrack.settings['rows'] == dict.fromkeys(names, 2)
  (alone, again) = loaded.generate_batch([video, video], seeds=[0, 1], rows=2)
  assert len(alone.samples) == len(again.samples)


def test_a_system_without_its_first_levels_is_refused(tmp_path):
  with pytest.raises(ValueError, match="level 2 of the sound 'acoustic'"):
    small_system.pack(
      tmp_path / 'system',
      [*small_system.CHAINS['two'], small_system.FINEST_OF_COARSE],
    )
  assert not any(tmp_path.iterdir())
