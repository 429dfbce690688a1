// Work in the background: what runs, how far it is, and a button that stops it.

import { ask, remove } from '../api.js';
import { byId, make } from '/shared/page/elements.js';

const NAMES = {
  propagate: 'Propagating', automatic: 'Suggesting', interpolate: 'Filling in', export: 'Exporting', import: 'Importing', train: 'Training', rank: 'Rating images',
};
const OPEN = new Set(['waiting', 'running']);
const POLL = 1500; // milliseconds, where events do not come

export class Jobs {
  /** `on` holds ended(job) and say(sentence). */
  constructor(on) {
    Object.assign(this, { on, jobs: new Map(), waiting: new Map() });
    setInterval(() => [...this.jobs.values()].some(({ state }) => OPEN.has(state)) && this.load().catch(() => {}), POLL);
  }

  async load() {
    for (const job of (await ask('/jobs')).jobs) this.update(job);
  }

  /** Follow a job; resolves when it has ended. */
  follow(job) {
    this.update(job);
    return new Promise((resolve) => {
      if (!OPEN.has(this.jobs.get(job.id).state)) resolve(this.jobs.get(job.id));
      else this.waiting.set(job.id, resolve);
    });
  }

  update(job) {
    const before = this.jobs.get(job.id);
    if (before && !OPEN.has(before.state) && OPEN.has(job.state)) return; // an older report
    this.jobs.set(job.id, job);
    const ended = !OPEN.has(job.state) && (before ? OPEN.has(before.state) : this.waiting.has(job.id));
    if (ended) {
      this.waiting.get(job.id)?.(job);
      this.waiting.delete(job.id);
      this.on.ended(job);
    }
    this.#show();
  }

  get open() {
    return [...this.jobs.values()].filter(({ state }) => OPEN.has(state));
  }

  #show() {
    byId('work').replaceChildren(...this.open.map((job) => row(job, () => this.#cancel(job))));
    byId('work').hidden = !this.open.length;
    const past = [...this.jobs.values()].filter(({ state }) => !OPEN.has(state)).sort((a, b) => b.id - a.id).slice(0, 12);
    byId('jobs-empty').hidden = past.length > 0;
    byId('jobs').replaceChildren(...past.map((job) => make('li', {},
      make('b', { textContent: `${NAMES[job.kind] ?? job.kind}: ${job.state}` }), make('span', { className: 'quiet', textContent: ` ${job.sentence ?? ''}` }))));
  }

  async #cancel(job) {
    try {
      this.update(await remove(`/jobs/${job.id}`) ?? job);
    } catch (error) {
      this.on.say(error.message);
    }
  }
}

function row(job, cancel) {
  const { kind, done, total, sentence, state } = job;
  const name = NAMES[kind] ?? kind;
  const bar = make('progress', { max: total || 1, aria: { label: name } });
  if (total) bar.value = done;
  return make('div', { className: 'job' }, make('span', { textContent: `${name}${state === 'waiting' ? ' (waits)' : ''}` }), bar,
    make('span', { className: 'quiet', textContent: total ? `${done} of ${total}` : sentence ?? '', title: sentence ?? '' }),
    make('button', { textContent: 'Cancel', title: 'Stop; what is done is kept', on: { click: cancel } }));
}
