"""Fits the clusters of a preparation's semantic tokens to a manifest."""

import functools
import pathlib
import shutil

import numpy as np

from v2meow_jax.extractors import clustered_tokens
from v2meow_jax.files import manifests
from v2meow_jax.files import paths
from v2meow_jax.files import read
from v2meow_jax.jobs.prepare import preparation as preparation_lib
from v2meow_jax.jobs.prepare import token_fitting


def fit(
  preparation: preparation_lib.Preparation,
  manifest: str,
  output: str,
  seed: int,
  num: int | None,
) -> str:
  """Fits the clusters of semantic tokens; returns lines to print.

  Clips of the training split, all or `num` that are evenly spread, go by as
  `token_fitting` says; a run that was interrupted goes on where OUTPUT's folder
  `.fitting` stopped, which for an OUTPUT in a bucket is in the current folder.

  Raises:
    ValueError: There is not one encoder of semantic tokens.
  """
  chosen = [p for p in preparation.parts if p.stream == 'semantic']
  if len(chosen) != 1:
    raise ValueError(
      f'{len(chosen)} parts give semantic tokens; wanted one to fit.'
    )
  clips = [clip.path for clip in manifests.read(manifest, 'train')]
  if num is not None:
    places = np.linspace(0, len(clips) - 1, min(num, len(clips)))
    clips = [clips[i] for i in places.astype(int)]
  encoder, identity = chosen[0].network(), chosen[0].encoder_identity()
  out = paths.path(output)
  # Arrays in the making are mapped, so they are here.
  beside = pathlib.Path() if paths.is_remote(out) else out.parent
  state_dir = beside / f'{out.name}.fitting'
  state_dir.mkdir(parents=True, exist_ok=True)
  tokens = token_fitting.fit_tokens(
    clips,
    functools.partial(read.read_audio, rate_hz=encoder.sample_rate_hz),
    encoder,
    preparation.table['semantic'].codebook_size,
    heard_by=identity,
    seed=seed,
    sampling=preparation.sampling,
    clustering=preparation.clustering,
    state_dir=state_dir,
  )
  clustered_tokens.write_clusters(out, tokens.params, identity)
  shutil.rmtree(state_dir)
  lines = [f'{n}: {why}' for n, why in tokens.rejected.items()]
  return '\n'.join([*lines, str(tokens.report), str(out)])
