// Clicks add to the object or remove from it, a drag is a box, and resting shows what a click would do.

import { boxBetween, isInside, strokeBox } from '/shared/page/painting.js';
import { post } from '../api.js';
import { cropOf } from '../masks.js';

export class PromptTool {
  constructor(stage, session) {
    Object.assign(this, { name: 'prompt', cursor: 'crosshair', stage, session, box: null, asked: 0, asking: null });
  }

  begin() {
    this.#forget();
  }

  drag({ moved, removes, start, point }) {
    if (moved && !removes) this.box = boxBetween(start, point, this.stage.image);
    this.stage.draw();
  }

  end({ moved, removes, start }) {
    const { box } = this;
    this.box = null;
    if (box && box[2] - box[0] >= 1 && box[3] - box[1] >= 1) this.#addBox(box);
    else if (!moved && isInside(start, this.stage.image)) this.tap(start, removes ? 0 : 1);
    this.stage.draw();
  }

  cancel() {
    this.box = null;
    this.stage.draw();
  }

  /** A click at a point. */
  tap(point, label) {
    const { session, stage } = this;
    const { target } = session;
    if (!target && !label) {
      session.on.say('There is nothing to remove from here; click on a structure first, or select an object.');
      return;
    }
    const known = this.shownAt(point, label);
    const points = [[point.x, point.y, label]];
    this.#forget();
    session.stroke('prompt', { prompt: { points, box: null } }, { crop: known?.crop, points: [{ ...point, label }] });
    stage.draw();
  }

  /** The preview of exactly this click, or null. */
  shownAt({ x, y }, label) {
    const { preview } = this.stage;
    return preview && preview.label === label && Math.hypot(preview.x - x, preview.y - y) * this.stage.scale < 1 ? preview : null;
  }

  #addBox(box) {
    const { session } = this;
    const { target } = session;
    // A box is a new object, unless it is drawn around the clicks of the one that is open here.
    const prompts = target?.mask?.prompts ?? [];
    const around = ([x, y]) => x >= box[0] && x <= box[2] && y >= box[1] && y <= box[3];
    const joins = target && !prompts.some((prompt) => prompt.box || prompt.points.some((point) => point[2] && !around(point)))
      && (prompts.length || !target.crop);
    this.#forget();
    session.stroke('prompt', { prompt: { points: [], box } }, { object: joins ? target : null });
  }

  hover() {}

  async rest(point, event) {
    const number = ++this.asked;
    const { session, stage } = this;
    const label = event?.shiftKey ? 0 : 1;
    const { target } = session;
    if (!point || session.queue.waiting || target?.local || (!target && !label) || !session.encoded) {
      this.#show(null);
      return;
    }
    this.asking?.abort();
    this.asking = new AbortController();
    try {
      const answer = await post(`/images/${session.image.id}/preview`, {
        frame: session.frame, object: target?.id ?? null, prompts: [{ points: [[point.x, point.y, label]], box: null }],
      }, { signal: this.asking.signal });
      const crop = number === this.asked ? cropOf(answer?.mask) : null;
      if (number === this.asked) this.#show(crop && { crop, x: point.x, y: point.y, label });
    } catch {
      if (number === this.asked) this.#show(null); // no loss: the click will say why
    }
    stage.draw();
  }

  #show(preview) {
    if (!preview && !this.stage.preview) return;
    this.stage.preview = preview;
    this.stage.draw();
  }

  #forget() {
    this.asked++;
    this.asking?.abort();
    this.stage.preview = null;
  }

  paint(context, pixel) {
    if (this.box) strokeBox(context, this.box, '#ffffff', { pixel });
  }

  leave() {
    this.#forget();
    this.box = null;
  }
}
