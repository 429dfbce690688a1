// Makes the files that a person saves, and hands them to the browser.

import { areasTable } from '../saving/areas.js';
import { cocoOf } from '../saving/coco.js';
import { grayPng } from '../saving/png.js';
import { outlineOf } from './outline.js';
import { canvasOf, strokeWithHalo, tint } from './painting.js';

/** A PNG of each frame in which a pixel is the number of its object, 0 for none: [{name, blob}]. */
export async function maskFiles(results) {
  return Promise.all(results.map(async ({ name, frame, frames, width, height, objects }) => {
    if (objects.length > 255) throw new Error(`frame ${frame} has more than 255 objects; save COCO instead.`);
    const values = new Uint8Array(width * height);
    // One object is white, as a mask is; several are numbered.
    const numbers = objects.map((_, i) => (objects.length === 1 ? 255 : i + 1));
    objects.forEach(({ mask }, i) => mask.forEach((inside, at) => {
      if (inside) values[at] = numbers[i];
    }));
    const png = await grayPng(values, width, height);
    return { name: fileName(name, frame, frames, 'mask.png'), blob: new Blob([png], { type: 'image/png' }) };
  }));
}

/** The frames with tinted areas and outlines, as PNG: [{name, blob}]. */
export async function overlayFiles(results, scan) {
  const files = [];
  for (const { name, frame, frames, width, height, objects } of results) {
    const canvas = canvasOf(await scan.frame(frame));
    const context = canvas.getContext('2d');
    const stroke = Math.max(1, Math.round(Math.max(width, height) / 400));
    for (const { mask, color } of objects) {
      context.drawImage(tint(mask, width, height, color), 0, 0);
      strokeWithHalo(context, outlineOf(mask, width, height), color, { pixel: stroke, width: 1.25, halo: 2.5 });
    }
    files.push({ name: fileName(name, frame, frames, 'overlay.png'), blob: await canvas.convertToBlob() });
  }
  return files;
}

export function cocoFile(results, about) {
  const text = JSON.stringify(cocoOf(results, about), null, 1);
  return { name: 'ultrasam-coco.json', blob: new Blob([text], { type: 'application/json' }) };
}

export function areasFile(results) {
  // The mark at the start lets spreadsheets read other alphabets.
  return { name: 'ultrasam-areas.csv', blob: new Blob(['\ufeff', areasTable(results)], { type: 'text/csv' }) };
}

function fileName(name, frame, frames, end) {
  const base = name.replace(/\.[^.]{1,5}$/, '');
  return frames > 1 ? `${base}-frame${String(frame).padStart(4, '0')}-${end}` : `${base}-${end}`;
}

/** Hand files to the browser, which saves them where it saves downloads. */
export function download(files) {
  for (const { name, blob } of files) {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }
}
