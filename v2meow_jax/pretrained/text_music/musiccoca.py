"""MusicCoCa as a joint embedding of text and music, run by LiteRT.

Part of Magenta RealTime 2 (https://github.com/magenta/magenta-realtime): maps
audio at 16 kHz in segments of 10 s, and text, to 768 numbers each. Weights:
CC-BY-4.0, in https://huggingface.co/google/magenta-realtime-2, folder
resources/musiccoca.
"""

from collections.abc import Sequence
import os
import pathlib
from typing import Any

import numpy as np

from v2meow_jax.pretrained import hub
from v2meow_jax.pretrained.text_music import segments

FILES = (
  'audio_preprocessor.tflite',
  'music_encoder.tflite',
  'text_encoder.tflite',
  'spm.model',
)
_URL = 'https://huggingface.co/google/magenta-realtime-2'
_START_ID = 1
_PAD_ID = 0


class MusicCoCa:
  """The two encoders of MusicCoCa and their preprocessing.

  Not safe for several threads: an interpreter keeps its tensors.

  Attributes:
    dim: Width of the joint space.
    sample_rate_hz: Sample rate of its waveforms, in Hz.
  """

  sample_rate_hz = 16_000

  def __init__(self, folder: str | os.PathLike):
    """Reads `FILES`.

    Args:
      folder: Folder of `FILES`, or one of the files.

    Raises:
      ImportError: LiteRT or sentencepiece is missing.
      FileNotFoundError: A file is missing; says how to get it.
      ValueError: A file is of another network.
    """
    path = pathlib.Path(hub.folder_of(folder))
    missing = [name for name in FILES if not (path / name).is_file()]
    if missing:
      raise FileNotFoundError(
        f'{path} lacks {", ".join(missing)} of MusicCoCa: download the folder'
        f' resources/musiccoca of {_URL} and put its files there.'
      )
    prepare, music, text = (_Graph(path / name) for name in FILES[:3])
    self._vocabulary = _read_vocabulary(path / FILES[3])
    num_samples = round(segments.SECONDS * self.sample_rate_hz)
    self._waveform = prepare.input(np.float32, num_samples)
    self._prepare = prepare
    self._spectra = music.input(np.float32, prepare.output_size)
    self._music = music
    self._ids = text.input(np.int32)
    self._num_ids = text.size(self._ids)
    self._padding = text.input(np.float32, self._num_ids)
    self._text = text
    self.dim = music.output_size
    if text.output_size != self.dim:
      raise ValueError(
        f'{path}: its text encoder gives {text.output_size} numbers and its'
        f' music encoder {self.dim}; wanted files of one MusicCoCa.'
      )

  def embed_music(self, waveforms: np.ndarray) -> np.ndarray:
    """float32[b, 160000] -> float32[b, dim]."""
    rows = []
    for waveform in waveforms:
      spectra = self._prepare.run({self._waveform: waveform})
      rows.append(self._music.run({self._spectra: spectra}))
    return np.stack(rows)

  def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
    """b texts -> float32[b, dim]; pieces after the 127th are left out."""
    rows = []
    for text in texts:
      pieces = self._vocabulary.EncodeAsIds(text.lower())
      pieces = [_START_ID, *pieces][: self._num_ids]
      ids = np.full(self._num_ids, _PAD_ID, np.int32)
      ids[: len(pieces)] = pieces
      # 1 at padding, 0 at text.
      padding = np.ones(self._num_ids, np.float32)
      padding[: len(pieces)] = 0
      rows.append(self._text.run({self._ids: ids, self._padding: padding}))
    return np.stack(rows)


class _Graph:
  """A TFLite file with inputs of fixed sizes; its first output is used."""

  def __init__(self, file: pathlib.Path):
    litert = hub.import_library('ai_edge_litert.interpreter')
    self._file = file
    try:
      self._interpreter = litert.Interpreter(model_path=str(file))
      self._interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as e:
      raise ValueError(
        f'{file} is damaged or no TFLite model: {e}; download it again from'
        f' {_URL}.'
      ) from e
    self._inputs = {
      detail['index']: detail
      for detail in self._interpreter.get_input_details()
    }
    self._output: Any = self._interpreter.get_output_details()[0]

  def input(self, dtype: Any, size: int | None = None) -> int:
    """Index of the one input of a type and size; ValueError without one."""
    fitting = [
      index
      for index, detail in self._inputs.items()
      if detail['dtype'] == dtype and (size is None or self.size(index) == size)
    ]
    if len(fitting) != 1:
      inputs = [
        f'{detail["dtype"].__name__}{list(detail["shape"])}'
        for detail in self._inputs.values()
      ]
      numbers = 'some' if size is None else f'{size}'
      raise ValueError(
        f'{self._file} takes {", ".join(inputs)}; wanted one input of {numbers}'
        f' {np.dtype(dtype).name}, like MusicCoCa: get it from {_URL}.'
      )
    return fitting[0]

  def size(self, index: int) -> int:
    """Number of values in an input."""
    return int(np.prod(self._inputs[index]['shape']))

  @property
  def output_size(self) -> int:
    """Number of values in the first output."""
    return int(np.prod(self._output['shape']))

  def run(self, inputs: dict[int, np.ndarray]) -> np.ndarray:
    """Runs the graph on inputs by index; returns the first output, flat."""
    for index, values in inputs.items():
      shape = self._inputs[index]['shape']
      self._interpreter.set_tensor(index, values.reshape(shape))
    self._interpreter.invoke()
    return self._interpreter.get_tensor(self._output['index']).ravel()


def _read_vocabulary(file: pathlib.Path) -> Any:
  sentencepiece = hub.import_library('sentencepiece')
  vocabulary = sentencepiece.SentencePieceProcessor()
  try:
    vocabulary.Load(str(file))
  except (OSError, RuntimeError) as e:
    raise ValueError(
      f'{file} is damaged or no SentencePiece model: {e}; download it again'
      f' from {_URL}.'
    ) from e
  return vocabulary
