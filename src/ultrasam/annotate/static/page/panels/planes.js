// The planes across the slices of a volume, beside the picture: one of a row of each slice, one of a column.

import { ask } from '../api.js';
import { loadBitmap, withLevels } from '../frame_images.js';
import { cropOf } from '../masks.js';
import { byId } from '/shared/page/elements.js';
import { outlineOf } from '/shared/page/outline.js';
import { strokeWithHalo, tint } from '/shared/page/painting.js';

const SHOWN = 'ultrasam.planes'; // whether this browser shows them
const CUTS = [
  { axis: 1, name: 'row', of: ({ y }) => y, put: (point, at) => ({ ...point, y: at }), across: ({ x }) => x, moved: (point, at) => ({ ...point, x: at }), count: ({ height }) => height },
  { axis: 2, name: 'column', of: ({ x }) => x, put: (point, at) => ({ ...point, x: at }), across: ({ y }) => y, moved: (point, at) => ({ ...point, y: at }), count: ({ width }) => width },
];

export class Planes {
  /** `on` holds to(frame), for a slice that a person chooses, and say(message). */
  constructor(session, stage, on) {
    Object.assign(this, { session, stage, on, image: null, point: null });
    this.views = CUTS.map((cut) => new Plane(cut, this));
    byId('canvas').addEventListener('pointerup', (event) => this.shown && event.button === 0 && this.cross(stage.view.at(event)));
    new ResizeObserver(() => this.draw()).observe(byId('planes'));
  }

  get possible() {
    return this.session.image?.kind === 'volume';
  }

  get shown() {
    return this.possible && localStorage[SHOWN] === 'yes';
  }

  toggle() {
    localStorage[SHOWN] = localStorage[SHOWN] === 'yes' ? 'no' : 'yes';
    for (const view of this.views) view.forget(); // what could not be loaded is asked for once more
    this.show();
  }

  /** Let the planes cross at a point of the picture. */
  cross({ x, y }) {
    const { width, height } = this.session.image;
    if (!(x >= 0 && y >= 0 && x < width && y < height)) return;
    this.point = { x: Math.floor(x), y: Math.floor(y) };
    this.show();
  }

  /** Show them as the image, its masks and the slice are now. */
  show() {
    const { image } = this.session;
    byId('planes-open').hidden = !this.possible;
    byId('planes-open').setAttribute('aria-expanded', this.shown);
    byId('planes').hidden = !this.shown;
    if (this.shown && image.id !== this.image) {
      this.image = image.id;
      this.point = { x: image.width >> 1, y: image.height >> 1 };
      for (const view of this.views) view.forget();
    }
    this.stage.cross = this.shown ? this.point : null;
    this.stage.draw();
    if (!this.shown) return;
    for (const view of this.views) view.load().catch((error) => this.on.say(error.message));
    this.draw();
  }

  draw() {
    if (this.shown && this.point) for (const view of this.views) view.draw();
  }

  /** What the masks of all slices are made of: planes are asked for anew when it changes. */
  get masks() {
    const versions = ({ id, color, frames }) => [id, color, ...Object.entries(frames ?? {}).map(([frame, { version }]) => `${frame}:${version}`)].join();
    return [...this.session.objects.values()].filter(({ local }) => !local).map(versions).join(';');
  }
}

class Plane {
  constructor(cut, planes) {
    Object.assign(this, { cut, planes, canvas: byId(`plane-of-${cut.name}`), slider: byId(`plane-${cut.name}`), value: byId(`plane-${cut.name}-value`) });
    this.forget();
    this.slider.addEventListener('input', () => {
      planes.point = cut.put(planes.point, Number(this.slider.value));
      planes.show();
    });
    this.canvas.addEventListener('pointerdown', (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      this.#choose(event);
    });
    this.canvas.addEventListener('pointermove', (event) => event.buttons && this.#choose(event));
  }

  forget() {
    Object.assign(this, { bitmap: null, about: null, key: '', maskKey: '', picture: null, failed: null });
  }

  /** Load what is not there: the picture, or only the masks. What could not be loaded is not asked for again here. */
  async load() {
    const { session, point, masks } = this.planes;
    const { image } = session;
    const place = `/images/${image.id}/planes/${this.cut.axis}/${this.cut.of(point)}`;
    const [key, maskKey] = [`${place}.png?v=${image.version ?? 0}`, place + masks];
    if (maskKey === this.maskKey || key === this.failed) return;
    if (key !== this.key) Object.assign(this, { key, picture: loadBitmap(key) });
    this.maskKey = maskKey;
    try {
      const [bitmap, about] = await Promise.all([this.picture, ask(place)]);
      if (maskKey !== this.maskKey) return; // another was asked for meanwhile
      const objects = about.objects.map((object) => ({ ...object, crop: cropOf(object.mask.mask) }));
      Object.assign(this, { bitmap, about: { ...about, objects } });
      this.draw();
    } catch (error) {
      if (key !== this.key) return;
      this.forget();
      this.failed = key;
      throw error;
    }
  }

  /** How a slice's distance looks against a pixel's, and how large a pixel is on the screen. */
  get #sizes() {
    const { clientWidth, clientHeight } = this.canvas;
    const { width, height } = this.bitmap;
    const [down, across] = this.about.spacing ?? [1, 1];
    const scale = Math.min(clientWidth / width, clientHeight / (height * (down / across)));
    return { x: scale, y: scale * (down / across), left: (clientWidth - width * scale) / 2, top: (clientHeight - height * scale * (down / across)) / 2 };
  }

  draw() {
    const { canvas, cut, bitmap, about } = this;
    const { point, session, stage } = this.planes;
    this.slider.max = cut.count(session.image) - 1;
    this.slider.value = cut.of(point);
    this.value.textContent = cut.of(point);
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(canvas.clientWidth * ratio);
    canvas.height = Math.round(canvas.clientHeight * ratio);
    if (!bitmap || !canvas.width) return;
    const context = canvas.getContext('2d');
    const { x, y, left, top } = this.#sizes;
    context.setTransform(ratio, 0, 0, ratio, left * ratio, top * ratio);
    context.drawImage(withLevels(bitmap, stage.table), 0, 0, bitmap.width * x, bitmap.height * y);
    for (const { id, crop, color } of stage.hidden ? [] : about.objects) {
      if (!crop || session.hidden.has(id)) continue;
      context.drawImage(tint(crop.data, crop.width, crop.height, color), crop.x * x, crop.y * y, crop.width * x, crop.height * y);
      const outline = new Path2D(); // scaled before it is stroked, so that it is as wide down as across
      outline.addPath(outlineOf(crop.data, crop.width, crop.height), new DOMMatrix([x, 0, 0, y, crop.x * x, crop.y * y]));
      strokeWithHalo(context, outline, color, { pixel: 1, width: 1.5, halo: 3 });
    }
    context.strokeStyle = getComputedStyle(canvas).caretColor; // as style.css gives it
    context.lineWidth = 1;
    context.setLineDash([4, 3]);
    const [at, slice] = [(cut.across(point) + 0.5) * x, (session.frame + 0.5) * y];
    for (const [from, to] of [[[at, 0], [at, bitmap.height * y]], [[0, slice], [bitmap.width * x, slice]]]) {
      context.beginPath();
      context.moveTo(...from);
      context.lineTo(...to);
      context.stroke();
    }
  }

  #choose({ offsetX, offsetY }) {
    if (!this.bitmap) return;
    const { planes, cut, bitmap } = this;
    const { x, y, left, top } = this.#sizes;
    const held = (value, count) => Math.min(Math.max(Math.floor(value), 0), count - 1);
    planes.point = cut.moved(planes.point, held((offsetX - left) / x, bitmap.width));
    planes.on.to(held((offsetY - top) / y, bitmap.height));
    planes.show();
  }
}
