// Connected regions of masks, and the shapes around them. A mask is a Uint8Array of 0 and 1, row by row.

/**
 * Number the 8-connected pieces of a mask from 1, by their first pixels: {labels: Int32Array, areas: number[]};
 * areas[0] is 0.
 */
export function pieces(mask, width, height) {
  const runs = runsOf(mask, width, height);
  const labels = new Int32Array(mask.length);
  const areas = [0];
  const label = []; // of each run that is a piece's first
  runs.forEach(({ start, end }, i) => {
    const root = rootOf(runs, i);
    if (label[root] === undefined) label[root] = areas.push(0) - 1;
    labels.fill(label[root], start, end);
    areas[label[root]] += end - start;
  });
  return { labels, areas };
}

/** Runs of pixels in the rows of a mask: {start, end, piece}; `piece` leads by other runs to the piece's first. */
function runsOf(mask, width, height) {
  const runs = [];
  let above = 0; // the first run of the row above
  for (let y = 0; y < height; y++) {
    const here = runs.length;
    const row = mask.subarray(y * width, (y + 1) * width);
    let other = above;
    for (let x = row.indexOf(1), end; x >= 0; x = row.indexOf(1, end)) {
      end = row.indexOf(0, x);
      if (end < 0) end = width;
      const run = { start: y * width + x, end: y * width + end, piece: runs.length };
      runs.push(run);
      while (other < here && runs[other].end < run.start - width) other++;
      for (let i = other; i < here && runs[i].start <= run.end - width; i++) join(runs, i, runs.length - 1);
    }
    above = here;
  }
  return runs;
}

function rootOf(runs, i) {
  while (runs[i].piece !== i) {
    runs[i].piece = runs[runs[i].piece].piece;
    i = runs[i].piece;
  }
  return i;
}

function join(runs, a, b) {
  const [one, other] = [rootOf(runs, a), rootOf(runs, b)];
  runs[Math.max(one, other)].piece = Math.min(one, other);
}

export function largestPiece(mask, width, height) {
  const { labels, areas } = pieces(mask, width, height);
  if (areas.length < 3) return mask;
  const best = areas.indexOf(Math.max(...areas));
  return Uint8Array.from(labels, (label) => Number(label === best));
}

/** A mask with its holes filled: what is not reached from the border through 4-connected background. */
export function fillHoles(mask, width, height) {
  const outside = new Uint8Array(mask.length);
  const stack = [];
  const visit = (at) => {
    if (!mask[at] && !outside[at]) {
      outside[at] = 1;
      stack.push(at);
    }
  };
  for (let x = 0; x < width; x++) {
    visit(x);
    visit((height - 1) * width + x);
  }
  for (let y = 0; y < height; y++) {
    visit(y * width);
    visit(y * width + width - 1);
  }
  while (stack.length) {
    const at = stack.pop();
    const x = at % width;
    if (x) visit(at - 1);
    if (x < width - 1) visit(at + 1);
    if (at >= width) visit(at - width);
    if (at < mask.length - width) visit(at + width);
  }
  return outside.map((value) => 1 - value);
}

/** The tight box [x0, y0, x1, y1] of a mask, or null if it is empty. */
export function boundingBox(mask, width) {
  let [x0, y0, x1, y1] = [width, -1, -1, -1];
  for (let start = 0; start < mask.length; start += width) {
    const row = mask.subarray(start, start + width);
    const first = row.indexOf(1);
    if (first < 0) continue;
    if (y0 < 0) y0 = start / width;
    y1 = start / width + 1;
    x0 = Math.min(x0, first);
    x1 = Math.max(x1, row.lastIndexOf(1) + 1);
  }
  return y0 < 0 ? null : [x0, y0, x1, y1];
}

/** The part of a mask in its tight box: {x, y, width, height, data}, or null if the mask is empty. */
export function cropOf(mask, width) {
  const box = boundingBox(mask, width);
  if (!box) return null;
  const [x0, y0, x1, y1] = box;
  const crop = { x: x0, y: y0, width: x1 - x0, height: y1 - y0 };
  const data = new Uint8Array(crop.width * crop.height);
  for (let y = y0; y < y1; y++) data.set(mask.subarray(y * width + x0, y * width + x1), (y - y0) * crop.width);
  return { ...crop, data };
}

/** Grow (1) or shrink (0) a mask by a square of 2 × radius + 1 pixels; beyond the border nothing counts. */
function spread(mask, width, height, radius, value) {
  const pass = (from, length, lines, step, jump) => {
    const out = new Uint8Array(from.length);
    for (let line = 0; line < lines; line++) {
      let last = -Infinity; // where `value` was seen last, looking ahead by the radius
      for (let i = 0, ahead = 0; i < length; i++) {
        for (; ahead < length && ahead <= i + radius; ahead++) {
          if (from[line * jump + ahead * step] === value) last = ahead;
        }
        out[line * jump + i * step] = last >= i - radius ? value : 1 - value;
      }
    }
    return out;
  };
  return pass(pass(mask, width, height, 1, width), height, width, width, 1);
}

export const dilate = (mask, width, height, radius) => spread(mask, width, height, radius, 1);
export const erode = (mask, width, height, radius) => spread(mask, width, height, radius, 0);

/** The convex hull of a mask's pixels, filled as OpenCV's fillConvexPoly fills it. */
export function convexHull(mask, width, height) {
  const hull = hullCorners(mask, width, height);
  const out = new Uint8Array(mask.length);
  const low = new Int32Array(height).fill(width);
  const high = new Int32Array(height).fill(-1);
  const mark = (x, y) => {
    low[y] = Math.min(low[y], x);
    high[y] = Math.max(high[y], x);
  };
  hull.forEach((a, i) => edge(a, hull[(i + 1) % hull.length], mark));
  for (let y = 0; y < height; y++) {
    if (high[y] >= 0) out.fill(1, y * width + low[y], y * width + high[y] + 1);
  }
  return out;
}

function hullCorners(mask, width, height) {
  const ends = []; // the first and last pixel of each row; no others can be corners
  for (let y = 0; y < height; y++) {
    const first = mask.indexOf(1, y * width);
    if (first < 0 || first >= (y + 1) * width) continue;
    const last = mask.lastIndexOf(1, (y + 1) * width - 1);
    ends.push([first - y * width, y], [last - y * width, y]);
  }
  ends.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const turn = (o, a, b) => (a[0] - o[0]) * (b[1] - o[1]) - (a[1] - o[1]) * (b[0] - o[0]);
  const half = (points) => {
    const chain = [];
    for (const point of points) {
      while (chain.length > 1 && turn(chain.at(-2), chain.at(-1), point) <= 0) chain.pop();
      chain.push(point);
    }
    return chain.slice(0, -1);
  };
  const corners = [...half(ends), ...half(ends.reverse())];
  return corners.length ? corners : ends.slice(0, 1);
}

function edge([x0, y0], [x1, y1], mark) {
  const steps = Math.max(Math.abs(x1 - x0), Math.abs(y1 - y0), 1);
  for (let i = 0; i <= steps; i++) {
    mark(Math.round(x0 + ((x1 - x0) * i) / steps), Math.round(y0 + ((y1 - y0) * i) / steps));
  }
}
