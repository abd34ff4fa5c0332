"""Remembers which words a style embedding met in training.

The letter triples of a word relate it to similar ones: 'guitars' is known where
'guitar' was met. Words are kept as CRC-32 of UTF-8, the same everywhere.
"""

from collections.abc import Iterable
from collections.abc import Iterator
import re
import zlib

import numpy as np

_MOST_WORDS = 256
_KNOWN_SHARE = 0.5  # Of a word's triples: ours; 'guitars' has 5 of 7.


def words(text: str) -> list[str]:
  """The first 256 words of a text, in small letters."""
  return re.findall(r'\w+', text[: 16 * _MOST_WORDS].lower())[:_MOST_WORDS]


def triples(word: str) -> list[str]:
  """Three letters in succession, with marks of beginning and end.

  >>> triples('pop')
  ['#^po', '#pop', '#op$']
  """
  framed = f'^{word}$'
  return ['#' + framed[i : i + 3] for i in range(len(framed) - 2)]


def of_texts(texts: Iterable[str]) -> np.ndarray:
  """Vocabulary of the texts of a training set: uint32[n], sorted."""
  met = {number for text in set(texts) for number in _numbers(text)}
  return np.array(sorted(met), np.uint32)


def knows(vocabulary: np.ndarray | None, text: str) -> bool:
  """Whether a word of a text was met in training, or one much like it.

  >>> vocabulary = of_texts(['calm guitar'])
  >>> [knows(vocabulary, text) for text in ('Guitars!', 'zxqv', '?!')]
  [True, False, False]

  Args:
    vocabulary: Vocabulary from `of_texts`; None: every word is known.
    text: Any string.
  """
  if vocabulary is None:
    return bool(words(text))
  return any(
    np.isin(crc32(word), vocabulary)
    or np.isin([*map(crc32, triples(word))], vocabulary).mean() >= _KNOWN_SHARE
    for word in words(text)
  )


def crc32(gram: str) -> int:
  """The number of a word, a pair of words or a triple."""
  return zlib.crc32(gram.encode())


def _numbers(text: str) -> Iterator[int]:
  for word in words(text):
    yield crc32(word)
    yield from map(crc32, triples(word))
