// The border of a mask as closed paths along the edges of its pixels.

/** A Path2D in picture pixels around a mask (Uint8Array of 0 and 1). */
export function outlineOf(mask, width, height, Path = Path2D) {
  const path = new Path();
  const inside = (x, y) => x >= 0 && y >= 0 && x < width && y < height && mask[y * width + x];
  const seen = new Uint8Array((width + 1) * (height + 1)); // corners from which a path has gone right
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (mask[y * width + x] && !inside(x, y - 1) && !seen[y * (width + 1) + x]) {
        trace(path, x, y, inside, seen, width + 1);
      }
    }
  }
  return path;
}

const STEPS = [[1, 0], [0, 1], [-1, 0], [0, -1]]; // right, down, left, up; the mask is on the right hand
const AHEAD = [[[0, -1], [0, 0]], [[0, 0], [-1, 0]], [[-1, 0], [-1, -1]], [[-1, -1], [0, -1]]]; // left, right pixel

function trace(path, startX, startY, inside, seen, stride) {
  let [x, y, direction] = [startX, startY, 0];
  path.moveTo(x, y);
  do {
    if (direction === 0) seen[y * stride + x] = 1;
    x += STEPS[direction][0];
    y += STEPS[direction][1];
    const [left, right] = AHEAD[direction].map(([dx, dy]) => inside(x + dx, y + dy));
    let next = direction;
    if (left) next = (direction + 3) % 4;
    else if (!right) next = (direction + 1) % 4;
    if (next !== direction) path.lineTo(x, y);
    direction = next;
  } while (x !== startX || y !== startY || direction !== 0);
  path.closePath();
}
