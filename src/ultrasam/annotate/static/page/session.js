// What is open: the project, an image, one of its frames, and the objects there; and what a person does to them.
//
// An object is the server's record with `crop`, its mask in the frame that is shown. A draft is an object that the
// server has not yet named; its id is {of: key}'s key with a mark. What a person draws is shown at once, and replaced
// by the server's answer.

import { ask, post, put } from './api.js';
import { cropOf, isAsStored } from './masks.js';
import { colorOf } from '/shared/page/colors.js';
import { whenIdle } from '/shared/page/elements.js';

const MARK = 'of:';
const PASSING = 120; // milliseconds that a frame is shown before the model reads it
const REST = 400; // milliseconds after the last stroke until frames are asked for anew

export class Session {
  /** `on` holds changed(), shown() after another frame, say(sentence) and told(sentence) for screen readers. */
  constructor(queue, frames, on) {
    Object.assign(this, { queue, frames, on, project: null, image: null, frame: 0, wanted: 0, objects: new Map(), drafts: new Map() });
    Object.assign(this, { coming: null, isStale: false });
    Object.assign(this, { active: null, reopened: null, visit: 0, encoded: null, label: null, hidden: new Set() });
    Object.assign(this, { latency: null, verified: null, ready: Promise.resolve(), others: [] });
  }

  async start() {
    this.project = await ask('/project');
  }

  /** Objects of the frame that is shown, drafts last. */
  get shown() {
    const here = [...this.objects.values()].filter(({ crop }) => crop);
    return [...here.sort((a, b) => a.order - b.order), ...this.drafts.values()];
  }

  get activeObject() {
    return this.objects.get(this.active) ?? this.drafts.get(this.active) ?? null;
  }

  /** The object that a click or a stroke would go to, or null if it would begin another. */
  get target() {
    const object = this.activeObject;
    if (!object) return null;
    const closed = object.mask?.state === 'accepted' && this.reopened !== object.id;
    return closed ? null : object;
  }

  get size() {
    return { width: this.image.width, height: this.image.height };
  }

  /** Open an image at a frame, or where its reader last was; what is open stays until all of it is there. */
  open(id, frame = null) {
    return this.#arrive('image', async (isNewest, hasDrawn) => {
      const image = await ask(`/images/${id}`);
      if (!isNewest()) return;
      const last = (image.frames ?? 1) - 1;
      const at = Math.min(Math.max(frame ?? image.view?.frame ?? 0, 0), last);
      await this.#show(image, at, isNewest, hasDrawn, () => this.#takeOther(image));
    });
  }

  async toFrame(frame) {
    const { image } = this;
    if (!image || this.coming === 'image' || frame === this.wanted || frame < 0 || frame >= image.frames) return;
    await this.#arrive('frame', (isNewest, hasDrawn) => this.#show(image, frame, isNewest, hasDrawn, () => { this.reopened = null; }));
  }

  /** Show another image or frame, unless one more is asked for meanwhile. */
  async #arrive(what, load) {
    const visit = ++this.visit;
    this.coming = what;
    try {
      await load(() => visit === this.visit, this.queue.watch());
    } finally {
      if (visit === this.visit) {
        Object.assign(this, { coming: null, wanted: this.frame });
        if (this.isStale) this.refresh().catch((error) => this.on.say(error.message));
      }
    }
  }

  /** Show the objects of this frame as the server has them now; while another is coming, once that is there. */
  async refresh() {
    const { image, frame, visit } = this;
    if (!image) return;
    this.isStale = this.coming !== null;
    if (this.isStale) return;
    const hasDrawn = this.queue.watch();
    const [now, found] = await Promise.all([ask(`/images/${image.id}`), ask(`/images/${image.id}/objects?frame=${frame}`)]);
    const isLate = visit !== this.visit;
    if (isLate || hasDrawn()) {
      if (!isLate) await this.queue.settled;
      await this.refresh(); // what came does not hold what was drawn, or is of another frame
      return;
    }
    this.#takeImage(now);
    this.#replace(found.objects);
    this.#takeFrames(now.objects);
    if (!this.objects.has(this.active)) this.active = null;
    this.on.changed();
  }

  /** Ask, a moment after the last stroke, in which frames masks are, and which of them have become stale. */
  #refreshFrames() {
    clearTimeout(this.resting);
    this.resting = setTimeout(async () => {
      const { visit, image } = this;
      const hasDrawn = this.queue.watch();
      const now = this.coming ? null : await ask(`/images/${image.id}`).catch(() => null);
      if (this.coming || visit !== this.visit) {
        this.refresh().catch(() => {});
      } else if (now && !hasDrawn()) { // each stroke asks anew
        this.#takeImage(now);
        this.#takeFrames(now.objects);
        this.on.changed();
      }
    }, REST);
  }

  #takeImage(now) {
    this.image = { ...now, view: null, leased: this.image.leased };
  }

  #takeFrames(objects) {
    for (const { id, frames } of objects) {
      const known = this.objects.get(id);
      if (known) this.objects.set(id, { ...known, frames });
    }
  }

  #takeOther(image) {
    this.leave();
    const active = image.view?.active ?? null;
    Object.assign(this, { image, active, reopened: active, others: [] });
    this.#replace(image.objects.map((object) => ({ ...object, crop: null })));
  }

  async #show(image, frame, isNewest, hasDrawn, prepare) {
    this.wanted = frame;
    this.ready = Promise.all([this.frames.get(image, frame), ask(`/images/${image.id}/objects?frame=${frame}`)]);
    const [bitmap, found] = await this.ready;
    if (!isNewest()) return;
    prepare();
    this.frame = frame;
    this.#replace(found.objects);
    this.drafts.clear();
    if (hasDrawn()) {
      this.queue.settled.then(() => this.refresh()).catch((error) => this.on.say(error.message));
    } else if (!this.objects.has(this.active)) {
      this.active = null;
    }
    this.on.shown(bitmap);
    this.on.changed();
    clearTimeout(this.passing);
    this.passing = setTimeout(() => isNewest() && this.#encode(isNewest), PASSING);
    this.encoded = null;
    for (const next of [frame + 1, frame - 1]) {
      if (next >= 0 && next < image.frames) this.frames.get(image, next).catch(() => {});
    }
  }

  async #encode(isNewest) {
    try {
      const answer = await post(`/images/${this.image.id}/open`, { frame: this.frame }, { patience: 300_000 });
      if (isNewest()) this.encoded = answer;
    } catch (error) {
      if (isNewest()) this.on.say(error.message);
    }
    this.on.changed();
  }

  #replace(objects) {
    this.objects = new Map(objects.map((object) => [object.id, this.#withCrop(object)]));
  }

  #withCrop(object) {
    const known = this.objects.get(object.id);
    const same = known?.mask && object.mask && known.mask.version === object.mask.version && known.mask.frame === object.mask.frame;
    const crop = same && !known.local ? known.crop : cropOf(object.mask?.mask);
    return { ...object, frames: object.frames ?? known?.frames ?? {}, crop };
  }

  /**
   * Do something to an object, or to the image if `object` is null and `fields` need none.
   *
   * `crop`: what its mask will about be, shown until the answer is there.
   */
  stroke(kind, fields = {}, { object = this.target, crop, points } = {}) {
    const makes = !object && ['prompt', 'brush', 'polygon', 'mask'].includes(kind);
    const body = { frame: this.frame, kind, ...fields, object: object ? referenceOf(object.id) : null, base_version: this.#versionOf(object) };
    if (makes && this.label) body.label = this.label;
    const measured = kind === 'prompt' || kind === 'brush';
    const key = this.queue.add(this.image.id, 'strokes', body, { frame: this.frame, started: performance.now(), measured });
    if (makes) {
      const id = MARK + key;
      const number = Math.max(0, ...[...this.objects.values()].map((each) => each.number)) + this.drafts.size;
      const known = this.project.labels.find(({ name }) => name === this.label);
      this.drafts.set(id, {
        id, number: number + 1, label: this.label, color: known?.color ?? colorOf(number), frames: {}, mask: null, crop: crop ?? null,
        local: true, points: points ?? [],
      });
      this.active = id;
    } else if (object && crop !== undefined) {
      const local = { ...object, crop, local: true };
      (this.objects.has(object.id) ? this.objects : this.drafts).set(object.id, local);
    }
    if (object && object.id === this.active && kind !== 'accept') this.reopened = object.id;
    this.on.changed();
    return key;
  }

  /** Undo or redo (the action's name) the last step, or the last one of an object. */
  undo(action, object = null) {
    if (!this.image || !(object || this.queue.waiting || this.image.history[action])) return;
    this.queue.add(this.image.id, action, { object: object ? referenceOf(object.id) : null }, { frame: this.frame });
  }

  /** The version of an object's mask in this frame, which a stroke is drawn upon. */
  #versionOf(object) {
    return (object?.mask?.frame === this.frame ? object.mask : object?.frames?.[this.frame])?.version ?? null;
  }

  /** The server's answer to a stroke. */
  acknowledged({ image, key, about, action }, answer) {
    if (image !== this.image?.id) return;
    const draft = this.drafts.get(MARK + key);
    this.drafts.delete(MARK + key);
    Object.assign(this.image, answer.image);
    this.#takeHistory(answer);
    if (action === 'strokes') {
      if (answer.object) this.#take(answer.object, about.frame, draft);
      if (answer.changed?.length) this.refresh().catch((error) => this.on.say(error.message));
      if (about.measured) this.latency = performance.now() - about.started;
    } else {
      this.#takeUndone(answer);
    }
    if (this.image.frames > 1) this.#refreshFrames();
    this.on.changed();
  }

  #takeHistory({ history, stroke, strokes }) {
    const changed = new Map([stroke, ...strokes ?? []].filter(Boolean).map((entry) => [entry.n, entry]));
    const kept = (this.image.history.entries ?? []).filter(({ n }) => !changed.has(n));
    // A new stroke makes what was undone of its object impossible to redo.
    const left = stroke ? kept.filter(({ undone, object }) => !undone || object !== stroke.object) : kept;
    this.image.history = { ...history, entries: [...left, ...changed.values()].sort((a, b) => a.n - b.n) };
  }

  /** Show what was undone or redone, in its frame. */
  #takeUndone({ object, changed, strokes: [{ frame }] }) {
    const elsewhere = changed.length > 0 && changed.every((each) => each.frame !== null && each.frame !== this.frame);
    if (elsewhere && frame !== null && frame !== this.frame) this.toFrame(frame).catch((error) => this.on.say(error.message));
    else if (!object || changed.some((each) => each.object !== object.id || (each.frame ?? this.frame) !== this.frame)) this.refresh().catch((error) => this.on.say(error.message));
    if (!elsewhere && object) this.#take(object, object.mask?.frame ?? frame ?? this.frame);
  }

  #take(object, frame, draft) {
    if (object.deleted) {
      this.objects.delete(object.id);
      if (this.active === object.id) this.active = null;
      return;
    }
    const here = frame === this.frame;
    const known = this.objects.get(object.id);
    const { [frame]: _, ...others } = known?.frames ?? {};
    const frames = object.mask ? { ...others, [frame]: { ...object.mask, mask: null, measure: null } } : others;
    const shown = here ? { mask: object.mask, crop: cropOf(object.mask?.mask) } : { mask: known?.mask ?? null, crop: known?.crop ?? null };
    this.objects.set(object.id, { ...object, ...shown, frames });
    if (draft && this.active === draft.id) this.active = this.reopened = object.id;
    if (here && object.mask) {
      whenIdle(() => this.#verify(this.objects.get(object.id)));
      this.on.told(object);
    }
  }

  async #verify({ crop, mask, local } = {}) {
    if (!mask || local) return; // a newer stroke is on its way
    const same = await isAsStored(crop, mask.hash, this.size);
    if (same === false) this.on.say('A mask on the screen is not the one that was stored; reload the page to see what is stored.');
    this.verified = same;
    this.on.changed();
  }

  /** The server has refused a stroke: show what is stored, and why. */
  refused({ image, key }, error) {
    if (image === this.image?.id) {
      if (this.active === MARK + key) this.active = null;
      this.drafts.delete(MARK + key);
      this.refresh().catch(() => {});
    }
    const changed = 'This object has been changed in another window; your last stroke is not in it. Look, and draw it again.';
    this.on.say(error.status === 409 ? error.body?.detail ?? changed : error.message);
  }

  /** Keep how the image is looked at: {x, y, scale, tool, window: {level, width, gamma}}; no scale if all is shown. */
  keepView(view) {
    if (!this.image) return;
    const active = this.objects.has(this.active) ? this.active : null;
    put(`/images/${this.image.id}/view`, { frame: this.frame, active, ...view }).catch(() => {});
  }

  /** Let others have the image. */
  leave() {
    if (this.image?.leased) ask(`/images/${this.image.id}/lease`, { method: 'DELETE', keepalive: true }).catch(() => {});
  }
}

function referenceOf(id) {
  return id.startsWith(MARK) ? { of: id.slice(MARK.length) } : id;
}
