"""Stores participants and answers in one SQLite file that survives a kill."""

from collections.abc import Iterator
import contextlib
import dataclasses
import hashlib
import os
import secrets
import sqlite3
import time
from typing import Any

from v2meow_jax.study import answers
from v2meow_jax.study import assignment
from v2meow_jax.study import protocol

FILE_NAME = 'answers.sqlite'
_CODE_LETTERS = 'ABCDEFGHJKLMNPQRSTUVWXYZ23456789'  # No two look alike.
_BUSY_SECONDS = 10.0
# A participant silent for this long no longer counts for the balance, and
# without any answer takes no place. ours: people pause for a night.
_GONE_SECONDS = 24 * 3600.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS study (id TEXT NOT NULL, format INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS participants (
  number INTEGER PRIMARY KEY,
  token_sha256 TEXT NOT NULL UNIQUE,
  code TEXT NOT NULL UNIQUE,
  consent TEXT NOT NULL,
  joined_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS trials (
  participant INTEGER NOT NULL
    REFERENCES participants(number) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  pair INTEGER NOT NULL,
  kind TEXT NOT NULL,
  flipped INTEGER NOT NULL,
  wanted INTEGER,
  shown_at REAL,
  PRIMARY KEY (participant, position)
);
CREATE TABLE IF NOT EXISTS answers (
  participant INTEGER NOT NULL,
  position INTEGER NOT NULL,
  relevance INTEGER NOT NULL,
  preference INTEGER NOT NULL,
  played_left REAL NOT NULL,
  played_right REAL NOT NULL,
  seconds REAL NOT NULL,
  answered_at REAL NOT NULL,
  PRIMARY KEY (participant, position),
  FOREIGN KEY (participant, position)
    REFERENCES trials(participant, position) ON DELETE CASCADE
);
"""


class StudyFull(protocol.StudyError):
  """The study has all participants that it needs."""


class NotYetAsked(protocol.StudyError):
  """An answer to a trial that the participant has not seen."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
  """Progress of a participant.

  Attributes:
    code: Code by which the participant may ask to be taken out.
    position: Number of answers so far: index of the next trial.
    total: Number of trials.
    trial: Next trial; None when all are answered.
  """

  code: str
  position: int
  total: int
  trial: protocol.Trial | None


class Storage:
  """The file of answers of a study.

  Every call opens and closes the file, so any number of threads and processes
  may call. Methods return once their changes are on the disk.
  """

  def __init__(self, path: str | os.PathLike, study: protocol.Study):
    self._path = os.path.abspath(path)
    self._study = study
    if os.path.isdir(self._path):
      raise protocol.StudyError(
        f'{self._path}: a folder; wanted a file of answers, or none yet: move'
        ' the folder elsewhere, and restore a backup if there were answers.'
      )
    with self._open() as db:
      db.execute('PRAGMA journal_mode = WAL')
      db.executescript(f'BEGIN IMMEDIATE; {_SCHEMA} COMMIT;')
      with _writing(db):
        row = db.execute('SELECT id, format FROM study').fetchone()
        ours = (study.id, protocol.FORMAT)
        if row is None:
          db.execute('INSERT INTO study VALUES (?, ?)', ours)
        elif row != ours:
          raise protocol.StudyError(
            f'{self._path}: answers to another study; move it elsewhere.'
          )

  def join(self, consent: str, *, max_participants: int) -> str:
    """Adds a participant and assigns trials.

    Args:
      consent: Digest of the text that the participant agreed to.
      max_participants: Largest number of participants who answered, or joined
        within a day.

    Returns:
      Secret token of the participant.

    Raises:
      StudyFull: There are as many already.
    """
    token, now = secrets.token_urlsafe(16), time.time()
    code = ''.join(secrets.choice(_CODE_LETTERS) for _ in range(8))
    with self._open() as db, _writing(db):
      (num,) = db.execute(
        'SELECT COUNT(*) FROM participants p WHERE p.joined_at > ? OR EXISTS'
        ' (SELECT 1 FROM answers a WHERE a.participant = p.number)',
        (now - _GONE_SECONDS,),
      ).fetchone()
      if num >= max_participants:
        raise StudyFull(
          f'{num} participants are here; wanted at most {max_participants}.'
        )
      number = db.execute(
        'INSERT INTO participants (token_sha256, code, consent, joined_at)'
        ' VALUES (?, ?, ?, ?)',
        (_digest(token), code, consent, now),
      ).lastrowid
      assert number is not None
      trials = assignment.plan(self._study, number, self._counts(db, now))
      db.executemany(
        'INSERT INTO trials VALUES (?, ?, ?, ?, ?, ?, NULL)',
        [
          (number, position, t.pair, t.kind, t.flipped, t.wanted)
          for position, t in enumerate(trials)
        ],
      )
    return token

  def progress(self, token: str) -> Progress | None:
    """Returns a participant's progress, now shown; None for a stranger."""
    with self._open() as db, _writing(db):
      number = _number(db, token)
      if number is None:
        return None
      return _show(db, number)

  def answer(self, token: str, position: int, fields: Any) -> Progress | None:
    """Stores an answer; a second answer to the same trial changes nothing.

    Args:
      token: Token of the participant.
      position: Index of the trial.
      fields: Fields for `answers.parse`.

    Returns:
      The participant's progress; None for a stranger.

    Raises:
      StudyError: The answer is not valid; NotYetAsked: it is too early.
    """
    with self._open() as db, _writing(db):
      number = _number(db, token)
      if number is None:
        return None
      progress = _progress(db, number)
      if not 0 <= position < progress.total:
        raise NotYetAsked(f'there is no comparison {position}')
      if position < progress.position:
        return progress
      (shown_at,) = db.execute(
        'SELECT shown_at FROM trials WHERE participant = ? AND position = ?',
        (number, position),
      ).fetchone()
      if progress.trial is None or shown_at is None:
        raise NotYetAsked(f'comparison {position} has not been shown yet')
      now = time.time()
      answer = answers.parse(
        fields, progress.trial, self._study, max(0.0, now - shown_at)
      )
      db.execute(
        'INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
        (
          *(number, position, answer.relevance, answer.preference),
          *(*answer.played, answer.seconds, now),
        ),
      )
      return _show(db, number)

  def raters(self) -> list[answers.Rater]:
    """Lists everyone who joined, with the answers so far."""
    with self._open() as db:
      people = db.execute(
        'SELECT number, code FROM participants ORDER BY number'
      ).fetchall()
      return [
        answers.Rater(
          code=code, trials=_trials(db, number), answers=_answers(db, number)
        )
        for number, code in people
      ]

  def _counts(self, db: sqlite3.Connection, now: float) -> list[int]:
    """Counts answers to each pair, given or expected of who is active."""
    counts = [0] * len(self._study.pairs)
    for pair, num in db.execute(
      'SELECT t.pair, COUNT(*) FROM trials t'
      ' JOIN participants p ON p.number = t.participant'
      ' LEFT JOIN answers a USING (participant, position)'
      ' WHERE t.kind = ? AND (a.position IS NOT NULL OR MAX(p.joined_at,'
      '  (SELECT COALESCE(MAX(b.answered_at), 0) FROM answers b'
      '   WHERE b.participant = t.participant)) > ?)'
      ' GROUP BY t.pair',
      (protocol.COMPARISON, now - _GONE_SECONDS),
    ):
      counts[pair] = num
    return counts

  @contextlib.contextmanager
  def _open(self) -> Iterator[sqlite3.Connection]:
    db = None
    try:
      # Transactions are begun and ended by hand.
      db = sqlite3.connect(
        self._path, timeout=_BUSY_SECONDS, isolation_level=None
      )
      db.execute('PRAGMA foreign_keys = ON')
      db.execute('PRAGMA synchronous = FULL')
      yield db
    except sqlite3.DatabaseError as error:
      if isinstance(error, sqlite3.OperationalError):
        raise OSError(f'{self._path}: {error}') from error
      raise protocol.StudyError(
        f'{self._path}: not a file of answers ({error}); restore a backup.'
      ) from error
    finally:
      if db is not None:
        db.close()


@contextlib.contextmanager
def _writing(db: sqlite3.Connection) -> Iterator[None]:
  """Runs one transaction, whole or not at all, without other writers."""
  db.execute('BEGIN IMMEDIATE')
  try:
    yield
  except BaseException:
    db.execute('ROLLBACK')
    raise
  db.execute('COMMIT')


def _digest(token: str) -> str:
  # The file of answers alone does not let anyone answer for a participant.
  return hashlib.sha256(token.encode('utf-8', 'replace')).hexdigest()


def _number(db: sqlite3.Connection, token: str) -> int | None:
  row = db.execute(
    'SELECT number FROM participants WHERE token_sha256 = ?', (_digest(token),)
  ).fetchone()
  return None if row is None else row[0]


def _show(db: sqlite3.Connection, number: int) -> Progress:
  """Returns a participant's progress and notes when it was first shown."""
  progress = _progress(db, number)
  db.execute(
    'UPDATE trials SET shown_at = ? WHERE participant = ? AND position = ?'
    ' AND shown_at IS NULL',
    (time.time(), number, progress.position),
  )
  return progress


def _progress(db: sqlite3.Connection, number: int) -> Progress:
  trials = _trials(db, number)
  (code,) = db.execute(
    'SELECT code FROM participants WHERE number = ?', (number,)
  ).fetchone()
  (position,) = db.execute(
    'SELECT COUNT(*) FROM answers WHERE participant = ?', (number,)
  ).fetchone()
  return Progress(
    code=code,
    position=position,
    total=len(trials),
    trial=trials[position] if position < len(trials) else None,
  )


def _trials(db: sqlite3.Connection, number: int) -> list[protocol.Trial]:
  return [
    protocol.Trial(pair=pair, kind=kind, flipped=bool(flipped), wanted=wanted)
    for pair, kind, flipped, wanted in db.execute(
      'SELECT pair, kind, flipped, wanted FROM trials WHERE participant = ?'
      ' ORDER BY position',
      (number,),
    )
  ]


def _answers(db: sqlite3.Connection, number: int) -> list[answers.Answer]:
  return [
    answers.Answer(
      relevance=relevance,
      preference=preference,
      played=(left, right),
      seconds=seconds,
    )
    for relevance, preference, left, right, seconds in db.execute(
      'SELECT relevance, preference, played_left, played_right, seconds'
      ' FROM answers WHERE participant = ? ORDER BY position',
      (number,),
    )
  ]
