// The pages of a listening study. One file for both homes of the answers: a
// server, or (in an exported copy) this browser.
'use strict';

const find = (selector) => document.querySelector(selector);
const SECTIONS = ['consent', 'instructions', 'compare', 'thanks'];
const MESSAGES = {
  unreachable: 'There is no connection to the study, and nothing is lost. ' +
      'Please check your connection and try again.',
  broken: 'Something went wrong at the study, and nothing is lost. ' +
      'Please try again in a minute.',
  unplayable: 'A clip cannot be loaded. Please check your connection and ' +
      'load this page again.',
  unstorable: 'This browser does not let the page keep your answers. Please ' +
      'leave private browsing, or use another browser.',
};

/** A problem whose message the participant sees. */
class Problem extends Error {}

/** Answers go to a server. */
class Server {
  state() {
    return this.request('state');
  }

  join(consent) {
    return this.request('join', {consent});
  }

  answer(position, answer) {
    return this.request('answer', {position, ...answer});
  }

  async request(path, body) {
    let reply;
    try {
      reply = await fetch(path, body && {
        method: 'POST',
        headers: {'Content-Type': 'application/json'},
        body: JSON.stringify(body),
      });
    } catch {
      throw new Problem(MESSAGES.unreachable);
    }
    if (reply.ok) return reply.json();
    if (reply.status >= 500 && reply.status !== 503) {
      throw new Problem(MESSAGES.broken);
    }
    const {detail} = await reply.json().catch(() => ({}));
    throw new Problem(detail || MESSAGES.broken);
  }
}

/** Answers stay in this browser until they are saved as a file. */
class Browser {
  constructor(exported) {
    this.exported = exported;
    this.key = `study-${exported.study}`;
  }

  read() {
    try {
      return JSON.parse(localStorage.getItem(this.key));
    } catch {
      throw new Problem(MESSAGES.unstorable);
    }
  }

  write(kept) {
    try {
      localStorage.setItem(this.key, JSON.stringify(kept));
    } catch {
      throw new Problem(MESSAGES.unstorable);
    }
    return this.stateOf(kept);
  }

  stateOf(kept) {
    if (!kept) return {joined: false};
    const trials = this.exported.booklets[kept.booklet];
    const position = kept.answers.length;
    return {
      joined: true,
      code: kept.code,
      position,
      total: trials.length,
      trial: trials[position] || null,
    };
  }

  async state() {
    return this.stateOf(this.read());
  }

  async join(consent) {
    const {format, study, booklets} = this.exported;
    const letters = 'ABCDEFGHJKLMNPQRSTUVWXYZ23456789';
    const random = crypto.getRandomValues(new Uint32Array(9));
    const given = parseInt(new URLSearchParams(location.search).get('p'), 10);
    const number = given > 0 ? given - 1 : random[8];
    return this.write(this.read() || {
      format,
      study,
      booklet: number % booklets.length,
      code: Array.from(random.slice(0, 8), (n) => letters[n % 32]).join(''),
      consent,
      answers: [],
    });
  }

  async answer(position, answer) {
    const kept = this.read();
    const isNext = position === kept.answers.length;
    if (isNext) kept.answers.push({...answer, seconds: secondsShown()});
    return this.write(kept);
  }

  save() {
    const kept = this.read();
    const blob = new Blob([JSON.stringify(kept)], {type: 'application/json'});
    const link = document.createElement('a');
    link.href = URL.createObjectURL(blob);
    link.download = `answers_${kept.code}.json`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }
}

/** One of the two clips. */
class Clip {
  constructor(figure, onChange) {
    this.figure = figure;
    this.letter = 'AB'[figure.dataset.side];
    this.video = figure.querySelector('video');
    this.button = figure.querySelector('.play');
    this.onChange = onChange;
    for (const pressed of [this.button, this.video]) {
      pressed.addEventListener('click', () => this.toggle());
    }
    for (const name of ['play', 'pause', 'ended', 'timeupdate']) {
      this.video.addEventListener(name, () => this.update());
    }
    this.video.addEventListener('error', () => {
      if (this.video.getAttribute('src')) tell(MESSAGES.unplayable);
    });
  }

  load(source, requiredSeconds) {
    this.required = requiredSeconds;
    this.video.src = source;
    this.update();
  }

  /** Seconds of the clip that were played, each part once. */
  get heard() {
    const {played} = this.video;
    let seconds = 0;
    for (let i = 0; i < played.length; i++) {
      seconds += played.end(i) - played.start(i);
    }
    return seconds;
  }

  get isHeard() {
    return this.heard >= this.required;
  }

  toggle() {
    if (!this.video.paused) return this.video.pause();
    this.video.play().catch((error) => {
      if (error.name !== 'AbortError') tell(MESSAGES.unplayable);
    });
  }

  update() {
    const {video, figure} = this;
    const isPlaying = !video.paused && !video.ended;
    const wasStarted = video.played.length > 0;
    const verb = isPlaying ? 'Pause' : this.isHeard ? 'Replay' :
        wasStarted ? 'Go on with' : 'Play';
    figure.classList.toggle('playing', isPlaying);
    figure.querySelector('.label').textContent = `${verb} ${this.letter}`;
    const share = video.duration ? video.currentTime / video.duration : 0;
    figure.querySelector('.bar > div').style.width = `${100 * share}%`;
    const heard = figure.querySelector('.heard');
    heard.textContent = this.isHeard ? 'Played' :
        isPlaying ? 'Playing' : wasStarted ? 'Not at the end yet' :
        'Not played yet';
    heard.classList.toggle('done', this.isHeard);
    this.onChange(this);
  }
}

let shownAt = 0;
let state = null;
let isSending = false;
const secondsShown = () => (performance.now() - shownAt) / 1000;

const embedded = find('#exported');
const home = embedded ? new Browser(JSON.parse(embedded.textContent)) :
    new Server();
const form = find('#compare form');
const clips = [...document.querySelectorAll('.clip')].map(
    (figure) => new Clip(figure, changed));

function tell(message) {
  find('#problem').textContent = message;
  find('#problem').hidden = !message;
  if (message) find('#problem').scrollIntoView({block: 'nearest'});
}

function show(name) {
  for (const other of SECTIONS) find(`#${other}`).hidden = other !== name;
  tell('');
  const heading = find(`#${name} h1`);
  document.title = `${heading.textContent} · ${document.body.dataset.title}`;
  window.scrollTo(0, 0);
  heading.focus({preventScroll: true});
}

/** Updates the page after a clip was played or an answer chosen. */
function changed(clip) {
  if (!clips) return;
  const isPlaying = !clip.video.paused;
  for (const other of clips) {
    if (isPlaying && other !== clip) other.video.pause();
  }
  refresh();
}

function refresh() {
  const areHeard = clips.every((clip) => clip.isHeard);
  for (const fieldset of form.querySelectorAll('fieldset')) {
    fieldset.disabled = !areHeard;
  }
  const chosen = new FormData(form);
  const missing = ['relevance', 'preference'].filter((q) => !chosen.has(q));
  form.querySelector('button').disabled =
      !areHeard || missing.length > 0 || isSending;
  const hint = !areHeard ? 'Play both clips to the end first.' :
      missing.length === 2 ? 'Now answer both questions.' :
      missing.length ? 'One question is left.' : '';
  if (find('#hint').textContent !== hint) find('#hint').textContent = hint;
}

function showCount() {
  const {position, total} = state;
  find('#count').textContent =
      position < total ? `${position + 1} of ${total}` : 'All answered';
  const bar = find('#progress');
  bar.setAttribute('aria-valuemax', total);
  bar.setAttribute('aria-valuenow', position);
  bar.firstElementChild.style.width = `${100 * position / total}%`;
  find('#count').hidden = bar.hidden = false;
}

function showTrial() {
  const {trial, position, total, link} = state;
  form.reset();
  for (const [i, clip] of clips.entries()) {
    clip.load(i ? trial.right : trial.left, trial.required_seconds);
  }
  find('#compare h1').textContent = `Comparison ${position + 1} of ${total}`;
  find('#check').hidden = trial.wanted === null;
  find('#check').textContent = 'This is an attention check. Please play both ' +
      `clips, and then answer “${trial.wanted < 0 ? 'A' : 'B'} strongly” to ` +
      'both questions, whatever you think of the music.';
  find('#elsewhere').hidden = !link;
  if (link) find('#elsewhere a').href = link;
  shownAt = performance.now();
  refresh();
  show('compare');
}

function go() {
  if (!state.joined) return show('consent');
  showCount();
  if (state.trial) return showTrial();
  find('#code').textContent = state.code;
  find('#save').hidden = !(home instanceof Browser);
  show('thanks');
}

/** Runs a step; shows an error, after which it can be tried again. */
async function attempt(step) {
  if (isSending) return;
  isSending = true;
  try {
    await step();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    tell(error.message);
  } finally {
    isSending = false;
    refresh();
  }
}

find('#consent form').addEventListener('submit', (event) => {
  event.preventDefault();
  attempt(async () => {
    state = await home.join(document.body.dataset.consent);
    if (state.position === 0 && state.trial) show('instructions');
    else go();
  });
});

find('#instructions form').addEventListener('submit', (event) => {
  event.preventDefault();
  go();
});

form.addEventListener('change', refresh);
form.addEventListener('submit', (event) => {
  event.preventDefault();
  attempt(async () => {
    refresh();
    for (const clip of clips) clip.video.pause();
    const chosen = new FormData(form);
    state = await home.answer(state.position, {
      relevance: Number(chosen.get('relevance')),
      preference: Number(chosen.get('preference')),
      played: clips.map((clip) => clip.heard),
    });
    go();
  });
});

find('#save button').addEventListener('click', () => attempt(() => home.save()));

attempt(async () => {
  state = await home.state();
  go();
});
