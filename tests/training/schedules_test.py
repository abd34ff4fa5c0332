"""Learning rates against their formulas."""

import numpy as np
import pytest

from v2meow_jax.training import schedules


def test_the_cosine_rises_to_its_peak_and_falls_to_its_fraction():
  schedule = schedules.warmup_cosine(1e-3, 10, 110, final_fraction=0.1)
  rates = [float(schedule(step)) for step in (0, 10, 60, 110, 500)]
  # Halfway down it is halfway between the peak and a tenth of it.
  np.testing.assert_allclose(rates, [1e-4, 1e-3, 5.5e-4, 1e-4, 1e-4], rtol=1e-5)


def test_a_run_shorter_than_its_warm_up_is_refused_by_name():
  with pytest.raises(ValueError, match='TRAIN_STEPS is 20 and WARMUP_STEPS 50'):
    schedules.warmup_cosine(1e-3, 50, 20)
