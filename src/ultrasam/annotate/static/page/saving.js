// The strokes that the server has not yet acknowledged, in their order: sent one after another, and again if need be.
//
// Each has a key, so that one which arrives twice counts once. They are kept in the browser's storage until they are
// acknowledged, and sent after a reload.

import { Refusal, Unreachable, newKey, post } from './api.js';

const PREFIX = 'ultrasam.stroke.';
const WAITS = [300, 1000, 2000, 5000, 10_000]; // milliseconds before another try

export class StrokeQueue {
  /** `on` holds changed(), acknowledged(item, answer) and refused(item, error). */
  constructor(on) {
    Object.assign(this, { on, items: [], added: 0, made: new Map(), savedAt: null, problem: '', running: null });
    window.addEventListener('beforeunload', (event) => this.items.length && event.preventDefault());
    window.addEventListener('online', () => this.wake?.());
  }

  get waiting() {
    return this.items.length;
  }

  /** A function that says whether a stroke has been on its way since: what was asked meanwhile may lack it. */
  watch() {
    const { added, waiting } = this;
    return () => waiting > 0 || this.added !== added;
  }

  /** Resolves when all strokes are acknowledged or refused. */
  get settled() {
    return this.running ?? Promise.resolve();
  }

  /**
   * Send a stroke to an image; what it returns is its key.
   *
   * `body.object` is an object's id, null for a new one, or {of: key} for the one that another stroke makes;
   * `body.base_version` the version of its mask that is drawn upon, which becomes that of the strokes before this one.
   */
  add(image, action, body, about = {}) {
    this.last = Math.max(Date.now(), (this.last ?? 0) + 1); // strokes keep their order although the clock is set back
    const item = { key: newKey(), at: this.last, image, action, body, about, tries: 0 };
    this.items.push(item);
    this.added++;
    this.#keep(item);
    this.on.changed();
    this.running ??= this.#run();
    return item.key;
  }

  /** Send what an earlier visit to the page has left. */
  resume(project, reader) {
    this.owner = JSON.stringify([project, reader]);
    const left = Object.keys(localStorage).filter((name) => name.startsWith(PREFIX)).map((name) => JSON.parse(localStorage[name]));
    const ours = left.filter(({ owner }) => owner === this.owner).sort((a, b) => a.at - b.at);
    for (const { owner, ...item } of ours) this.items.push({ ...item, about: {}, tries: 0 });
    if (this.items.length) this.running ??= this.#run();
  }

  #keep({ key, at, image, action, body }) {
    try {
      localStorage[PREFIX + key] = JSON.stringify({ key, at, image, action, body, owner: this.owner });
    } catch {
      // A full or forbidden storage only means that a stroke does not outlive this page.
    }
  }

  async #run() {
    while (this.items.length) {
      const [item] = this.items;
      try {
        const answer = await post(`/images/${item.image}/${item.action}`, this.#bodyOf(item));
        this.#drop(item);
        this.#follow(item, answer.object);
        this.savedAt = answer.saved ? new Date(answer.saved) : new Date();
        this.problem = '';
        this.on.acknowledged(item, answer);
      } catch (error) {
        if (error instanceof Unreachable || (error instanceof Refusal && this.#passes(error.status))) {
          this.problem = error.message;
          this.on.changed();
          await this.#wait(WAITS[Math.min(item.tries++, WAITS.length - 1)]);
          continue;
        }
        this.#drop(item);
        this.on.refused(item, error);
      }
      this.on.changed();
    }
    this.running = null;
  }

  /** What a stroke has made has an id now, and its mask another version, upon which later strokes are drawn. */
  #follow({ key, image, body }, object) {
    if (!object) return;
    this.made.set(key, object.id);
    const frame = object.mask?.frame ?? body.frame;
    for (const item of this.items.filter((other) => other.image === image && other.action === 'strokes')) {
      const isOf = item.body.object?.of === key;
      if (!isOf && item.body.object !== object.id) continue;
      const version = item.body.frame === frame ? object.mask?.version ?? null : item.body.base_version;
      item.body = { ...item.body, object: object.id, base_version: version };
      this.#keep(item);
    }
  }

  #passes(status) {
    return status === 401 || status === 429 || status >= 500;
  }

  #bodyOf({ key, body }) {
    const object = body.object?.of ? this.made.get(body.object.of) : body.object;
    if (object === undefined) throw new Error('What this stroke belongs to could not be made.');
    return { ...body, key, object };
  }

  #drop(item) {
    this.items = this.items.filter((other) => other !== item);
    localStorage.removeItem(PREFIX + item.key);
  }

  #wait(milliseconds) {
    return new Promise((resolve) => {
      this.wake = resolve;
      setTimeout(resolve, milliseconds);
    });
  }
}
