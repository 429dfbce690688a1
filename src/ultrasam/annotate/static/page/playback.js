// Plays a cine at its true rate. Frames and masks are fetched ahead; where they come late, the clock waits for them.

import { ask } from './api.js';
import { withLevels } from './frame_images.js';
import { cropOf } from './masks.js';

const AHEAD = 24; // frames fetched ahead
const PIECE = 32; // frames whose masks come in one answer
const RATE = 25; // frames a second where the file does not say

export class Player {
  /** `on` holds at(frame) for each frame that is shown, and stopped(frame). */
  constructor(stage, session, frames, on) {
    Object.assign(this, { stage, session, frames, on, playing: false, statistics: null });
  }

  /** Milliseconds of a frame, and whether the file says so. */
  get frameTime() {
    const { frame_time: time } = this.session.image;
    return time > 0 ? { milliseconds: time, known: true } : { milliseconds: 1000 / RATE, known: false };
  }

  start() {
    const { session } = this;
    if (this.playing || (session.image?.frames ?? 1) < 2) return;
    this.playing = true;
    this.pieces = new Map();
    this.frame = session.frame;
    this.due = performance.now();
    this.statistics = { shown: 0, begun: performance.now(), waited: 0 };
    this.#step();
  }

  stop() {
    if (!this.playing) return;
    this.playing = false;
    this.stage.playing = null;
    this.on.stopped(this.frame);
  }

  #step() {
    if (!this.playing) return;
    const now = performance.now();
    const { image } = this.session;
    this.#fetchAhead(image);
    const next = (this.frame + 1) % image.frames;
    const bitmap = this.frames.ready(image, next);
    const piece = this.pieces.get(Math.floor(next / PIECE));
    if (now >= this.due && bitmap && piece?.masks) {
      this.frame = next;
      this.stage.playing = { bitmap: withLevels(bitmap, this.stage.table), objects: piece.masks.get(next) ?? [] };
      this.stage.paint();
      this.statistics.shown++;
      const { milliseconds } = this.frameTime;
      // After a delay the clock goes on from now, rather than rushing through what is late.
      this.due = now - this.due > milliseconds ? now + milliseconds : this.due + milliseconds;
      this.on.at(next);
    } else if (now >= this.due) {
      this.statistics.waited++;
    }
    requestAnimationFrame(() => this.#step());
  }

  #fetchAhead(image) {
    for (let i = 1; i <= Math.min(AHEAD, image.frames); i++) {
      const frame = (this.frame + i) % image.frames;
      this.frames.get(image, frame, { played: true }).catch((error) => this.#fail(error));
      this.#fetchMasks(image, Math.floor(frame / PIECE));
    }
  }

  async #fetchMasks(image, number) {
    if (this.pieces.has(number)) return;
    const piece = { masks: null };
    this.pieces.set(number, piece);
    try {
      const to = Math.min((number + 1) * PIECE, image.frames) - 1;
      const { objects } = await ask(`/images/${image.id}/masks?from=${number * PIECE}&to=${to}`);
      const found = new Map();
      for (const { id, color, masks } of objects.filter((object) => !this.session.hidden.has(object.id))) {
        for (const mask of masks) {
          const crop = cropOf(mask.mask);
          if (crop) found.set(mask.frame, [...(found.get(mask.frame) ?? []), { id, color, mask, crop }]);
        }
      }
      piece.masks = found;
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error) {
    if (!this.playing) return;
    this.stop();
    this.session.on.say(`Playing has stopped: ${error.message}`);
  }
}
