// Decodes PNG of 16 bits per sample (PNG specification, sections 9 to 11), without loss of bits.

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const CHANNELS = { 0: 1, 2: 3, 4: 2, 6: 4 };

/** {values: Uint16Array, alpha, width, height, channels}; null for anything but a PNG of 16 bits. */
export async function deepPng(bytes) {
  if (SIGNATURE.some((byte, i) => bytes[i] !== byte) || bytes[24] !== 16) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [width, height] = [view.getUint32(16), view.getUint32(20)];
  const all = CHANNELS[bytes[25]];
  if (!all || !width || !height || width * height > 100_000_000) throw new Error('It is a damaged PNG.');
  if (bytes[28]) throw new Error('It is an interlaced PNG of 16 bits, which this page does not read.');
  const parts = [];
  for (let at = 8; at + 12 <= bytes.length;) {
    const length = view.getUint32(at);
    const kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (kind === 'IDAT') parts.push(bytes.subarray(at + 8, at + 8 + length));
    at += 12 + length;
  }
  let lines;
  try {
    const stream = new Blob(parts).stream().pipeThrough(new DecompressionStream('deflate'));
    lines = new Uint8Array(await new Response(stream).arrayBuffer());
  } catch {
    throw new Error('It is a damaged PNG; copy or export it again.');
  }
  const stride = width * all * 2;
  if (lines.length < height * (stride + 1)) throw new Error('It is a truncated PNG; copy or export it again.');
  unfilter(lines, height, stride, all * 2);
  return samples(lines, { width, height, stride, all });
}

function samples(lines, { width, height, stride, all }) {
  const channels = all > 2 ? 3 : 1;
  const values = new Uint16Array(width * height * channels);
  const alpha = all % 2 === 0 ? new Uint16Array(width * height) : null;
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = y * (stride + 1) + 1 + x * all * 2;
      const sample = (c) => lines[at + 2 * c] * 256 + lines[at + 2 * c + 1];
      for (let c = 0; c < channels; c++, i++) values[i] = sample(c);
      if (alpha) alpha[y * width + x] = sample(channels);
    }
  }
  return { values, alpha, width, height, channels };
}

function unfilter(lines, height, stride, step) {
  for (let y = 0; y < height; y++) {
    const start = y * (stride + 1) + 1;
    const kind = lines[start - 1];
    for (let i = 0; i < stride; i++) {
      const left = i < step ? 0 : lines[start + i - step];
      const up = y ? lines[start + i - stride - 1] : 0;
      const corner = y && i >= step ? lines[start + i - stride - 1 - step] : 0;
      const guess = [0, left, up, (left + up) >> 1, paeth(left, up, corner)][kind];
      lines[start + i] += guess;
    }
  }
}

function paeth(left, up, corner) {
  const [a, b, c] = [Math.abs(up - corner), Math.abs(left - corner), Math.abs(left + up - 2 * corner)];
  if (a <= b && a <= c) return left;
  return b <= c ? up : corner;
}
