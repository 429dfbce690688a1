// The list of images: thousands of them, of which only those in sight are elements.

import { addressOf, ask } from '../api.js';
import { byId, make } from '/shared/page/elements.js';

const HEIGHT = 64; // pixels of a row, as in style.css
const PAGE = 100; // rows that come in one answer
const AGAIN = 2500; // milliseconds until a thumbnail that was not ready is asked for again

export class ImageList {
  /** `on` holds open(id), say(sentence) and rank(), which has the model rate images. */
  constructor(on) {
    Object.assign(this, { on, total: 0, rows: [], pages: new Map(), elements: new Map(), current: null, filter: {}, load: 0 });
    this.scroller = byId('images');
    this.list = byId('image-rows');
    this.scroller.addEventListener('scroll', () => this.#drawSoon());
    new ResizeObserver(() => this.#drawSoon()).observe(this.scroller);
    const changed = () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.reload().catch((error) => on.say(error.message)), 200);
    };
    byId('filter-text').addEventListener('input', changed);
    byId('filter-state').addEventListener('change', changed);
    byId('filter-order').addEventListener('change', async ({ target }) => {
      changed();
      if (target.value !== 'uncertainty') return;
      try {
        await on.rank(); // images that are not rated yet come last until they are
        changed();
      } catch (error) {
        on.say(error.message);
      }
    });
  }

  get query() {
    const [kind, value] = byId('filter-state').value.split(':');
    const fields = { text: byId('filter-text').value.trim(), order: byId('filter-order').value, ...(kind ? { [kind]: value } : {}) };
    return Object.entries(fields).filter(([, text]) => text).map(([name, text]) => `&${name}=${encodeURIComponent(text)}`).join('');
  }

  /** Ask anew for what is listed. */
  async reload() {
    const load = ++this.load;
    this.pages.clear();
    this.rows = [];
    await this.#page(0, load);
    if (load !== this.load) return;
    for (const element of this.elements.values()) element.remove();
    this.elements.clear();
    this.#draw();
  }

  #page(number, load = this.load) {
    if (!this.pages.has(number)) {
      const coming = ask(`/images?offset=${number * PAGE}&limit=${PAGE}${this.query}`).then((found) => {
        if (load !== this.load) return;
        this.total = found.total;
        found.images.forEach((image, i) => { this.rows[number * PAGE + i] = image; });
        this.#drawSoon();
      });
      coming.catch(() => this.pages.delete(number));
      this.pages.set(number, coming);
    }
    return this.pages.get(number);
  }

  /** Show that an image is open, and where it is in the list. */
  select(id) {
    this.current = id;
    const at = this.indexOf(id);
    if (at >= 0) {
      const { scrollTop, clientHeight } = this.scroller;
      if (at * HEIGHT < scrollTop) this.scroller.scrollTop = at * HEIGHT;
      if ((at + 1) * HEIGHT > scrollTop + clientHeight) this.scroller.scrollTop = (at + 1) * HEIGHT - clientHeight;
    }
    this.#drawSoon();
  }

  indexOf(id) {
    return this.rows.findIndex((row) => row?.id === id);
  }

  /** What an image's row says has changed. */
  update(image) {
    const at = this.indexOf(image.id);
    if (at < 0) return;
    this.rows[at] = { ...this.rows[at], ...image };
    this.elements.get(at)?.remove();
    this.elements.delete(at);
    this.#drawSoon();
  }

  /** A thumbnail has been made. */
  thumbnailReady(id) {
    const picture = this.list.querySelector(`[data-image="${id}"] img`);
    if (picture && !picture.naturalWidth) picture.src = `${addressOf(`/images/${id}/thumbnail.jpg`)}?ready`;
  }

  /** The id of the image `by` places on, or null. */
  async neighbor(by) {
    const at = this.indexOf(this.current) + by;
    if (at < 0 || at >= this.total) return null;
    await this.#page(Math.floor(at / PAGE));
    return this.rows[at]?.id ?? null;
  }

  #drawSoon() {
    this.request ??= requestAnimationFrame(() => {
      this.request = null;
      this.#draw();
    });
  }

  #draw() {
    const { scrollTop, clientHeight } = this.scroller;
    const [from, to] = [Math.max(Math.floor(scrollTop / HEIGHT) - 4, 0), Math.min(Math.ceil((scrollTop + clientHeight) / HEIGHT) + 4, this.total)];
    this.list.style.height = `${this.total * HEIGHT}px`;
    byId('images-empty').hidden = this.total > 0;
    byId('image-count').textContent = this.total ? `${this.indexOf(this.current) + 1 || '–'} of ${this.total}` : '';
    for (const [at, element] of this.elements) {
      if (at >= from && at < to) continue;
      element.remove();
      this.elements.delete(at);
    }
    for (let at = from; at < to; at++) {
      if (!this.rows[at]) {
        this.#page(Math.floor(at / PAGE)).catch((error) => this.on.say(error.message));
        continue;
      }
      if (!this.elements.has(at)) {
        const element = this.#row(this.rows[at], at);
        const after = [...this.elements.keys()].filter((other) => other > at).sort((a, b) => a - b)[0];
        this.list.insertBefore(element, this.elements.get(after) ?? null);
        this.elements.set(at, element);
      }
      this.elements.get(at).firstChild.setAttribute('aria-current', this.rows[at].id === this.current);
    }
  }

  #row(image, at) {
    const { id, name, state, objects, frames, flags, problem, locked_by: locked } = image;
    const counts = [...(objects ? [`${objects} object${objects > 1 ? 's' : ''}`] : []), ...(frames > 1 ? [`${frames} frames`] : [])].join(' · ');
    const marks = [stateText(image), flags?.includes('flagged') ? '⚑' : '', locked ? `${locked} is here` : ''].filter(Boolean).join(' · ');
    const picture = problem ? make('span', { className: 'thumbnail', textContent: '!' }) : thumbnail(id);
    const button = make('button', {
      title: problem ? `${name}: ${problem}` : name, className: problem ? 'problem' : '', on: { click: () => this.on.open(id) },
    }, picture, make('span', { className: 'lines' },
      make('span', { className: 'name', textContent: name }),
      make('span', { className: 'quiet', textContent: problem ? 'cannot be read' : marks }),
      make('span', { className: 'quiet', textContent: problem ? '' : counts })));
    button.dataset.image = id;
    button.dataset.state = state;
    const row = make('li', { aria: { setsize: this.total, posinset: at + 1 } }, button);
    row.style.top = `${at * HEIGHT}px`;
    return row;
  }
}

/** What a reader has done with an image, in a word. */
function stateText({ state, flags }) {
  if (state === 'done') return flags?.includes('empty') ? '✓ nothing here' : '✓ done';
  return { new: 'new', started: '◐ started' }[state] ?? state ?? 'new';
}

function thumbnail(id) {
  const picture = make('img', { className: 'thumbnail', alt: '', width: 72, height: 56, loading: 'lazy', decoding: 'async' });
  const address = addressOf(`/images/${id}/thumbnail.jpg`);
  let tries = 0;
  picture.addEventListener('error', () => {
    picture.style.visibility = 'hidden';
    if (tries++ < 20) setTimeout(() => picture.isConnected && (picture.src = `${address}?again=${tries}`), AGAIN);
  });
  picture.addEventListener('load', () => { picture.style.visibility = ''; });
  picture.src = address;
  return picture;
}
