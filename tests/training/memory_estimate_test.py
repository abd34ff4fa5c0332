"""Estimates of memory are near XLA's plans, and the documents show them."""

import dataclasses
import functools
import re

import jax
import pytest

from tests.fakes import mesh_costs
from tests.fakes import token_stage
from v2meow_jax import gin_config
from v2meow_jax.training import dry_run
from v2meow_jax.training import memory_estimate
from v2meow_jax.training import mesh as mesh_lib
from v2meow_jax.training import schedules

# Longer than most, so among the first to begin.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

# What a chip has, less what its runtime takes.
USABLE_GB = {'16 v5e of 16 GB': 15.7, '8 H100 of 80 GB': 76.0}


def test_an_estimate_is_near_the_plan_of_xla():
  base = mesh_costs.MODELS['decoder']
  network = dataclasses.replace(
    base.network,
    num_decoder_layers=4,
    emb_dim=128,
    head_dim=16,
    mlp_dim=512,
    scan_layers=True,
    remat=True,
    fused_attention=True,
  )
  run = {
    'model': token_stage.make(base.spec, network),
    'schedule': schedules.warmup_rsqrt(1e-3, 10),
  }
  found = dry_run.estimate(run, 64).total_bytes
  assert found == pytest.approx(dry_run.memory(run, 64).total_bytes, rel=0.3)


def table(text):
  """Rows of 'What fits': names of files and flags, and GB by chips."""
  section = text.partition('## What fits')[2]
  header, _, *lines = re.findall(r'^\|(.*)\|$', section, re.M)
  chips = [cell.strip() for cell in header.split('|')][1:]
  for line in lines:
    if line.startswith(' binding'):
      return
    what, *cells = line.split('|')
    numbers = [float(cell) for cell in cells]
    yield re.findall(r'`(.*?)`', what), dict(zip(chips, numbers, strict=True))


@pytest.mark.data
def test_the_documents_show_what_a_dry_run_estimates_and_it_fits(
  root, monkeypatch
):
  import gin

  monkeypatch.chdir(root)
  # The same for both chips.
  cached = functools.cache(memory_estimate.row_bytes)
  monkeypatch.setattr(memory_estimate, 'row_bytes', cached)
  rows = list(table((root / 'docs' / 'training.md').read_text()))
  assert len(rows) >= 6
  wrong = {}
  for names, documented in rows:
    files = [name for name in names if name.endswith('.gin')]
    flags = [name for name in names if '=' in name]
    gin_config.parse(['runs/train.gin', *files], flags)
    fsdp = gin.query_parameter('%FSDP')
    batch_size = gin.query_parameter('%BATCH_SIZE')
    with gin.unlock_config():  # The mesh of this machine is another.
      gin.bind_parameter('%FSDP', 1)
    run = gin.get_bindings('loop.train')
    for chips, wanted in documented.items():
      devices = int(chips.split()[0])
      mesh = jax.sharding.AbstractMesh(
        (devices // fsdp, fsdp, 1), mesh_lib.AXES
      )
      found = dry_run.estimate({**run, 'mesh': mesh}, batch_size)
      gigabytes = found.total_bytes / 1e9
      if abs(gigabytes - wanted) > 0.1 or gigabytes > USABLE_GB[chips]:
        wrong[(*names, chips)] = gigabytes
    gin.clear_config()
  assert not wrong
