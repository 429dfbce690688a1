// The frames of a cine or slices of a volume under the picture: a row for each object, a mark for each of its masks.

import { byId } from '/shared/page/elements.js';

const ROWS = 6; // objects that have a row of their own; more share the last
const [TOP, ROW] = [8, 7]; // pixels

export class Strip {
  /** `on.to(frame)` is called for a frame that a person chooses. */
  constructor(session, on) {
    Object.assign(this, { session, on, element: byId('strip'), frame: 0 });
    const { element } = this;
    new ResizeObserver(() => this.draw()).observe(element);
    element.addEventListener('pointerdown', (event) => {
      element.setPointerCapture(event.pointerId);
      this.#go(event);
    });
    element.addEventListener('pointermove', (event) => event.buttons && this.#go(event));
    element.addEventListener('keydown', (event) => this.#key(event));
  }

  get frames() {
    return this.session.image?.frames ?? 1;
  }

  #go({ offsetX }) {
    const frame = Math.floor((offsetX / this.element.clientWidth) * this.frames);
    this.on.to(Math.min(Math.max(frame, 0), this.frames - 1));
  }

  #key(event) {
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageUp: -10, PageDown: 10 };
    const to = { Home: 0, End: this.frames - 1 }[event.key] ?? (event.key in steps ? this.session.frame + steps[event.key] : null);
    if (to === null) return;
    event.preventDefault();
    event.stopPropagation();
    this.on.to(Math.min(Math.max(to, 0), this.frames - 1));
  }

  /** Show a frame as the current one. */
  at(frame) {
    this.frame = frame;
    byId('frame').textContent = `${this.session.image?.kind === 'volume' ? 'slice' : 'frame'} ${frame} of 0–${this.frames - 1}`;
    this.element.setAttribute('aria-valuenow', frame);
    this.element.setAttribute('aria-valuemax', this.frames - 1);
    this.element.setAttribute('aria-valuetext', this.#spoken(frame));
    this.draw();
  }

  #spoken(frame) {
    const here = [...this.session.objects.values()].filter(({ frames }) => frames?.[frame])
      .map(({ label, number, frames }) => `${label ?? `object ${number}`} ${kindOf(frames[frame])}`);
    return `frame ${frame} of 0 to ${this.frames - 1}${here.length ? `; ${here.join(', ')}` : '; nothing drawn'}`;
  }

  draw() {
    this.request ??= requestAnimationFrame(() => {
      this.request = null;
      this.#draw();
    });
  }

  #draw() {
    const { element, frames } = this;
    const { clientWidth: width, clientHeight: height } = element;
    if (!width || frames < 2) return;
    const ratio = window.devicePixelRatio || 1;
    if (element.width !== Math.round(width * ratio)) element.width = Math.round(width * ratio);
    if (element.height !== Math.round(height * ratio)) element.height = Math.round(height * ratio);
    const context = element.getContext('2d');
    const { borderTopColor: line, color: quiet, caretColor: accent } = getComputedStyle(element); // as style.css gives them
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const step = width / frames;
    const every = [1, 5, 10, 50, 100, 500, 1000].find((each) => each * step >= 36) ?? 5000;
    context.font = '10px system-ui, sans-serif';
    for (let frame = 0; frame < frames; frame += step >= 4 ? 1 : every) {
      const long = frame % every === 0;
      context.fillStyle = line;
      context.fillRect(Math.round(frame * step), 0, 1, long ? height : TOP - 3);
      if (long) {
        context.fillStyle = quiet;
        context.fillText(frame, Math.round(frame * step) + 3, height - 2);
      }
    }
    context.strokeStyle = accent;
    context.lineWidth = 2;
    context.strokeRect(Math.round(this.frame * step), 1, Math.max(Math.round(step), 2), height - 2);
    const objects = [...this.session.objects.values()].sort((a, b) => a.order - b.order);
    objects.forEach((object, i) => {
      const y = TOP + Math.min(i, ROWS - 1) * ROW;
      for (const [frame, mask] of Object.entries(object.frames ?? {})) paintTick(context, Number(frame) * step, y, step, object.color, kindOf(mask));
    });
  }
}

/** What is told apart of a mask: drawn, accepted, propagated, or stale, since what it was made from has changed. */
function kindOf({ state, source, shown }) {
  if (shown) return shown;
  if (state !== 'accepted') return 'propagated';
  return ['prompt', 'hand'].includes(source) ? 'drawn' : 'accepted';
}

/** Drawn: a full bar; accepted: a lower one; propagated: a frame; stale: a line. */
function paintTick(context, x, y, step, color, kind) {
  const [left, width, height] = [Math.round(x) + (step > 4 ? 1 : 0), Math.max(Math.round(step) - (step > 4 ? 2 : 0), 1), ROW - 2];
  context.fillStyle = context.strokeStyle = color;
  if (kind === 'drawn') {
    context.fillRect(left, y, width, height);
  } else if (kind === 'accepted') {
    context.fillRect(left, y + 2, width, height - 2);
  } else if (kind === 'propagated' && width > 2) {
    context.lineWidth = 1;
    context.strokeRect(left + 0.5, y + 1.5, width - 1, height - 2);
  } else {
    context.fillRect(left, y + height - 1, width, 1);
  }
}
