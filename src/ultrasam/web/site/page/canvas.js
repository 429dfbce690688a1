// Draws the picture with its objects, and turns the pointer into clicks, boxes, moves and zooms.

import { Gestures } from './gestures.js';
import { KeyboardPointer } from './keyboard_pointer.js';
import { outlineOf } from './outline.js';
import { boxBetween, canvasOf, isInside, paintClicks, strokeBox, strokePreview, strokeWithHalo, tint } from './painting.js';
import { maskOf } from './pictures.js';
import { View } from './view.js';
import { cropOf } from '../segmentation/regions.js';

/** The canvas; `on` holds click({x, y, label}), box([x0, y0, x1, y1]), hover(point or null), zoomed(). */
export class Canvas {
  constructor(element, on) {
    Object.assign(this, { element, on, picture: null, preview: null, hidden: false, table: null, box: null });
    Object.assign(this, { view: new View(), drawn: new WeakMap() });
    this.keyboard = new KeyboardPointer(this);
    new ResizeObserver(() => this.fit()).observe(element);
    this.gestures = new Gestures(element, this.view, {
      ready: () => Boolean(this.image),
      begin: () => {},
      drag: (press) => this.#drag(press),
      end: (press) => this.#end(press),
      cancel: () => this.#showBox(null),
      hover: () => {},
      rest: (point, event) => on.hover(point && isInside(point, this.image) ? { ...point, label: event.shiftKey ? 0 : 1 } : null),
      changed: () => this.#viewChanged(),
    });
  }

  get scale() {
    return this.view.scale;
  }

  get x() {
    return this.view.x;
  }

  get y() {
    return this.view.y;
  }

  set panning(panning) {
    this.gestures.panning = panning;
  }

  /** Show a frame of a picture: {data, width, height, channels}. */
  show(picture, image) {
    const resized = !this.image || this.image.width !== image.width || this.image.height !== image.height;
    const other = picture !== this.picture;
    Object.assign(this, { picture, image, preview: null, bitmap: canvasOf(image, this.table) });
    if (other) this.keyboard.leave();
    if (resized || other) this.fit();
    else this.draw();
  }

  /** Show gray levels as a table of 256 says, or as they are. */
  showLevels(table) {
    this.table = table;
    if (this.image) this.bitmap = canvasOf(this.image, table);
    this.draw();
  }

  fit() {
    const { clientWidth, clientHeight } = this.element;
    const ratio = window.devicePixelRatio || 1;
    this.element.width = Math.round(clientWidth * ratio);
    this.element.height = Math.round(clientHeight * ratio);
    if (!this.image) return;
    this.view.fit(this.image, this.element);
    this.#viewChanged();
  }

  #viewChanged() {
    this.on.zoomed(this.scale);
    this.draw();
  }

  /** Draw at the next frame of the screen, once. */
  draw() {
    this.request ??= requestAnimationFrame(() => {
      this.request = null;
      this.#draw();
    });
  }

  #draw() {
    const context = this.element.getContext('2d');
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.element.width, this.element.height);
    if (!this.image) return;
    this.view.apply(context, window.devicePixelRatio || 1);
    context.drawImage(this.bitmap, 0, 0);
    if (!this.hidden) {
      for (const object of this.picture.shown) {
        if (object.visible) this.#object(context, object, maskOf(object));
        if (object.visible && object.id === this.picture.active) this.#prompts(context, object);
      }
      if (this.preview) this.#preview(context, this.preview);
    }
    this.keyboard.draw(context);
    if (this.box) strokeBox(context, this.box, '#ffffff', { pixel: 1 / this.scale });
  }

  /** What a click here would give: of an object that has a mask, only the outline. */
  #preview(context, object) {
    if (!object.candidates.length) {
      this.#object(context, object, object.mask);
      return;
    }
    const shape = this.#shapeOf(object.mask, object.color);
    if (!shape) return;
    context.translate(shape.x, shape.y);
    strokePreview(context, shape.path, 1 / this.scale);
    context.translate(-shape.x, -shape.y);
  }

  /** A mask's tinted box, its outline, and where both begin: {x, y, fill, path}; null if the mask is empty. */
  #shapeOf(mask, color) {
    if (!this.drawn.has(mask)) {
      const crop = cropOf(mask, this.image.width);
      this.drawn.set(mask, crop && {
        x: crop.x,
        y: crop.y,
        fill: tint(crop.data, crop.width, crop.height, color),
        path: outlineOf(crop.data, crop.width, crop.height),
      });
    }
    return this.drawn.get(mask);
  }

  #object(context, object, mask) {
    const shape = mask && this.#shapeOf(mask, object.color);
    if (!shape) return;
    const active = object.id === this.picture.active;
    context.translate(shape.x, shape.y);
    context.globalAlpha = active ? 1 : 0.75;
    context.drawImage(shape.fill, 0, 0);
    const dash = object.accepted ? [] : [6, 4];
    strokeWithHalo(context, shape.path, object.color, { pixel: 1 / this.scale, width: active ? 2 : 1.5, halo: 3.5, dash });
    context.globalAlpha = 1;
    context.translate(-shape.x, -shape.y);
  }

  #prompts(context, { points, box, color }) {
    const pixel = 1 / this.scale;
    if (box) strokeBox(context, box, color, { pixel, dash: [2, 3] });
    paintClicks(context, points, pixel);
  }

  #drag({ moved, removes, start, point }) {
    if (moved && !removes) this.#showBox(boxBetween(start, point, this.image));
  }

  #end({ moved, removes, start }) {
    const { box } = this;
    this.#showBox(null);
    if (box && box[2] - box[0] >= 1 && box[3] - box[1] >= 1) this.on.box(box);
    else if (!moved && isInside(start, this.image)) this.on.click({ ...start, label: removes ? 0 : 1 });
  }

  #showBox(box) {
    this.box = box;
    this.draw();
  }
}
