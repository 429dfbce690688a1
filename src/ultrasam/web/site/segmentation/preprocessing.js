// Pixels and prompts as the network takes them, as ultrasam.model.preprocessing.

import { resizeArea, resizeLinear } from './resize.js';
import { clip } from './rounding.js';

export const LABEL = Object.freeze({
  unused: -2, notAPoint: -1, background: 0, foreground: 1, topLeft: 2, bottomRight: 3,
});

const RESAMPLERS = { area: averageOrEnlarge, bilinear: resizeLinear };

/**
 * Check that this page can do what a model's preprocessing says.
 *
 * Throws an Error that says what is not supported.
 */
export function checkPreprocessing(settings) {
  if (!(settings.resample in RESAMPLERS)) {
    throw new Error(`This page cannot resample by '${settings.resample}'; use the Python package.`);
  }
  if (!['mean-std', 'min-max'].includes(settings.scale)) {
    throw new Error(`This page cannot scale pixels by '${settings.scale}'; use the Python package.`);
  }
}

function averageOrEnlarge(image, width, height) {
  const shrinking = width < image.width || height < image.height;
  return (shrinking ? resizeArea : resizeLinear)(image, width, height);
}

/** [H, W] luminance (ITU-R BT.601) of a picture of three channels. */
export function gray(image) {
  if (image.channels === 1) return image;
  const { data, width, height } = image;
  const out = new Uint8Array(width * height);
  for (let i = 0, j = 0; i < out.length; i++, j += 3) {
    const [r, g, b] = [data[j], data[j + 1], data[j + 2]];
    out[i] = r === g && g === b ? r : roundEven(0.299 * r + 0.587 * g + 0.114 * b);
  }
  return { data: out, width, height, channels: 1 };
}

function roundEven(value) {
  const down = Math.floor(value);
  const rest = value - down;
  if (rest === 0.5) return down + (down % 2);
  return rest < 0.5 ? down : down + 1;
}

/** The network's input [3, S, S] of a view of a picture. */
export function pixelsOf(image, view, settings) {
  const { height, width } = view.resized;
  const small = RESAMPLERS[settings.resample](view.crop(image), width, height);
  const size = view.size;
  const out = new Float32Array(3 * size * size);
  const normalize = normalizer(small.data, settings);
  for (let c = 0; c < 3; c++) {
    const from = small.channels === 1 ? 0 : c;
    for (let y = 0; y < height; y++) {
      const row = (c * size + y) * size;
      for (let x = 0; x < width; x++) {
        out[row + x] = normalize(small.data[(y * width + x) * small.channels + from], c);
      }
    }
  }
  return out;
}

function normalizer(values, { scale, mean, std }) {
  if (scale === 'min-max') {
    const low = values.reduce((a, b) => Math.min(a, b), 255);
    const high = values.reduce((a, b) => Math.max(a, b), 0);
    const range = Math.max(high - low, 1e-8);
    return (value) => (value - low) / range;
  }
  const [center, width] = [Float32Array.from(mean), Float32Array.from(std)];
  return (value, channel) => Math.fround(value - center[channel]) / width[channel];
}

/**
 * One prompt in model pixels of a view: {coords, labels}, both Float32Array.
 *
 * Clicks outside the view are unused, and boxes are clipped to it.
 */
export function promptArrays(prompt, view) {
  const coords = [];
  const labels = [];
  for (const { x, y, label } of prompt.points) {
    const [mx, my] = view.pointToModel([x, y]);
    const inside = mx >= 0 && my >= 0 && mx <= view.size && my <= view.size;
    coords.push(mx, my);
    labels.push(inside ? label : LABEL.unused);
  }
  if (prompt.box) {
    coords.push(...view.boxToModel(prompt.box).map((v) => clip(v, 0, view.size)));
    labels.push(LABEL.topLeft, LABEL.bottomRight);
  } else {
    coords.push(0, 0);
    labels.push(LABEL.notAPoint);
  }
  return { coords: Float32Array.from(coords), labels: Float32Array.from(labels) };
}

/** Arrays of several prompts, padded with unused points to the longest. */
export function concatenate(parts) {
  const slots = Math.max(...parts.map((part) => part.labels.length));
  const coords = new Float32Array(parts.length * slots * 2);
  const labels = new Float32Array(parts.length * slots).fill(LABEL.unused);
  parts.forEach((part, i) => {
    coords.set(part.coords, i * slots * 2);
    labels.set(part.labels, i * slots);
  });
  return { coords, labels, slots };
}
