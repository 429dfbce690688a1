// Decodes a JPEG by the browser, without its guess about colors where the file does not state them.

import { rgbOf } from './raster.js';

const ADOBE_AS_STORED = Uint8Array.of(
  0xff, 0xee, 0, 14, 0x41, 0x64, 0x6f, 0x62, 0x65, 0, 100, 0, 0, 0, 0, 0,
);

/**
 * {data, width, height, rgb}: triples, and whether they are RGB for certain.
 *
 * With `asStored`, samples of a file that states no color model come as they are stored.
 */
export async function decodeJpeg(bytes, { asStored }) {
  const stated = statedColor(bytes);
  const marked = asStored && !stated ? withMarker(bytes) : bytes;
  const image = await rgbOf(new Blob([marked], { type: 'image/jpeg' }));
  return { ...image, rgb: asStored && stated };
}

/** Whether markers before the scan state the color model: JFIF's or Adobe's. */
function statedColor(bytes) {
  let at = 2;
  while (at + 4 < bytes.length && bytes[at] === 0xff) {
    const marker = bytes[at + 1];
    if (marker === 0xda) return false;
    if (marker === 0xe0 && text(bytes, at + 4, 4) === 'JFIF') return true;
    if (marker === 0xee && text(bytes, at + 4, 5) === 'Adobe') return true;
    at += 2 + bytes[at + 2] * 256 + bytes[at + 3];
  }
  return false;
}

function text(bytes, at, length) {
  return String.fromCharCode(...bytes.subarray(at, at + length));
}

function withMarker(bytes) {
  const out = new Uint8Array(bytes.length + ADOBE_AS_STORED.length);
  out.set(bytes.subarray(0, 2));
  out.set(ADOBE_AS_STORED, 2);
  out.set(bytes.subarray(2), 2 + ADOBE_AS_STORED.length);
  return out;
}
