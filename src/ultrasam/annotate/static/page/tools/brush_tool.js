// A brush and an eraser. Their size is one of the screen, so that they are finer the closer one looks.

import { brushed } from '../masks.js';

const [SMALLEST, LARGEST] = [2, 200]; // pixels of the screen, in diameter

/** What both share: the diameter on the screen. */
export const brush = { diameter: 24 };

export class BrushTool {
  constructor(stage, session, adds) {
    Object.assign(this, { name: adds ? 'brush' : 'eraser', cursor: 'none', stage, session, adds, path: null, at: null });
  }

  get radius() {
    return brush.diameter / 2 / this.stage.scale;
  }

  resize(factor) {
    const next = factor > 1 ? Math.max(brush.diameter * factor, brush.diameter + 1) : Math.min(brush.diameter * factor, brush.diameter - 1);
    brush.diameter = Math.round(Math.min(Math.max(next, SMALLEST), LARGEST));
    this.stage.draw();
  }

  begin({ start, removes }) {
    this.path = [[start.x, start.y]];
    this.inverse = removes;
    this.at = start;
    this.stage.draw();
  }

  drag({ event }) {
    if (!this.path) return;
    // A pen reports more places than the screen has frames.
    const events = event.getCoalescedEvents?.() ?? [];
    const rect = this.stage.element.getBoundingClientRect();
    for (const { clientX, clientY } of events.length ? events : [event]) {
      const { x, y } = this.stage.view.at({ offsetX: clientX - rect.left, offsetY: clientY - rect.top });
      const [lastX, lastY] = this.path.at(-1);
      if (Math.hypot(x - lastX, y - lastY) * this.stage.scale >= 0.5) this.path.push([x, y]);
    }
    const [x, y] = this.path.at(-1);
    this.at = { x, y };
    this.stage.draw();
  }

  end() {
    const { path } = this;
    this.path = null;
    if (path) this.#put(path, this.adds !== this.inverse);
    this.stage.draw();
  }

  cancel() {
    this.path = null;
    this.stage.draw();
  }

  /** A dab. */
  tap({ x, y }, label) {
    this.#put([[x, y]], label ? this.adds : !this.adds);
  }

  #put(path, adds) {
    const { session, stage } = this;
    const { target } = session;
    if (!adds && !target?.crop) {
      session.on.say('There is nothing to erase here; select an object that has a mask in this frame.');
      return;
    }
    const crop = brushed(target?.crop ?? null, path, this.radius, adds, stage.image);
    session.stroke('brush', { mode: adds ? 'add' : 'erase', path: path.map((point) => point.map(rounded)), radius: rounded(this.radius) }, { crop });
  }

  hover(point) {
    this.at = point;
    this.stage.draw();
  }

  rest() {}

  paint(context, pixel) {
    if (this.path) {
      const adds = this.adds !== this.inverse;
      context.save();
      context.beginPath();
      context.moveTo(...this.path[0]);
      for (const [x, y] of this.path) context.lineTo(x, y);
      context.lineCap = context.lineJoin = 'round';
      context.lineWidth = 2 * this.radius;
      context.globalAlpha = adds ? 0.4 : 0.55;
      context.strokeStyle = adds ? this.session.target?.color ?? '#ffffff' : '#000000';
      context.stroke();
      context.restore();
    }
    if (!this.at) return;
    for (const [style, width] of [['#000000', 3], ['#ffffff', 1]]) {
      context.beginPath();
      context.arc(this.at.x, this.at.y, this.radius, 0, 2 * Math.PI);
      context.strokeStyle = style;
      context.lineWidth = width * pixel;
      context.setLineDash(this.adds ? [] : [4 * pixel, 3 * pixel]);
      context.stroke();
    }
    context.setLineDash([]);
  }

  leave() {
    this.path = this.at = null;
  }
}

/** What travels: a thousandth of a pixel is finer than any pen. */
function rounded(value) {
  return Math.round(value * 1000) / 1000;
}
