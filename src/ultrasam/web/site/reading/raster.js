// Reads PNG, JPEG and what else the browser decodes; PNG of 16 bits by itself, since browsers keep only 8.

import { applyScale, grayScale } from './gray_scale.js';
import { deepPng } from './deep_png.js';

/** A scan, as in read.js, of an image file. Throws an Error if the browser cannot decode it. */
export async function readRaster(blob) {
  const deep = await deepPng(new Uint8Array(await blob.arrayBuffer()));
  const image = deep ? eightBits(deep) : await decoded(blob);
  const { width, height } = image;
  return { width, height, frames: 1, frame: () => image, spacing: null, frameTime: null, notes: [] };
}

function eightBits({ values, alpha, width, height, channels }) {
  let data = applyScale(values, grayScale([values]));
  if (alpha) data = data.map((v, i) => Math.round((v * alpha[Math.floor(i / channels)]) / 65535));
  return { data, width, height, channels };
}

async function decoded(blob) {
  const image = await rgbOf(blob);
  const { data } = image;
  const out = new Uint8Array(image.width * image.height);
  for (let i = 0, j = 0; i < out.length; i++, j += 3) {
    if (data[j] !== data[j + 1] || data[j] !== data[j + 2]) return { ...image, channels: 3 };
    out[i] = data[j];
  }
  return { data: out, width: image.width, height: image.height, channels: 1 };
}

/** {data, width, height} of triples; transparent pixels are blended with black, orientation is applied. */
export async function rgbOf(blob) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, { colorSpaceConversion: 'none' });
  } catch {
    throw new Error('It is damaged or of a kind that this browser does not read; give PNG, JPEG or DICOM.');
  }
  const { width, height } = bitmap;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const rgba = context.getImageData(0, 0, width, height).data;
  const data = new Uint8Array(width * height * 3);
  for (let i = 0, j = 0; i < rgba.length; i += 4, j += 3) {
    data[j] = rgba[i];
    data[j + 1] = rgba[i + 1];
    data[j + 2] = rgba[i + 2];
  }
  return { data, width, height };
}
