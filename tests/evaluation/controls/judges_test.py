import numpy as np
import pytest

from tests.fakes import bit_codec
from v2meow_jax.evaluation.controls import judges
from v2meow_jax.evaluation.listening import genre_probe
from v2meow_jax.synthetic.bank import banks
from v2meow_jax.synthetic.songs import held_out_songs


@pytest.mark.slow
def test_a_judge_of_songs_knows_the_genre_of_others(monkeypatch):
  monkeypatch.setenv(banks.VARIABLE, banks.NUMPY)
  probe = judges.fit_probe(
    bit_codec.BitCodec(), per_genre=4, seconds=6.0, seed=3, world='songs'
  )
  assert probe.genres == tuple(sorted(held_out_songs.STYLES))
  others = held_out_songs.probe_songs(4, 2, 6.0)
  heard = probe.predict(
    np.stack([genre_probe.features(held_out_songs.music(s)) for s in others])
  )
  true = [held_out_songs.GENRES[s.style] for s in others]
  assert np.mean([a == b for a, b in zip(heard, true, strict=True)]) > 0.5
