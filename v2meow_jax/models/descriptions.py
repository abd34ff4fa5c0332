"""Parts of a model as JSON data and back, so that a checkpoint rebuilds it."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import importlib
import re
import types
import typing
from typing import Any

_PLAIN_NAMES = {
  bool: 'true or false',
  int: 'a whole number',
  float: 'a number',
  str: 'a word',
  types.NoneType: 'null',
}
_KIND = re.compile(r'([a-z][a-z0-9_]*)\.([A-Z][A-Za-z0-9]*)')


def to_dict(part: Any) -> dict[str, Any]:
  """A frozen dataclass as its fields and its 'kind', '<module>.<class>'."""
  module = type(part).__module__.rpartition('.')[2]
  return {
    'kind': f'{module}.{type(part).__name__}',
    **dataclasses.asdict(part),
  }


def from_dict(data: Mapping[str, Any], room: str) -> Any:
  """The inverse of `to_dict`.

  Args:
    data: Fields and 'kind'; only names a dataclass of the room, and nothing
      else of it is run.
    room: Package that holds the module, below `v2meow_jax`.

  Returns:
    The part.

  Raises:
    ValueError: The room has no such kind, or the kind no such field.
  """
  kind = str(data.get('kind'))
  match = _KIND.fullmatch(kind)
  cls = match and _find(f'v2meow_jax.{room}.{match[1]}', match[2])
  if not cls:
    raise ValueError(
      f'{kind!r} is no part of v2meow_jax.{room}; wanted <module>.<class> of'
      ' one that is. Was it written by a newer version?'
    )
  try:
    return _build(cls, {k: v for k, v in data.items() if k != 'kind'})
  except TypeError as e:
    raise ValueError(f'the description of {kind!r} does not fit it: {e}') from e


def _find(module_name: str, name: str) -> type | None:
  try:
    module = importlib.import_module(module_name)
  except ModuleNotFoundError:
    return None
  cls = getattr(module, name, None)
  own = getattr(cls, '__module__', None) == module_name
  return cls if own and dataclasses.is_dataclass(cls) else None


def _build(cls: type, fields: Mapping[str, Any]) -> Any:
  hints = typing.get_type_hints(cls)
  return cls(
    **{
      name: _field(name, hints.get(name), value)
      for name, value in fields.items()
    }
  )


def _field(name: str, hint: Any, value: Any) -> Any:
  """A value; of a field that may be a dataclass and has fields, that.

  Raises:
    TypeError: The field wants a number or a word, and the value is another.
  """
  is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
  choices = typing.get_args(hint) if is_union else (hint,)
  if isinstance(value, Mapping):
    cls = next(filter(dataclasses.is_dataclass, choices), None)
    return _build(cls, value) if cls else value
  plain = [c for c in choices if c in _PLAIN_NAMES]
  is_plain = plain and plain != [types.NoneType]
  if is_plain and not any(_is(value, c) for c in choices):
    wanted = ' or '.join(_PLAIN_NAMES[c] for c in plain)
    raise TypeError(f'{name} is {value!r}; wanted {wanted}')
  return value


def _is(value: Any, kind: Any) -> bool:
  """Whether JSON's value is of a type; a whole number is a number too.

  What a type of several fields, or of an array, holds is not looked at.
  """
  if not isinstance(kind, type):
    return isinstance(value, Sequence) and not isinstance(value, str)
  if kind is float:
    kind = int | float
  return isinstance(value, kind) and (
    kind is bool or not isinstance(value, bool)
  )
