// What has been opened and drawn: pictures, the objects of each frame, and the history of each picture.
//
// An object is a frozen record {id, frame, label, color, points, box, candidates, choice, visible, accepted}; a
// candidate is {mask, lowRes, iou}. Changes make new records, so that a step of the history is a list of objects.

import { colorOf } from './colors.js';

let count = 0;

export class Picture {
  constructor(scan) {
    Object.assign(this, { scan, id: ++count, frame: 0, active: null, made: 0 });
    this.steps = [{ name: 'Opened', objects: Object.freeze([]) }];
    this.at = 0;
    this.saved = this.steps[0];
  }

  get step() {
    return this.steps[this.at];
  }

  get objects() {
    return this.step.objects;
  }

  get shown() {
    return this.objects.filter(({ frame }) => frame === this.frame);
  }

  get activeObject() {
    return this.shown.find(({ id }) => id === this.active) ?? null;
  }

  get key() {
    return `${this.id}/${this.frame}`;
  }

  /** A new object of this frame, not yet part of the picture. */
  draft(label) {
    const number = this.made;
    return {
      id: `${this.id}-${number}`, frame: this.frame, label, color: colorOf(number), points: [], box: null,
      candidates: [], choice: 0, visible: true, accepted: false,
    };
  }

  /** Add or replace an object, as a step of the history. */
  put(object, name) {
    const known = this.objects.some(({ id }) => id === object.id);
    if (!known) this.made++;
    const objects = known
      ? this.objects.map((other) => (other.id === object.id ? object : other))
      : [...this.objects, object];
    this.#push(objects, name);
    this.active = object.id;
  }

  remove(id) {
    this.#push(this.objects.filter((object) => object.id !== id), 'Removed an object');
    if (this.active === id) this.active = null;
  }

  #push(objects, name) {
    this.steps = [...this.steps.slice(0, this.at + 1), { name, objects: Object.freeze(objects) }];
    this.at = this.steps.length - 1;
  }

  /** Go to a step of the history, by its number. */
  go(number) {
    if (number < 0 || number >= this.steps.length) return;
    this.at = number;
    if (!this.activeObject) this.active = this.shown.filter(({ accepted }) => !accepted).at(-1)?.id ?? null;
  }

  /** Objects with a mask, for saving: {name, width, height, frame, frames, spacing, objects} of each frame. */
  results() {
    const { name, width, height, frames, spacing } = this.scan;
    const numbers = [...new Set(this.objects.map(({ frame }) => frame))].sort((a, b) => a - b);
    return numbers.map((frame) => ({
      name, width, height, frame, frames, spacing,
      objects: this.objects
        .filter((object) => object.frame === frame && maskOf(object)?.includes(1))
        .map((object) => ({ ...object, mask: maskOf(object), iou: object.candidates[object.choice].iou })),
    })).filter(({ objects }) => objects.length);
  }
}

export function maskOf(object) {
  return object.candidates[object.choice]?.mask ?? null;
}

/** The prompt of an object with one more click or another box, as predictor.js takes it; its mask, if the model takes it. */
export function promptOf(object, accepts) {
  const several = object.points.length + (object.box ? 1 : 0) > 1;
  const mask = several && accepts.includes('mask') ? object.candidates[object.choice]?.lowRes ?? null : null;
  return { points: object.points, box: object.box, mask };
}
