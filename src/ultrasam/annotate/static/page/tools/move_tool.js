// Selects objects by clicking on them, and moves the picture.

import { holds } from '../masks.js';

export class MoveTool {
  constructor(stage, session) {
    Object.assign(this, { name: 'move', cursor: 'default', stage, session, last: null });
  }

  begin(press) {
    this.last = press.from && { x: press.from.x, y: press.from.y };
  }

  drag({ event, moved }) {
    if (!this.last || !moved) return;
    const rect = this.stage.element.getBoundingClientRect();
    const place = { x: event.clientX - rect.left, y: event.clientY - rect.top };
    this.stage.view.pan(place.x - this.last.x, place.y - this.last.y);
    this.last = place;
    this.stage.viewed();
  }

  end({ moved, start }) {
    this.last = null;
    if (!moved) this.tap(start);
  }

  cancel() {
    this.last = null;
  }

  /** Select the object under a point; the next one there, if one is selected already. */
  tap(point) {
    const { session } = this;
    const here = session.shown.filter(({ crop, id }) => crop && !session.hidden.has(id) && holds(crop, point)).reverse();
    const at = here.findIndex(({ id }) => id === session.active);
    session.active = session.reopened = here.length ? here[(at + 1) % here.length].id : null;
    session.on.changed();
  }

  hover() {}

  rest() {}

  paint() {}

  leave() {
    this.last = null;
  }
}
