// Removes from a mask what cannot belong to the prompted object, as ultrasam.inference.postprocessing.

import { maskOf } from './masks.js';
import { LABEL } from './preprocessing.js';
import { convexHull, cropOf, dilate, erode, fillHoles, largestPiece, pieces } from './regions.js';
import { clip } from './rounding.js';

const BLACK = 6; // up to this gray value a pixel may be black that JPEG has changed
const MIN_AROUND = 0.02; // share of the picture that must be black around the scan

/** Where a picture shows a scan, or null if hardly anything is black around it. */
export function scannedArea(image) {
  const { width, height } = image;
  const data = brightest(image);
  const lit = blurredAbove(data, width, height, BLACK);
  const closed = erode(dilate(lit, width, height, 4), width, height, 4);
  const opened = dilate(erode(closed, width, height, 4), width, height, 4);
  if (!opened.includes(1)) return null;
  const scan = fillHoles(largestPiece(opened, width, height), width, height);
  const inside = dilate(convexHull(scan, width, height), width, height, 2);
  const share = (mask) => mask.reduce((sum, value) => sum + value, 0) / mask.length;
  return 1 - share(inside) < MIN_AROUND || share(scan) < MIN_AROUND ? null : inside;
}

function brightest({ data, width, height, channels }) {
  if (channels === 1) return data;
  const out = new Uint8Array(width * height);
  for (let i = 0; i < data.length; i++) {
    const at = Math.floor(i / channels);
    out[at] = Math.max(out[at], data[i]);
  }
  return out;
}

/** Where the mean of 5 × 5 pixels, rounded, is above a gray value; the border is mirrored. */
function blurredAbove(data, width, height, level) {
  const mirrored = (i, length) => {
    if (length === 1) return 0;
    const at = Math.abs(i);
    return at < length ? at : 2 * (length - 1) - at;
  };
  const across = new Uint16Array(data.length);
  const out = new Uint8Array(data.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      let sum = 0;
      for (let u = -2; u <= 2; u++) sum += data[y * width + mirrored(x + u, width)];
      across[y * width + x] = sum;
    }
  }
  for (let y = 0; y < height; y++) {
    const rows = [-2, -1, 0, 1, 2].map((v) => mirrored(y + v, height) * width);
    for (let x = 0; x < width; x++) {
      const sum = rows.reduce((total, row) => total + across[row + x], 0);
      out[y * width + x] = Number(sum > (level + 0.5) * 25);
    }
  }
  return out;
}

/** Of a mask, the 8-connected pieces that hold a foreground click; all, if none does. */
export function clickedPieces(mask, points, width, height) {
  const crop = cropOf(mask, width);
  if (!crop) return mask;
  const { labels, areas } = pieces(crop.data, crop.width, crop.height);
  if (areas.length <= 2) return mask;
  const held = new Uint8Array(areas.length);
  for (const at of clicked(points, width, height)) {
    const [x, y] = [(at % width) - crop.x, Math.floor(at / width) - crop.y];
    if (x >= 0 && y >= 0 && x < crop.width && y < crop.height) held[labels[y * crop.width + x]] = 1;
  }
  held[0] = 0;
  if (!held.includes(1)) return mask;
  const out = new Uint8Array(mask.length);
  for (let y = 0, i = 0; y < crop.height; y++) {
    const start = (y + crop.y) * width + crop.x;
    for (let x = 0; x < crop.width; x++, i++) out[start + x] = held[labels[i]];
  }
  return out;
}

/** What of a mask lies in an area; the mask itself, if all or nothing does. */
function within(mask, area) {
  const both = new Uint8Array(mask.length);
  let [kept, lost] = [0, 0];
  for (let i = 0; i < both.length; i++) {
    both[i] = mask[i] & area[i];
    kept |= both[i];
    lost |= mask[i] ^ both[i];
  }
  return kept && lost ? both : mask;
}

/** Indices of the pixels under the foreground clicks. */
function clicked(points, width, height) {
  return points
    .filter(({ label }) => label === LABEL.foreground)
    .map(({ x, y }) => clip(Math.floor(y), 0, height - 1) * width + clip(Math.floor(x), 0, width - 1));
}

/** Logits whose mask is only what is kept. */
export function without(logits, kept) {
  const out = logits.slice();
  for (let i = 0; i < out.length; i++) if (out[i] > 0 && !kept[i]) out[i] = -out[i];
  return out;
}

/**
 * Logits at the picture's pixels without what the model says is to be removed from masks of clicks alone.
 *
 * `scanned` is a function that returns the scanned area or null.
 */
export function cleaned(logits, prompt, settings, { width, height, scanned }) {
  if (!settings.within_scan && !settings.clicked_piece) return logits;
  if (prompt.box || !prompt.points.length) return logits;
  const mask = maskOf(logits);
  let kept = mask;
  if (settings.within_scan) {
    const area = scanned();
    if (area && clicked(prompt.points, width, height).every((at) => area[at])) kept = within(kept, area);
  }
  if (settings.clicked_piece) kept = clickedPieces(kept, prompt.points, width, height);
  return kept === mask ? logits : without(logits, kept);
}
