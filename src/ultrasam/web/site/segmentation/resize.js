// Resizing with the arithmetic of OpenCV's cv2.resize, so that a network sees what it sees in Python.
//
// An image is {data, width, height, channels}; data is a Uint8Array or a Float32Array, row by row, channels last.

/** Area averages when shrinking, bilinear when enlarging, as OpenCV's INTER_AREA. */
export function resizeArea(image, width, height) {
  if (width > image.width || height > image.height) return linear(image, width, height, areaTaps);
  return averages(image, width, height);
}

/** Bilinear, as OpenCV's INTER_LINEAR: without a filter against aliasing. */
export function resizeLinear(image, width, height) {
  return linear(image, width, height, linearTaps);
}

function like(image, width, height) {
  const { channels } = image;
  return { data: new image.data.constructor(width * height * channels), width, height, channels };
}

/** For each target pixel: two source pixels and the weight of the second. */
function linearTaps(from, to) {
  const first = new Int32Array(to);
  const second = new Int32Array(to);
  const weight = new Float32Array(to);
  const scale = from / to;
  for (let i = 0; i < to; i++) {
    const place = Math.fround((i + 0.5) * scale - 0.5);
    let start = Math.floor(place);
    let part = Math.fround(place - start);
    if (start < 0) [start, part] = [0, 0];
    if (start >= from - 1) [start, part] = [from - 1, 0];
    first[i] = start;
    second[i] = Math.min(start + 1, from - 1);
    weight[i] = part;
  }
  return { first, second, weight };
}

/** As `linearTaps`, where an edge of a source pixel stays an edge: what INTER_AREA means when enlarging. */
function areaTaps(from, to) {
  const taps = linearTaps(from, to);
  const scale = from / to;
  const inverse = to / from;
  for (let i = 0; i < to; i++) {
    let start = Math.floor(i * scale);
    let part = Math.fround(i + 1 - (start + 1) * inverse);
    part = part <= 0 ? 0 : Math.fround(part - Math.floor(part));
    if (start >= from - 1) [start, part] = [from - 1, 0];
    taps.first[i] = start;
    taps.second[i] = Math.min(start + 1, from - 1);
    taps.weight[i] = part;
  }
  return taps;
}

function linear(image, width, height, tapsOf) {
  const out = like(image, width, height);
  if (width === image.width && height === image.height) {
    out.data.set(image.data);
    return out;
  }
  const across = tapsOf(image.width, width);
  const down = tapsOf(image.height, height);
  const resize = image.data instanceof Uint8Array ? linearBytes : linearFloats;
  resize(image, out, across, down);
  return out;
}

/** Rows of the source, resized across; each is computed once and kept while it is needed. */
class Rows {
  constructor(compute, length, Kind) {
    this.compute = compute;
    this.held = [-1, -1];
    this.rows = [new Kind(length), new Kind(length)];
  }

  get(row, other) {
    let slot = this.held.indexOf(row);
    if (slot < 0) {
      slot = this.held[0] === other ? 1 : 0;
      this.compute(row, this.rows[slot]);
      this.held[slot] = row;
    }
    return this.rows[slot];
  }
}

function linearFloats(image, out, across, down) {
  const { data, channels } = image;
  const length = out.width * channels;
  const stride = image.width * channels;
  const { first, second, weight } = across;
  const rows = new Rows((row, line) => {
    const start = row * stride;
    for (let x = 0, i = 0; x < out.width; x++) {
      const a = start + first[x] * channels;
      const b = start + second[x] * channels;
      const w = weight[x];
      for (let c = 0; c < channels; c++, i++) line[i] = data[a + c] * (1 - w) + data[b + c] * w;
    }
  }, length, Float32Array);
  for (let y = 0, i = 0; y < out.height; y++) {
    const above = rows.get(down.first[y], down.second[y]);
    const below = rows.get(down.second[y], down.first[y]);
    const w = down.weight[y];
    for (let x = 0; x < length; x++, i++) out.data[i] = above[x] * (1 - w) + below[x] * w;
  }
}

const BITS = 11; // of OpenCV's fixed-point weights
const ONE = 1 << BITS;

function linearBytes(image, out, across, down) {
  const { data, channels } = image;
  const length = out.width * channels;
  const stride = image.width * channels;
  const fixed = (weights) => Int32Array.from(weights, (w) => Math.round(w * ONE));
  const rest = (weights) => Int32Array.from(weights, (w) => Math.round(Math.fround(1 - w) * ONE));
  const [right, left] = [fixed(across.weight), rest(across.weight)];
  const [lower, upper] = [fixed(down.weight), rest(down.weight)];
  const rows = new Rows((row, line) => {
    const start = row * stride;
    for (let x = 0, i = 0; x < out.width; x++) {
      const a = start + across.first[x] * channels;
      const b = start + across.second[x] * channels;
      for (let c = 0; c < channels; c++, i++) line[i] = data[a + c] * left[x] + data[b + c] * right[x];
    }
  }, length, Int32Array);
  for (let y = 0, i = 0; y < out.height; y++) {
    const above = rows.get(down.first[y], down.second[y]);
    const below = rows.get(down.second[y], down.first[y]);
    const [u, l] = [upper[y], lower[y]];
    for (let x = 0; x < length; x++, i++) {
      out.data[i] = ((((above[x] >> 4) * u) >> 16) + (((below[x] >> 4) * l) >> 16) + 2) >> 2;
    }
  }
}

/** For each target pixel: the source pixels that it covers and how much of each, adding up to 1. */
function areaCover(from, to) {
  const scale = from / to;
  const cover = [];
  for (let i = 0; i < to; i++) {
    const low = i * scale;
    const high = low + scale;
    const width = Math.min(scale, from - low);
    const start = Math.ceil(low);
    const end = Math.min(Math.floor(high), from - 1);
    const inner = Math.min(start, end);
    const parts = [];
    if (inner - low > 1e-3) parts.push([inner - 1, Math.fround((inner - low) / width)]);
    for (let s = inner; s < end; s++) parts.push([s, Math.fround(1 / width)]);
    if (high - end > 1e-3) {
      parts.push([end, Math.fround(Math.min(Math.min(high - end, 1), width) / width)]);
    }
    cover.push(parts);
  }
  return cover;
}

function averages(image, width, height) {
  const out = like(image, width, height);
  const { data, channels } = image;
  if (width === image.width && height === image.height) {
    out.data.set(data);
    return out;
  }
  const bytes = data instanceof Uint8Array;
  const stepX = image.width / width;
  const stepY = image.height / height;
  if (Number.isInteger(stepX) && Number.isInteger(stepY)) {
    return wholeAverages(image, out, stepX, stepY, bytes);
  }
  const across = areaCover(image.width, width);
  const down = areaCover(image.height, height);
  const length = width * channels;
  const line = new Float32Array(length);
  const sum = new Float32Array(length);
  for (let y = 0; y < height; y++) {
    sum.fill(0);
    for (const [row, part] of down[y]) {
      averageAcross(data, row * image.width * channels, channels, across, line);
      for (let i = 0; i < length; i++) sum[i] += Math.fround(part * line[i]);
    }
    for (let i = 0; i < length; i++) out.data[y * length + i] = bytes ? toByte(sum[i]) : sum[i];
  }
  return out;
}

function averageAcross(data, start, channels, across, line) {
  line.fill(0);
  for (let x = 0; x < across.length; x++) {
    for (const [column, part] of across[x]) {
      const from = start + column * channels;
      for (let c = 0; c < channels; c++) line[x * channels + c] += Math.fround(data[from + c] * part);
    }
  }
}

function wholeAverages(image, out, stepX, stepY, bytes) {
  const { data, channels } = image;
  const stride = image.width * channels;
  const share = Math.fround(1 / (stepX * stepY));
  const byTwo = bytes && stepX === 2 && stepY === 2;
  for (let y = 0, i = 0; y < out.height; y++) {
    for (let x = 0; x < out.width; x++) {
      for (let c = 0; c < channels; c++, i++) {
        let sum = 0;
        const start = y * stepY * stride + x * stepX * channels + c;
        for (let v = 0; v < stepY; v++) {
          for (let u = 0; u < stepX; u++) sum += data[start + v * stride + u * channels];
        }
        if (byTwo) out.data[i] = (sum + 2) >> 2;
        else out.data[i] = bytes ? toByte(Math.fround(sum * share)) : sum * share;
      }
    }
  }
  return out;
}

function toByte(value) {
  const down = Math.floor(value);
  const rest = value - down;
  if (rest === 0.5) return down % 2 === 0 ? down : down + 1;
  return rest < 0.5 ? down : down + 1;
}
