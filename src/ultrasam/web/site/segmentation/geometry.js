// The map between a rectangle of a picture and the network's square input, as ultrasam.geometry.
//
// Coordinates are (x, y); the origin is the top-left corner of the top-left pixel.

import { resizeArea, resizeLinear } from './resize.js';
import { clip, roundHalfEven } from './rounding.js';

const OUTSIDE = -32; // logit where a view does not reach

/**
 * A view of a picture: all of it, or a square around an object; `flipped` mirrors it left to right.
 *
 * Without `stretch`, its longer side fills the input, which is padded at the bottom and right.
 */
export class View {
  constructor({ height, width, size, left, top, right, bottom, flipped = false, stretch = false }) {
    Object.assign(this, { height, width, size, left, top, right, bottom, flipped, stretch });
    Object.freeze(this);
  }

  static full(height, width, { size, stretch = false }) {
    return new View({ height, width, size, left: 0, top: 0, right: width, bottom: height, stretch });
  }

  /** A square view around a box; its side is `margin` times the box's longer side. */
  cropAround([x0, y0, x1, y1], margin) {
    const longer = Math.max(this.height, this.width);
    const wanted = roundHalfEven(Math.max(x1 - x0, y1 - y0) * margin);
    const side = clip(wanted, Math.min(16, longer), longer);
    const left = fitStart((x0 + x1) / 2 - side / 2, side, this.width);
    const top = fitStart((y0 + y1) / 2 - side / 2, side, this.height);
    return new View({ ...this, left, top, right: left + side, bottom: top + side, flipped: false });
  }

  hflip() {
    return new View({ ...this, flipped: !this.flipped });
  }

  /** A text that is equal for equal views. */
  get key() {
    return [this.left, this.top, this.right, this.bottom, this.flipped].join(',');
  }

  get scale() {
    return this.size / Math.max(this.right - this.left, this.bottom - this.top);
  }

  /** Size of the view in model pixels, without padding. */
  get resized() {
    if (this.stretch) return { height: this.size, width: this.size };
    return {
      height: Math.max(1, Math.floor((this.bottom - this.top) * this.scale + 0.5)),
      width: Math.max(1, Math.floor((this.right - this.left) * this.scale + 0.5)),
    };
  }

  pointToModel([x, y]) {
    const { height, width } = this.resized;
    const across = this.right - this.left;
    const within = this.flipped ? across - (x - this.left) : x - this.left;
    return [(within * width) / across, ((y - this.top) * height) / (this.bottom - this.top)];
  }

  boxToModel([x0, y0, x1, y1]) {
    const [ax, ay] = this.pointToModel([x0, y0]);
    const [bx, by] = this.pointToModel([x1, y1]);
    return this.flipped ? [bx, ay, ax, by] : [ax, ay, bx, by];
  }

  /** The view's part of a picture, in its pixels; mirrored if the view is, `fill` outside. */
  crop(image, fill = 0) {
    const { data, channels } = image;
    const width = this.right - this.left;
    const height = this.bottom - this.top;
    if (!this.flipped && width === image.width && height === image.height && !this.left && !this.top) {
      return image;
    }
    const out = new data.constructor(width * height * channels).fill(fill);
    for (let y = 0; y < height; y++) {
      const row = y + this.top;
      if (row < 0 || row >= image.height) continue;
      for (let x = 0; x < width; x++) {
        const column = this.left + (this.flipped ? width - 1 - x : x);
        if (column < 0 || column >= image.width) continue;
        const from = (row * image.width + column) * channels;
        const to = (y * width + x) * channels;
        for (let c = 0; c < channels; c++) out[to + c] = data[from + c];
      }
    }
    return { data: out, width, height, channels };
  }

  /** Low-res logits (side × side) of the whole input, at the picture's pixels. */
  logitsToPicture(logits, side) {
    const square = resizeLinear(plane(logits, side, side), this.size, this.size);
    const { height, width } = this.resized;
    const kept = { ...square, data: topLeft(square.data, this.size, width, height), width, height };
    const shape = [this.right - this.left, this.bottom - this.top];
    const view = resizeLinear(kept, ...shape);
    const whole = shape[0] === this.width && shape[1] === this.height && !this.left && !this.top;
    if (whole && !this.flipped) return view.data;
    const out = new Float32Array(this.width * this.height).fill(OUTSIDE);
    for (let y = Math.max(this.top, 0); y < Math.min(this.bottom, this.height); y++) {
      const row = (y - this.top) * shape[0];
      for (let x = Math.max(this.left, 0); x < Math.min(this.right, this.width); x++) {
        const column = this.flipped ? this.right - 1 - x : x - this.left;
        out[y * this.width + x] = view.data[row + column];
      }
    }
    return out;
  }

  /** Logits at the picture's pixels as a mask prompt (side × side) of the input. */
  logitsToModel(logits, side) {
    const view = this.crop(plane(logits, this.width, this.height), OUTSIDE);
    const resized = this.resized;
    const height = Math.max(1, roundHalfEven((resized.height * side) / this.size));
    const width = Math.max(1, roundHalfEven((resized.width * side) / this.size));
    const resize = height < view.height ? resizeArea : resizeLinear;
    const small = resize(view, width, height);
    const out = new Float32Array(side * side).fill(OUTSIDE);
    for (let y = 0; y < height; y++) {
      out.set(small.data.subarray(y * width, (y + 1) * width), y * side);
    }
    return out;
  }
}

export function plane(data, width, height) {
  return { data, width, height, channels: 1 };
}

function topLeft(data, stride, width, height) {
  if (width === stride) return data.subarray(0, width * height);
  const out = new Float32Array(width * height);
  for (let y = 0; y < height; y++) out.set(data.subarray(y * stride, y * stride + width), y * width);
  return out;
}

/** The first pixel of a view of `side` pixels: shifted inside `length`, or centered if longer. */
function fitStart(start, side, length) {
  if (side >= length) return -Math.floor((side - length) / 2);
  return clip(roundHalfEven(start), 0, length - side);
}
