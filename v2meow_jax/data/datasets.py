"""Facts about a prepared dataset; the table of datasets is a recipe."""

import dataclasses

from v2meow_jax import specs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset:
  """One row of the table of datasets, `tasks/datasets.py`.

  Attributes:
    name: Name of its folder under `$V2MEOW_DATA_DIR` and of its tasks.
    about: Content and size, in one line.
    page: Address that lists its clips.
    licence: Terms of its clips and annotations.
    terms: Addresses at which these were read, and what could not be read.
    splits: Names of its splits.
    stages: Stages that it trains or evaluates.
    evaluation_only: Reason why nothing trains on it; None when training may.
  """

  name: str
  about: str = ''
  page: str = ''
  licence: str = 'not known; tasks/datasets.py has no row of it'
  terms: str = ''
  splits: tuple[str, ...] = ('train', 'validation')
  stages: tuple[specs.StageSpec, ...] = ()
  evaluation_only: str | None = None

  def check(self, split: str, *, training: bool) -> None:
    """Raises ValueError unless a split exists and may be used this way."""
    if training and self.evaluation_only:
      raise ValueError(
        f'dataset {self.name!r} is for evaluation only: {self.evaluation_only}.'
        ' Train on another one: --gin.DATASET="\'NAME\'".'
      )
    if split not in self.splits:
      raise ValueError(
        f'dataset {self.name!r} has no split {split!r}; it has {self.splits}.'
      )


def named(dataset: str | Dataset) -> Dataset:
  """The dataset itself, or one of which nothing but its name is known."""
  return Dataset(name=dataset) if isinstance(dataset, str) else dataset
