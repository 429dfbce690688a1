// Outlines of masks as polygons, for editing them by their corners.

import { outlineOf } from '/shared/page/outline.js';

/** Keeps the corners that outlineOf would draw. */
class Corners {
  constructor() {
    this.contours = [];
  }

  moveTo(x, y) {
    this.contours.push([[x, y]]);
  }

  lineTo(x, y) {
    this.contours.at(-1).push([x, y]);
  }

  closePath() {
    const contour = this.contours.at(-1);
    const [[x, y], [endX, endY]] = [contour[0], contour.at(-1)];
    if (contour.length > 1 && x === endX && y === endY) contour.pop();
  }
}

/** All contours of a crop along the edges of its pixels, those of holes too: [[[x, y], …], …]. */
export function contoursOf({ x, y, width, height, data }) {
  const { contours } = outlineOf(data, width, height, Corners);
  return contours.map((contour) => contour.map(([cornerX, cornerY]) => [cornerX + x, cornerY + y]));
}

/** A closed contour with fewer corners, none farther than `tolerance` from it (Ramer, Douglas and Peucker). */
export function simplified(contour, tolerance) {
  if (contour.length < 5) return contour;
  const [ax, ay] = contour[0];
  let far = 0;
  contour.forEach(([x, y], i) => {
    const [fx, fy] = contour[far];
    if ((x - ax) ** 2 + (y - ay) ** 2 > (fx - ax) ** 2 + (fy - ay) ** 2) far = i;
  });
  const halves = [contour.slice(0, far + 1), [...contour.slice(far), contour[0]]];
  const out = halves.flatMap((half) => simplifiedLine(half, tolerance).slice(0, -1));
  return out.length < 3 ? contour : out;
}

function simplifiedLine(line, tolerance) {
  const kept = new Uint8Array(line.length);
  kept[0] = kept[line.length - 1] = 1;
  const spans = [[0, line.length - 1]];
  while (spans.length) {
    const [from, to] = spans.pop();
    let [farthest, at] = [tolerance, -1];
    for (let i = from + 1; i < to; i++) {
      const distance = distanceTo(line[i], line[from], line[to]);
      if (distance > farthest) [farthest, at] = [distance, i];
    }
    if (at < 0) continue;
    kept[at] = 1;
    spans.push([from, at], [at, to]);
  }
  return line.filter((_, i) => kept[i]);
}

/** The distance of a point to a segment. */
export function distanceTo([x, y], [ax, ay], [bx, by]) {
  const [dx, dy] = [bx - ax, by - ay];
  const length = dx * dx + dy * dy;
  const along = length ? Math.min(Math.max(((x - ax) * dx + (y - ay) * dy) / length, 0), 1) : 0;
  return Math.hypot(x - ax - along * dx, y - ay - along * dy);
}
