"""Every mesh splits the work: memory and FLOPs of a device, by XLA's plan."""

import re

import pytest

from tests.fakes import virtual_devices

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

# (kind, mesh) and the most that a device holds and computes, as multiples of
# what it does when eight devices split the batch alone. The devices of 'tensor'
# each hold the residual stream and dropout of all of their rows.
LIMITS = {
  ('encoder', '1,8,1'): (1.1, 1.05),
  ('encoder', '1,4,2'): (1.3, 1.1),
  ('encoder', '2,1,4'): (1.7, 1.1),
  # XLA counts the FLOPs of one of the two.
  ('encoder', '1,8,1/2'): (0.6, 0.6),
  ('decoder', '1,8,1'): (1.1, 1.05),
  ('blockwise', '1,8,1'): (1.1, 1.05),
  ('towers', '1,8,1'): (1.1, 1.05),
}


@pytest.fixture(scope='module')
def costs():
  """Bytes and FLOPs by kind and mesh."""
  kinds = {kind for kind, _ in LIMITS}
  names = [f'{kind}:8,1,1' for kind in sorted(kinds)]
  names += [':'.join(key) for key in LIMITS]
  return virtual_devices.run('tests.fakes.mesh_costs', *names)


@pytest.mark.parametrize(('kind', 'mesh'), LIMITS)
def test_a_device_has_its_share_of_memory_and_work(costs, kind, mesh):
  base, found = costs[f'{kind}:8,1,1'], costs[f'{kind}:{mesh}']
  memory, work = LIMITS[kind, mesh]
  assert found['bytes'] < memory * base['bytes']
  assert found['flops'] < work * base['flops']


def test_every_axis_of_the_documents_is_measured(root):
  text = (root / 'docs' / 'training.md').read_text()
  named = set(re.findall(r'(FSDP|TENSOR|NUM_MICROBATCHES)=(\d+)', text))
  measured = set()
  for _, mesh in LIMITS:
    sizes, _, microbatches = mesh.partition('/')
    _, fsdp, tensor = sizes.split(',')
    measured |= {('FSDP', fsdp), ('TENSOR', tensor)}
    measured.add(('NUM_MICROBATCHES', microbatches))
  # More microbatches are more of the same.
  assert named - measured <= {('NUM_MICROBATCHES', '4')}
