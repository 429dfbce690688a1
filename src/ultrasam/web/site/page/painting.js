// Paints pictures, masks and prompts. A context draws in the picture's pixels; `pixel` is one of the screen's in them.

import { channelsOf } from './colors.js';

const FILL = 0.18;
const HALO = 'rgb(0 0 0 / .6)';

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
  if (table) mapLevels(pixels, table);
  canvas.getContext('2d').putImageData(pixels, 0, 0);
  return canvas;
}

/** Show the gray levels of ImageData as a table of 256 says. */
export function mapLevels({ data }, table) {
  for (let i = 0; i < data.length; i += 4) {
    data[i] = table[data[i]];
    data[i + 1] = table[data[i + 1]];
    data[i + 2] = table[data[i + 2]];
  }
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

/** Stroke a path in a color on a darker halo; `dash` in pixels of the screen. */
export function strokeWithHalo(context, path, color, { pixel, width = 1.5, halo = width + 2, dash = [] }) {
  context.lineWidth = halo * pixel;
  context.strokeStyle = HALO;
  context.setLineDash([]);
  context.stroke(path);
  context.lineWidth = width * pixel;
  context.strokeStyle = color;
  context.setLineDash(dash.map((length) => length * pixel));
  context.stroke(path);
  context.setLineDash([]);
}

/** The outline of what a click would give: dotted, and white. */
export function strokePreview(context, path, pixel) {
  for (const [style, width] of [[HALO, 2.5], ['#ffffff', 1]]) {
    context.strokeStyle = style;
    context.lineWidth = width * pixel;
    context.setLineDash([2 * pixel, 4 * pixel]);
    context.stroke(path);
  }
  context.setLineDash([]);
}

/** A rectangle [x0, y0, x1, y1] on a halo. */
export function strokeBox(context, [x0, y0, x1, y1], color, { pixel, dash = [] }) {
  for (const [style, width] of [[HALO, 3], [color, 1.25]]) {
    context.strokeStyle = style;
    context.lineWidth = width * pixel;
    context.setLineDash(dash.map((length) => length * pixel));
    context.strokeRect(x0, y0, x1 - x0, y1 - y0);
  }
  context.setLineDash([]);
}

/** Clicks {x, y, label} as disks with a plus or a minus. */
export function paintClicks(context, points, pixel) {
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

/** The box [x0, y0, x1, y1] between two points, held inside a picture. */
export function boxBetween(a, b, { width, height }) {
  const held = (value, most) => Math.min(Math.max(value, 0), most);
  const [xs, ys] = [[a.x, b.x].map((v) => held(v, width)), [a.y, b.y].map((v) => held(v, height))];
  return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
}

/** Whether a point lies in a picture. */
export function isInside({ x, y }, { width, height }) {
  return x >= 0 && y >= 0 && x <= width && y <= height;
}
