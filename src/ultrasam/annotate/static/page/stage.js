// The picture with its objects on a canvas, under a tool.

import { Gestures } from '/shared/page/gestures.js';
import { KeyboardPointer } from '/shared/page/keyboard_pointer.js';
import { outlineOf } from '/shared/page/outline.js';
import { isInside, paintClicks, strokeBox, strokePreview, strokeWithHalo, tint } from '/shared/page/painting.js';
import { View } from '/shared/page/view.js';
import { WHOLE, tableOf } from '/shared/page/gray_window.js';
import { withLevels } from './frame_images.js';
import { axesOf, paintMeasure, paintName } from './measures.js';

export class Stage {
  /** `on` holds zoomed(scale) and viewed(), after a person has moved the view. */
  constructor(element, session, on) {
    // What the keyboard's pointer asks for goes to the tool.
    this.on = { ...on, click: (point) => this.tool.tap(point, point.label), hover: (point) => this.tool.rest(point) };
    Object.assign(this, { element, session, view: new View(), image: null, tool: null, preview: null, playing: null });
    Object.assign(this, { fitted: true, hidden: false, names: true, window: WHOLE, table: null, shapes: new WeakMap(), crops: new WeakMap(), lastCrop: 0, layer: null, layerOf: '', changes: 0, cross: null });
    this.keyboard = new KeyboardPointer(this);
    new ResizeObserver(() => this.#resize()).observe(element);
    this.gestures = new Gestures(element, this.view, {
      ready: () => Boolean(this.image) && !this.playing,
      begin: (press) => this.tool.begin(press),
      drag: (press) => this.tool.drag(press),
      end: (press) => this.tool.end(press),
      cancel: () => this.tool?.cancel(),
      hover: (point, event) => this.tool.hover(point, event),
      rest: (point, event) => this.tool?.rest(point && isInside(point, this.image) ? point : null, event),
      changed: () => this.viewed(),
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

  /** Show a frame, whole if its size is another or `fits` is set. */
  show(bitmap, fits = false) {
    const resized = this.image?.width !== bitmap.width || this.image?.height !== bitmap.height;
    Object.assign(this, { image: bitmap, bitmap: withLevels(bitmap, this.table), preview: null });
    if (resized || fits) this.fit();
    else this.draw();
  }

  showLevels(window) {
    this.window = window;
    this.table = tableOf(window);
    if (this.image) this.bitmap = withLevels(this.image, this.table);
    this.draw();
  }

  /** Show the picture whole, and keep it so until a person moves or zooms it. */
  fit() {
    if (!this.image) return;
    this.view.fit(this.image, this.element);
    this.viewed();
    this.fitted = true;
  }

  /** Zoom about the middle. */
  zoom(factor) {
    if (!this.image) return;
    this.view.zoom(factor, this.element.clientWidth / 2, this.element.clientHeight / 2);
    this.viewed();
  }

  /** The view as {x, y, scale}: what lies in the middle, and how large. */
  get place() {
    const { x, y } = this.view.at({ offsetX: this.element.clientWidth / 2, offsetY: this.element.clientHeight / 2 });
    return { x, y, scale: this.scale };
  }

  set place({ x, y, scale }) {
    this.fitted = false;
    Object.assign(this.view, { scale, x: this.element.clientWidth / 2 - x * scale, y: this.element.clientHeight / 2 - y * scale });
    this.middle = { x, y, scale };
    this.on.zoomed(scale);
    this.changed();
  }

  /** A person has moved the view. */
  viewed() {
    this.fitted = false;
    this.middle = this.place;
    this.on.zoomed(this.scale);
    this.on.viewed();
    this.draw();
  }

  #resize() {
    const ratio = window.devicePixelRatio || 1;
    this.element.width = Math.round(this.element.clientWidth * ratio);
    this.element.height = Math.round(this.element.clientHeight * ratio);
    if (this.fitted) this.fit();
    else if (this.middle) this.place = this.middle; // what was in the middle stays there
  }

  useTool(tool) {
    this.tool?.leave();
    this.tool = tool;
    this.element.style.cursor = tool.cursor;
    this.draw();
  }

  /** Objects have changed: draw them anew. */
  changed() {
    this.changes++;
    this.draw();
  }

  draw() {
    this.request ??= requestAnimationFrame(() => {
      this.request = null;
      this.paint();
    });
  }

  paint() {
    const context = this.element.getContext('2d');
    const { width, height } = this.element;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, height);
    if (!this.image) return;
    const ratio = window.devicePixelRatio || 1;
    this.view.apply(context, ratio);
    context.drawImage(this.playing?.bitmap ?? this.bitmap, 0, 0);
    if (this.playing) {
      if (!this.hidden) for (const object of this.playing.objects) this.#object(context, object, false);
      return;
    }
    if (!this.hidden) {
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.drawImage(this.#others(ratio), 0, 0);
      this.view.apply(context, ratio);
      this.#active(context, ratio);
    }
    if (this.cross) this.#cross(context);
    this.tool?.paint(context, 1 / this.scale);
    this.keyboard.draw(context);
  }

  /** Where the planes across a volume meet the picture. */
  #cross(context) {
    const [x, y] = [this.cross.x + 0.5, this.cross.y + 0.5];
    context.beginPath();
    for (const [from, to] of [[[x, 0], [x, this.image.height]], [[0, y], [this.image.width, y]]]) {
      context.moveTo(...from);
      context.lineTo(...to);
    }
    context.strokeStyle = getComputedStyle(this.element).caretColor; // as style.css gives it
    context.lineWidth = 1 / this.scale;
    context.setLineDash([4 / this.scale, 3 / this.scale]);
    context.stroke();
    context.setLineDash([]);
  }

  /** All objects but the active one, on a layer that is kept while a tool moves. */
  #others(ratio) {
    const { width, height } = this.element;
    const view = [this.scale, this.x, this.y, width, height, this.names].join();
    const { active, hidden, others } = this.session;
    if (this.layerView === view && this.layerChanges === this.changes && this.layerActive === active) return this.layer;
    const objects = this.session.shown.filter(({ id, crop }) => id !== active && crop && !hidden.has(id));
    const of = [view, ...[...others, ...objects].map((object) => this.#signature(object))].join(';');
    Object.assign(this, { layerView: view, layerChanges: this.changes, layerActive: active });
    if (of === this.layerOf) return this.layer;
    this.layer = new OffscreenCanvas(Math.max(width, 1), Math.max(height, 1));
    const context = this.layer.getContext('2d');
    this.view.apply(context, ratio);
    for (const object of others) this.#object(context, object, false);
    for (const object of objects) this.#object(context, object, false);
    if (this.names) for (const object of [...others, ...objects]) paintName(context, object, this.view, ratio);
    this.layerOf = of;
    return this.layer;
  }

  /** What the picture shows of an object that is not the active one. */
  #signature({ id, number, label, color, crop, mask, other, by }) {
    if (!this.crops.has(crop)) this.crops.set(crop, ++this.lastCrop);
    return [id, number, label, color, this.crops.get(crop), mask?.state, mask?.source, other, by].join();
  }

  #active(context, ratio) {
    const object = this.session.activeObject;
    const pixel = 1 / this.scale;
    if (object && !this.session.hidden.has(object.id)) {
      if (object.crop) this.#object(context, object, true);
      this.#prompts(context, object, pixel);
      const axes = object.crop && !object.local && axesOf(object);
      if (axes && this.names) paintMeasure(context, object, axes, this.view, ratio);
      else if (object.crop && this.names) paintName(context, object, this.view, ratio);
    }
    if (this.preview) this.#preview(context, object, pixel);
  }

  #preview(context, object, pixel) {
    const { crop } = this.preview;
    if (!object?.crop || !this.session.target) {
      this.#object(context, { crop, color: '#ffffff', mask: { state: 'draft', source: 'preview' } }, false);
      return;
    }
    context.translate(crop.x, crop.y);
    strokePreview(context, this.#shapeOf(crop, '#ffffff').path, pixel);
    context.translate(-crop.x, -crop.y);
  }

  #prompts(context, { mask, points, color }, pixel) {
    for (const { points: clicks, box } of mask?.prompts ?? []) {
      if (box) strokeBox(context, box, color, { pixel, dash: [2, 3] });
      paintClicks(context, (clicks ?? []).map(([x, y, label]) => ({ x, y, label })), pixel);
    }
    if (points) paintClicks(context, points, pixel);
  }

  #shapeOf(crop, color) {
    const known = this.shapes.get(crop);
    if (known?.color === color) return known;
    const { data, width, height } = crop;
    const shape = { color, fill: tint(data, width, height, color), path: known?.path ?? outlineOf(data, width, height) };
    this.shapes.set(crop, shape);
    return shape;
  }

  #object(context, { crop, color, mask, other }, active) {
    const { fill, path } = this.#shapeOf(crop, color);
    const pixel = 1 / this.scale;
    context.translate(crop.x, crop.y);
    context.globalAlpha = active ? 1 : 0.8;
    if (!other) context.drawImage(fill, 0, 0);
    strokeWithHalo(context, path, color, { pixel, width: active ? 2 : 1.5, halo: 3.5, dash: other ? [1, 3] : dashOf(mask) });
    context.globalAlpha = 1;
    context.translate(-crop.x, -crop.y);
  }
}

/** What the machine made is dashed until it is accepted; what was drawn by hand is solid. */
function dashOf(mask) {
  return !mask || mask.state === 'accepted' || mask.source === 'hand' ? [] : [6, 4];
}
