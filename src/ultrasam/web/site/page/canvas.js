// Draws the picture with its objects, and turns the pointer into clicks, boxes, moves and zooms.

import { channelsOf } from './colors.js';
import { KeyboardPointer } from './keyboard_pointer.js';
import { outlineOf } from './outline.js';
import { maskOf } from './pictures.js';

const FILL = 0.18;
const DRAG = 4; // pixels of the screen by which a press becomes a box
const REST = 25; // milliseconds that the pointer rests before a preview

/** The canvas; `on` holds click({x, y, label}), box([x0, y0, x1, y1]), hover(point or null), zoomed(). */
export class Canvas {
  constructor(element, on) {
    Object.assign(this, { element, on, picture: null, preview: null, hidden: false, table: null });
    Object.assign(this, { scale: 1, x: 0, y: 0, press: null, panning: false, drawn: new WeakMap(), pointers: new Map() });
    this.keyboard = new KeyboardPointer(this);
    new ResizeObserver(() => this.fit()).observe(element);
    element.addEventListener('pointerdown', (event) => this.#down(event));
    element.addEventListener('pointermove', (event) => this.#move(event));
    element.addEventListener('pointerup', (event) => this.#up(event));
    element.addEventListener('pointercancel', () => this.#cancel());
    element.addEventListener('pointerleave', () => this.#leave());
    element.addEventListener('wheel', (event) => this.#wheel(event), { passive: false });
    element.addEventListener('contextmenu', (event) => event.preventDefault());
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
    if (this.image) {
      const { width, height } = this.image;
      this.scale = Math.min((clientWidth - 16) / width, (clientHeight - 16) / height);
      this.x = (clientWidth - width * this.scale) / 2;
      this.y = (clientHeight - height * this.scale) / 2;
      this.on.zoomed(this.scale);
    }
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
    const ratio = window.devicePixelRatio || 1;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.element.width, this.element.height);
    if (!this.image) return;
    context.setTransform(this.scale * ratio, 0, 0, this.scale * ratio, this.x * ratio, this.y * ratio);
    context.imageSmoothingEnabled = this.scale < 3;
    context.drawImage(this.bitmap, 0, 0);
    if (!this.hidden) {
      for (const object of this.picture.shown) {
        if (object.visible) this.#object(context, object, maskOf(object));
        if (object.visible && object.id === this.picture.active) this.#prompts(context, object);
      }
      if (this.preview) this.#preview(context, this.preview);
    }
    this.keyboard.draw(context);
    if (this.press?.box) this.#rectangle(context, this.press.box, '#ffffff', []);
  }

  /** What a click here would give: of an object that has a mask, only the outline. */
  #preview(context, object) {
    if (!object.candidates.length) {
      this.#object(context, object, object.mask);
      return;
    }
    const { path } = this.#shapeOf(object.mask, object.color);
    const pixel = 1 / this.scale;
    for (const [style, width] of [['rgb(0 0 0 / .6)', 2.5], ['#ffffff', 1]]) {
      context.strokeStyle = style;
      context.lineWidth = width * pixel;
      context.setLineDash([2 * pixel, 4 * pixel]);
      context.stroke(path);
    }
    context.setLineDash([]);
  }

  #shapeOf(mask, color) {
    const { width, height } = this.image;
    if (!this.drawn.has(mask)) {
      this.drawn.set(mask, { fill: tint(mask, width, height, color), path: outlineOf(mask, width, height) });
    }
    return this.drawn.get(mask);
  }

  #object(context, object, mask) {
    if (!mask) return;
    const { fill, path } = this.#shapeOf(mask, object.color);
    const active = object.id === this.picture.active;
    context.globalAlpha = active ? 1 : 0.75;
    context.drawImage(fill, 0, 0);
    const pixel = 1 / this.scale;
    context.lineWidth = 3.5 * pixel;
    context.strokeStyle = 'rgb(0 0 0 / .6)';
    context.stroke(path);
    context.lineWidth = (active ? 2 : 1.5) * pixel;
    context.strokeStyle = object.color;
    context.setLineDash(object.accepted ? [] : [6 * pixel, 4 * pixel]);
    context.stroke(path);
    context.setLineDash([]);
    context.globalAlpha = 1;
  }

  #prompts(context, { points, box, color }) {
    if (box) this.#rectangle(context, box, color, [2, 3]);
    const pixel = 1 / this.scale;
    for (const { x, y, label } of points) {
      context.beginPath();
      context.arc(x, y, 4.5 * pixel, 0, 2 * Math.PI);
      context.fillStyle = label ? '#ffffff' : '#d00000';
      context.fill();
      context.lineWidth = 1.5 * pixel;
      context.strokeStyle = '#000000';
      context.stroke();
      context.beginPath();
      context.moveTo(x - 2.5 * pixel, y);
      context.lineTo(x + 2.5 * pixel, y);
      if (label) {
        context.moveTo(x, y - 2.5 * pixel);
        context.lineTo(x, y + 2.5 * pixel);
      }
      context.strokeStyle = label ? '#000000' : '#ffffff';
      context.stroke();
    }
  }

  #rectangle(context, [x0, y0, x1, y1], color, dash) {
    const pixel = 1 / this.scale;
    for (const [style, width] of [['rgb(0 0 0 / .6)', 3], [color, 1.25]]) {
      context.strokeStyle = style;
      context.lineWidth = width * pixel;
      context.setLineDash(dash.map((length) => length * pixel));
      context.strokeRect(x0, y0, x1 - x0, y1 - y0);
    }
    context.setLineDash([]);
  }

  #at({ offsetX, offsetY }) {
    return { x: (offsetX - this.x) / this.scale, y: (offsetY - this.y) / this.scale };
  }

  #inside({ x, y }) {
    return x >= 0 && y >= 0 && x <= this.image.width && y <= this.image.height;
  }

  #down(event) {
    if (!this.image) return;
    this.element.focus();
    this.element.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
    const pans = this.panning || event.button === 1 || event.pointerType === 'touch';
    const removes = event.button === 2 || event.shiftKey;
    const start = this.#at(event);
    this.press = { pans, removes, start, from: { x: event.offsetX, y: event.offsetY }, moved: false, box: null };
    this.#rest(null);
  }

  #move(event) {
    if (!this.image) return;
    const known = this.pointers.get(event.pointerId);
    if (!known) {
      const point = this.#at(event);
      this.#rest(this.#inside(point) ? { ...point, label: event.shiftKey ? 0 : 1 } : null);
      return;
    }
    const step = { x: event.offsetX - known.x, y: event.offsetY - known.y };
    if (this.pointers.size === 2) this.#pinch(event);
    Object.assign(known, { x: event.offsetX, y: event.offsetY });
    const { press } = this;
    const { x, y } = press.from;
    press.moved ||= Math.hypot(event.offsetX - x, event.offsetY - y) >= DRAG;
    if (!press.moved) return;
    if (press.pans) {
      this.x += step.x;
      this.y += step.y;
    } else if (!press.removes) {
      press.box = this.#box(press.start, this.#at(event));
    }
    this.draw();
  }

  #pinch(event) {
    const [a, b] = [...this.pointers.entries()].map(([id, place]) =>
      ({ id, before: place, after: id === event.pointerId ? { x: event.offsetX, y: event.offsetY } : place }));
    const distance = (place) => Math.hypot(a[place].x - b[place].x, a[place].y - b[place].y);
    if (distance('before')) this.#zoom(distance('after') / distance('before'), (a.after.x + b.after.x) / 2, (a.after.y + b.after.y) / 2);
  }

  #box(a, b) {
    const { width, height } = this.image;
    const held = (value, most) => Math.min(Math.max(value, 0), most);
    const [xs, ys] = [[a.x, b.x].map((v) => held(v, width)), [a.y, b.y].map((v) => held(v, height))];
    return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
  }

  #up(event) {
    const { press } = this;
    this.pointers.delete(event.pointerId);
    if (!press || this.pointers.size) return;
    this.press = null;
    if (press.box && press.box[2] - press.box[0] >= 1 && press.box[3] - press.box[1] >= 1) this.on.box(press.box);
    else if (!press.moved && !this.panning && this.#inside(press.start)) {
      this.on.click({ ...press.start, label: press.removes ? 0 : 1 });
    }
    this.draw();
  }

  #cancel() {
    this.pointers.clear();
    this.press = null;
    this.draw();
  }

  #leave() {
    if (!this.pointers.size) this.#rest(null);
  }

  #rest(point) {
    clearTimeout(this.resting);
    if (point) this.resting = setTimeout(() => this.on.hover(point), REST);
    else this.on.hover(null);
  }

  #wheel(event) {
    event.preventDefault();
    if (this.image) this.#zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), event.offsetX, event.offsetY);
  }

  #zoom(factor, x, y) {
    const scale = Math.min(Math.max(this.scale * factor, 0.05), 40);
    this.x = x - ((x - this.x) * scale) / this.scale;
    this.y = y - ((y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.on.zoomed(scale);
    this.draw();
  }
}

/** A canvas with a frame's pixels, shown as a table of 256 gray levels says, if one is given. */
export function canvasOf({ data, width, height, channels }, table = null) {
  const canvas = new OffscreenCanvas(width, height);
  const pixels = new ImageData(width, height);
  for (let i = 0, j = 0; j < data.length; i += 4, j += channels) {
    pixels.data[i] = data[j];
    pixels.data[i + 1] = data[j + (channels > 1)];
    pixels.data[i + 2] = data[j + (channels > 1) * 2];
    pixels.data[i + 3] = 255;
  }
  if (table) for (let i = 0; i < pixels.data.length; i++) if (i % 4 < 3) pixels.data[i] = table[pixels.data[i]];
  canvas.getContext('2d').putImageData(pixels, 0, 0);
  return canvas;
}

/** A canvas with a mask's area in its color. */
export function tint(mask, width, height, color) {
  const canvas = new OffscreenCanvas(width, height);
  const pixels = new ImageData(width, height);
  const words = new Uint32Array(pixels.data.buffer);
  const [word] = new Uint32Array(Uint8Array.of(...channelsOf(color), Math.round(FILL * 255)).buffer);
  for (let i = 0; i < mask.length; i++) if (mask[i]) words[i] = word;
  canvas.getContext('2d').putImageData(pixels, 0, 0);
  return canvas;
}
