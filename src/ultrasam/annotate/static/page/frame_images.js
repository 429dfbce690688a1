// Frames of images as the browser holds them decoded: the last ones that fit, and those that are coming.

import { Refusal, Unreachable, addressOf } from './api.js';
import { mapLevels } from '/shared/page/painting.js';

const KEPT = 384 * 2 ** 20; // bytes of decoded frames
const QUALITY = 85; // of frames that are only played

export class FrameImages {
  constructor() {
    Object.assign(this, { kept: new Map(), bytes: 0, shown: null });
  }

  /** A frame as an ImageBitmap, its gray levels exact, or for playing only. */
  get(image, frame, { played = false, signal } = {}) {
    const name = `${image.id}/${frame}${played ? '/played' : ''}`;
    const known = this.kept.get(name);
    if (known) {
      this.kept.delete(name);
      this.kept.set(name, known); // the last used is the last forgotten
      return known.promise;
    }
    const kind = played ? `jpg?quality=${QUALITY}&` : 'png?';
    const entry = { bytes: 0, bitmap: null };
    entry.promise = loadBitmap(`/images/${image.id}/frames/${frame}.${kind}v=${image.version ?? 0}`, signal).then((bitmap) => {
      entry.bitmap = bitmap;
      entry.bytes = bitmap.width * bitmap.height * 4;
      this.bytes += entry.bytes;
      this.#forget(name);
      return bitmap;
    }, (error) => {
      this.kept.delete(name);
      throw error;
    });
    this.kept.set(name, entry);
    return entry.promise;
  }

  /** A frame that is decoded, or null. */
  ready(image, frame) {
    return (this.kept.get(`${image.id}/${frame}/played`) ?? this.kept.get(`${image.id}/${frame}`))?.bitmap ?? null;
  }

  #forget(but) {
    for (const [name, { bytes }] of this.kept) {
      if (this.bytes <= KEPT) return;
      if (name === but || !bytes) continue;
      this.kept.delete(name);
      this.bytes -= bytes; // not closed: it may still be on the screen
    }
  }
}

/** A picture of the server as an ImageBitmap, its gray levels as they are stored. */
export async function loadBitmap(path, signal) {
  let response;
  try {
    response = await fetch(addressOf(path), { signal, credentials: 'same-origin' });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Unreachable();
  }
  if (!response.ok) throw new Refusal(response.status, await response.json().catch(() => null));
  return createImageBitmap(await response.blob(), { colorSpaceConversion: 'none' });
}

/** A frame with its gray levels shown as a table of 256 says. */
export function withLevels(bitmap, table) {
  if (!table) return bitmap;
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const pixels = context.getImageData(0, 0, bitmap.width, bitmap.height);
  mapLevels(pixels, table);
  context.putImageData(pixels, 0, 0);
  return canvas;
}
