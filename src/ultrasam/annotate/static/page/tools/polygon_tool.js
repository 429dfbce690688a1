// Draws a polygon corner by corner, or edits the outline of the object that is open by its corners.

import { strokeWithHalo } from '/shared/page/painting.js';
import { contoursOf, distanceTo, simplified } from '../contours.js';
import { filled, wireOf } from '../masks.js';

const NEAR = 8; // pixels of the screen within which a corner or an edge is meant
const TOLERANCE = 1.25; // picture pixels that a simplified outline may be off: more than the steps of a slanted edge

export class PolygonTool {
  constructor(stage, session) {
    Object.assign(this, { name: 'polygon', cursor: 'crosshair', stage, session, corners: [], at: null, held: null, edited: null });
  }

  /** The contours that are edited: all of the open object's, simplified. */
  get contours() {
    const { target } = this.session;
    if (this.corners.length || !target?.crop) return [];
    if (this.edited?.crop !== target.crop) {
      const all = contoursOf(target.crop).map((contour) => simplified(contour, TOLERANCE));
      this.edited = { crop: target.crop, contours: all };
    }
    return this.edited.contours;
  }

  begin({ start, removes }) {
    this.held = removes ? null : this.#cornerAt(start) ?? this.#insertedAt(start);
  }

  drag({ point, moved }) {
    this.at = point;
    if (this.held && moved) this.held.contour[this.held.index] = [point.x, point.y];
    this.stage.draw();
  }

  end({ start, point, removes, moved }) {
    const { held } = this;
    this.held = null;
    if (held) {
      if (moved || held.inserted) this.#replace();
    } else if (removes) {
      this.#removeAt(start);
    } else {
      this.tap(moved ? point : start, 1);
    }
    this.stage.draw();
  }

  cancel() {
    this.held = this.edited = null;
    this.stage.draw();
  }

  /** Put a corner, or close the polygon at its first one. */
  tap({ x, y }, label) {
    if (!label) {
      this.corners.pop();
    } else if (this.corners.length > 2 && this.#near([x, y], this.corners[0])) {
      this.close();
    } else if (!this.contours.length || this.corners.length) {
      this.corners.push([x, y]);
    } else {
      this.session.on.say('This object is edited by its corners; drag one, or press N and draw another object.');
    }
    this.stage.draw();
  }

  /** Make an object of the corners; false if they are too few. */
  close() {
    if (this.corners.length < 3) return false;
    const points = this.corners;
    this.corners = [];
    this.session.stroke('polygon', { points, mode: 'replace' }, { crop: filled([points], this.stage.image) });
    this.stage.draw();
    return true;
  }

  /** Drop the corners that were put; false if there are none. */
  escape() {
    const any = this.corners.length > 0;
    this.corners = [];
    this.stage.draw();
    return any;
  }

  #near([x, y], [otherX, otherY]) {
    return Math.hypot(x - otherX, y - otherY) * this.stage.scale <= NEAR;
  }

  #cornerAt({ x, y }) {
    for (const contour of this.contours) {
      const index = contour.findIndex((corner) => this.#near([x, y], corner));
      if (index >= 0) return { contour, index, inserted: false };
    }
    return null;
  }

  /** A new corner on the edge under a point, or null. */
  #insertedAt({ x, y }) {
    for (const contour of this.contours) {
      const index = contour.findIndex((corner, i) =>
        distanceTo([x, y], corner, contour[(i + 1) % contour.length]) * this.stage.scale <= NEAR);
      if (index < 0) continue;
      contour.splice(index + 1, 0, [x, y]);
      return { contour, index: index + 1, inserted: true };
    }
    return null;
  }

  #removeAt(point) {
    if (this.corners.length) {
      this.corners.pop();
      return;
    }
    const found = this.#cornerAt(point);
    if (!found) return;
    if (found.contour.length > 3) found.contour.splice(found.index, 1);
    else this.edited.contours.splice(this.edited.contours.indexOf(found.contour), 1);
    this.#replace();
  }

  #replace() {
    const { session, stage } = this;
    const { contours } = this.edited;
    const crop = filled(contours, stage.image);
    const [only] = contours;
    // The wire's polygon has one contour; several, or holes, travel as the mask that they enclose.
    if (contours.length === 1) session.stroke('polygon', { points: only, mode: 'replace' }, { crop });
    else session.stroke('mask', { mask: wireOf(crop) }, { crop });
    this.edited = { crop, contours };
  }

  hover(point) {
    this.at = point;
    if (this.corners.length) this.stage.draw();
  }

  rest() {}

  paint(context, pixel) {
    const path = new Path2D();
    const { corners, at } = this;
    if (corners.length) {
      path.moveTo(...corners[0]);
      for (const corner of corners.slice(1)) path.lineTo(...corner);
      if (at) path.lineTo(at.x, at.y);
    }
    for (const contour of this.contours) {
      path.moveTo(...contour[0]);
      for (const corner of contour.slice(1)) path.lineTo(...corner);
      path.closePath();
    }
    strokeWithHalo(context, path, '#ffffff', { pixel, width: 1, halo: 2.5 });
    for (const [x, y] of [...corners, ...this.contours.flat()]) {
      context.fillStyle = '#000000';
      context.fillRect(x - 3.5 * pixel, y - 3.5 * pixel, 7 * pixel, 7 * pixel);
      context.fillStyle = '#ffffff';
      context.fillRect(x - 2.5 * pixel, y - 2.5 * pixel, 5 * pixel, 5 * pixel);
    }
  }

  leave() {
    this.corners = [];
    this.held = this.edited = this.at = null;
  }
}
