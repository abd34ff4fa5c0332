"""Program: what a stage draws on one device and on several, and what they hold.

`python -m tests.fakes.spread_sampling` prints json; run it with eight devices.
"""

import dataclasses
import json
import re

import jax
import numpy as np

from tests.fakes import tiny_transformer
from tests.fakes import token_stage
from v2meow_jax.inference import pipeline
from v2meow_jax.inference import restore
from v2meow_jax.models.sampling import options
from v2meow_jax.training import mesh as mesh_lib

SPEC = tiny_transformer.MIXED
MODEL = token_stage.make(
  SPEC,
  dataclasses.replace(
    tiny_transformer.SIZES,
    emb_dim=64,
    num_heads=8,
    mlp_dim=256,
    num_encoder_layers=1,
    num_decoder_layers=1,
  ),
)
WINDOWS = options.Windows(rows=2)
AS_TRAINED, GREEDY = (options.Sampling(temperature=t) for t in (1.0, 0.0))


def clips(count):
  """Streams of clips of 1 to 7 s."""
  rng = np.random.default_rng(0)
  return [
    pipeline.ClipStreams(
      streams={
        'picture': rng.normal(size=(14, 6)).astype(np.float32),
        'melody': rng.integers(0, 16, (35, 1)),
        'style': rng.normal(size=(1, 5)).astype(np.float32),
      },
      seconds=1.0 + 6.0 * i / count,
      seed=i,
    )
    for i in range(count)
  ]


def draw(stage, num_groups, sampling):
  codes = pipeline.sample_stage(
    stage,
    clips(5),
    sampling=sampling,
    windows=WINDOWS,
    num_groups=num_groups,
  )
  return np.concatenate(codes).tolist()


def compile_sampler(stage, rows):
  """Compiles the stage's sampler for good; what a device holds, by XLA."""
  rngs = jax.random.split(jax.random.key(0), rows)
  lowered = stage._sample._function.lower(
    stage._params,
    MODEL.example_inputs(rows),
    np.asarray(jax.random.key_data(rngs)),
    AS_TRAINED,
    None,
    None,
  )
  stage._sample = lowered.compile()
  memory = stage._sample.memory_analysis()
  weights = jax.tree.leaves(stage._params)
  between = r'all-reduce|all-gather|all-to-all|collective'
  return {
    'weights': sum(x.addressable_shards[0].data.nbytes for x in weights),
    'arguments': memory.argument_size_in_bytes,
    'temporaries': memory.temp_size_in_bytes,
    'collectives': len(re.findall(between, stage._sample.as_text())),
  }


def main():
  params = jax.tree.map(
    np.asarray,
    jax.jit(MODEL.module.init)(jax.random.key(0), MODEL.example_batch(1)),
  )
  params = tiny_transformer.meta.unbox(params)['params']
  stages = {'1': restore.ModelStage(MODEL, params)}
  for tensor in (1, 4):
    mesh = mesh_lib.make_mesh(tensor=tensor)
    stages[f'8/{tensor}'] = restore.ModelStage(MODEL, params, mesh)
  rng = np.random.default_rng(0)
  batch = {
    s.name: np.stack([pipeline.cut(c.streams[s.name], s, 0.0, 2.0)
                      for c in clips(4)])
    for s in SPEC.inputs
  }  # fmt: skip
  codes = rng.integers(0, 24, (4, 10, 3))
  figures = {}
  for name, num_groups in (('1', 1), ('8/1', 8), ('8/4', 2)):
    stage = stages[name]
    figures[name] = {
      **compile_sampler(stage, WINDOWS.rows * num_groups),
      'drawn': draw(stage, num_groups, AS_TRAINED),
      'greedy': draw(stage, num_groups, GREEDY),
    }
  for name in ('1', '8/4'):
    log_p = stages[name].log_probabilities(batch, codes)
    figures[name]['log_p'] = log_p.tolist()
  print(json.dumps(figures))


if __name__ == '__main__':
  main()
