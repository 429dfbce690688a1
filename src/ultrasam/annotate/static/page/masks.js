// Masks as the page holds them: a crop {x, y, width, height, data}, data a Uint8Array of 0 and 1, row by row.

import { encodeRle } from '/shared/saving/rle.js';

/** The crop of a mask on the wire {box, runs}, or null if it is empty. */
export function cropOf(wire) {
  if (!wire?.runs.length) return null;
  const [x, y, x1, y1] = wire.box;
  const data = new Uint8Array((x1 - x) * (y1 - y));
  let at = 0;
  wire.runs.forEach((length, i) => {
    if (i % 2) data.fill(1, at, at + length);
    at += length;
  });
  return { x, y, width: x1 - x, height: y1 - y, data };
}

/** A crop as it travels. */
export function wireOf(crop) {
  const tight = crop && tightened(crop);
  if (!tight) return { box: [0, 0, 0, 0], runs: [] };
  const { x, y, width, height, data } = tight;
  const runs = [];
  let [value, length] = [0, 0];
  for (const next of data) {
    if (next !== value) {
      runs.push(length);
      [value, length] = [next, 0];
    }
    length++;
  }
  runs.push(length);
  return { box: [x, y, x + width, y + height], runs };
}

/** The part of a crop that holds its mask, or null. */
function tightened({ x, y, width, height, data }) {
  let [left, top, right, bottom] = [width, height, -1, -1];
  for (let row = 0, at = 0; row < height; row++) {
    for (let column = 0; column < width; column++, at++) {
      if (!data[at]) continue;
      left = Math.min(left, column);
      right = Math.max(right, column);
      top = Math.min(top, row);
      bottom = row;
    }
  }
  if (right < 0) return null;
  return enlarged({ x, y, width, height, data }, { x: x + left, y: y + top, width: right - left + 1, height: bottom - top + 1 });
}

/** A copy of a crop in another frame {x, y, width, height}; what lies outside is lost. */
function enlarged(crop, { x, y, width, height }) {
  const data = new Uint8Array(width * height);
  if (crop) {
    const [left, right] = [Math.max(x, crop.x), Math.min(x + width, crop.x + crop.width)];
    for (let row = Math.max(y, crop.y); row < Math.min(y + height, crop.y + crop.height) && left < right; row++) {
      const from = (row - crop.y) * crop.width - crop.x;
      data.set(crop.data.subarray(from + left, from + right), (row - y) * width + left - x);
    }
  }
  return { x, y, width, height, data };
}

/** Whether a point lies in a mask. */
export function holds(crop, { x, y }) {
  const [column, row] = [Math.floor(x) - crop.x, Math.floor(y) - crop.y];
  return column >= 0 && row >= 0 && column < crop.width && row < crop.height && crop.data[row * crop.width + column] === 1;
}

/**
 * A mask after a brush has gone along a path [[x, y], …]: pixels whose centers lie within `radius` of it are added or
 * erased. `size` is the frame's {width, height}.
 */
export function brushed(crop, path, radius, adds, size) {
  const [xs, ys] = [path.map(([x]) => x), path.map(([, y]) => y)];
  const held = (value, most) => Math.min(Math.max(Math.floor(value), 0), most);
  let [x0, y0] = [held(Math.min(...xs) - radius, size.width), held(Math.min(...ys) - radius, size.height)];
  let [x1, y1] = [held(Math.max(...xs) + radius + 1, size.width), held(Math.max(...ys) + radius + 1, size.height)];
  if (crop) {
    [x0, y0] = [Math.min(x0, crop.x), Math.min(y0, crop.y)];
    [x1, y1] = [Math.max(x1, crop.x + crop.width), Math.max(y1, crop.y + crop.height)];
  }
  const out = enlarged(crop, { x: x0, y: y0, width: x1 - x0, height: y1 - y0 });
  path.forEach((end, i) => paintSegment(out, path[Math.max(i - 1, 0)], end, radius, adds ? 1 : 0));
  return tightened(out);
}

function paintSegment({ x, y, width, height, data }, [ax, ay], [bx, by], radius, value) {
  const [dx, dy] = [bx - ax, by - ay];
  const length = dx * dx + dy * dy;
  const rows = [Math.max(Math.floor(Math.min(ay, by) - radius) - y, 0), Math.min(Math.ceil(Math.max(ay, by) + radius) - y, height)];
  const columns = [Math.max(Math.floor(Math.min(ax, bx) - radius) - x, 0), Math.min(Math.ceil(Math.max(ax, bx) + radius) - x, width)];
  for (let row = rows[0]; row < rows[1]; row++) {
    for (let column = columns[0]; column < columns[1]; column++) {
      const [px, py] = [column + x + 0.5 - ax, row + y + 0.5 - ay];
      const along = length ? Math.min(Math.max((px * dx + py * dy) / length, 0), 1) : 0;
      if ((px - along * dx) ** 2 + (py - along * dy) ** 2 <= radius * radius) data[row * width + column] = value;
    }
  }
}

/** The crop of pixels whose centers lie inside an odd number of contours [[[x, y], …], …], or null. */
export function filled(contours, size) {
  const all = contours.flat();
  if (!all.length) return null;
  const top = Math.max(Math.floor(Math.min(...all.map(([, y]) => y))), 0);
  const bottom = Math.min(Math.ceil(Math.max(...all.map(([, y]) => y))), size.height);
  const out = { x: 0, y: top, width: size.width, height: Math.max(bottom - top, 0), data: null };
  out.data = new Uint8Array(out.width * out.height);
  for (let row = 0; row < out.height; row++) {
    const crossings = crossingsAt(contours, top + row + 0.5);
    for (let i = 0; i + 1 < crossings.length; i += 2) {
      const from = Math.max(Math.ceil(crossings[i] - 0.5), 0);
      const to = Math.min(Math.ceil(crossings[i + 1] - 0.5), size.width);
      if (from < to) out.data.fill(1, row * out.width + from, row * out.width + to);
    }
  }
  return tightened(out);
}

function crossingsAt(contours, y) {
  const found = [];
  for (const contour of contours) {
    contour.forEach(([ax, ay], i) => {
      const [bx, by] = contour[(i + 1) % contour.length];
      if (ay <= y !== by <= y) found.push(ax + ((y - ay) / (by - ay)) * (bx - ax));
    });
  }
  return found.sort((a, b) => a - b);
}

/**
 * Whether the page holds the mask that the server has stored, by its hash: the first 16 digits of SHA-256 of COCO's
 * compressed RLE. Null where the browser computes no hashes, as for pages over plain HTTP from another machine.
 */
export async function isAsStored(crop, hash, { width, height }) {
  if (!crypto.subtle || !hash) return null;
  const { data } = enlarged(crop, { x: 0, y: 0, width, height });
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(encodeRle(data, width, height)));
  const text = [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  return text.startsWith(hash);
}
