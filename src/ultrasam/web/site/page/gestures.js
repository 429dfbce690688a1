// Turns a pointer into presses, drags and rests in the picture, and itself pans, pinches and zooms the view.

const DRAG = 4; // pixels of the screen by which a press becomes a drag
const REST = 25; // milliseconds that the pointer rests before a preview
const LONG = 500; // milliseconds after which a finger's tap removes, as a right click does

/**
 * Gestures on a canvas element. A press is {start, point, removes, moved, event}, its points in the picture's pixels.
 *
 * `on` holds ready(), begin(press), drag(press), end(press), cancel(), hover(point or null, event), which follows
 * the pointer, rest(point or null, event), and changed(), after the view has changed. A finger pans and taps; once
 * a pen has been used, it only pans, as a hand that rests on the screen must draw nothing.
 */
export class Gestures {
  constructor(element, view, on) {
    Object.assign(this, { element, view, on, press: null, panning: false, pen: false, pointers: new Map() });
    element.addEventListener('pointerdown', (event) => this.#down(event));
    element.addEventListener('pointermove', (event) => this.#move(event));
    element.addEventListener('pointerup', (event) => this.#up(event));
    element.addEventListener('pointercancel', () => this.cancel());
    element.addEventListener('pointerleave', () => this.#leave());
    element.addEventListener('wheel', (event) => this.#wheel(event), { passive: false });
    element.addEventListener('contextmenu', (event) => event.preventDefault());
  }

  #down(event) {
    if (!this.on.ready()) return;
    this.element.focus();
    this.element.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
    const finger = event.pointerType === 'touch';
    this.pen ||= event.pointerType === 'pen';
    const pans = this.panning || event.button === 1 || finger;
    const taps = finger && !this.panning && !this.pen && this.pointers.size === 1;
    const removes = event.button === 2 || event.shiftKey;
    const start = this.view.at(event);
    if (this.press && !this.press.pans) this.on.cancel();
    this.press = { pans, taps, since: event.timeStamp, removes, start, point: start, from: { x: event.offsetX, y: event.offsetY }, moved: false, event };
    this.#rest(null, event);
    if (!pans) this.on.begin(this.press);
  }

  #move(event) {
    if (!this.on.ready()) return;
    const known = this.pointers.get(event.pointerId);
    if (!known) {
      const point = this.view.at(event);
      this.on.hover(point, event);
      this.#rest(point, event);
      return;
    }
    const step = { x: event.offsetX - known.x, y: event.offsetY - known.y };
    if (this.pointers.size === 2) this.#pinch(event);
    Object.assign(known, { x: event.offsetX, y: event.offsetY });
    const { press } = this;
    if (!press) return;
    press.moved ||= Math.hypot(event.offsetX - press.from.x, event.offsetY - press.from.y) >= DRAG;
    Object.assign(press, { point: this.view.at(event), event });
    if (!press.pans) {
      this.on.drag(press);
    } else if (press.moved) {
      this.view.pan(step.x, step.y);
      this.on.changed();
    }
  }

  #pinch(event) {
    const [a, b] = [...this.pointers.entries()].map(([id, place]) =>
      ({ id, before: place, after: id === event.pointerId ? { x: event.offsetX, y: event.offsetY } : place }));
    const distance = (place) => Math.hypot(a[place].x - b[place].x, a[place].y - b[place].y);
    if (!distance('before')) return;
    this.view.zoom(distance('after') / distance('before'), (a.after.x + b.after.x) / 2, (a.after.y + b.after.y) / 2);
    this.on.changed();
  }

  #up(event) {
    const { press } = this;
    this.pointers.delete(event.pointerId);
    if (!press || this.pointers.size) return;
    this.press = null;
    if (press.taps && !press.moved) this.#tap(press, event.timeStamp - press.since >= LONG);
    else if (!press.pans && !this.panning) this.on.end(press);
    else if (!press.pans) this.on.cancel();
  }

  #tap(press, removes) {
    const tap = { ...press, pans: false, removes };
    this.on.begin(tap);
    this.on.end(tap);
  }

  /** Forget a press, as where the window has lost the pointer. */
  cancel() {
    this.pointers.clear();
    this.press = null;
    this.on.cancel();
  }

  #leave() {
    if (this.pointers.size) return;
    this.on.hover(null);
    this.#rest(null);
  }

  #rest(point, event) {
    clearTimeout(this.resting);
    if (point) this.resting = setTimeout(() => this.on.rest(point, event), REST);
    else this.on.rest(null, event);
  }

  #wheel(event) {
    event.preventDefault();
    if (!this.on.ready()) return;
    this.view.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), event.offsetX, event.offsetY);
    this.on.changed();
  }
}
