// Readers: who reads, what others drew on this image, how far they agree, and what an adjudicator takes.

import { ask, post } from '../api.js';
import { cropOf } from '../masks.js';
import { byId, make } from '/shared/page/elements.js';
import { colorOf } from '/shared/page/colors.js';

/** Make the panel work; `page` holds session, say(sentence) and changed(). */
export class Readers {
  constructor({ session, say, changed }) {
    Object.assign(this, { session, say, changed, reads: [], choices: new Set(), of: null });
    const tell = (action) => () => action().catch((error) => say(error.message));
    byId('compare').addEventListener('click', tell(() => this.load()));
    byId('adjudicate').addEventListener('click', tell(() => this.#adjudicate()));
    byId('reader-name').addEventListener('change', tell(() => this.#become(byId('reader-name').value.trim())));
  }

  /** Show who reads; what was compared belongs to another image. */
  show() {
    const { project, image } = this.session;
    if (document.activeElement !== byId('reader-name')) byId('reader-name').value = project?.reader ?? '';
    const names = (project?.readers ?? []).map((reader) => reader.name ?? reader);
    if (byId('reader-names').children.length !== names.length) {
      byId('reader-names').replaceChildren(...names.map((value) => make('option', { value })));
    }
    if (this.of !== image?.id) this.#reset();
    byId('compare').disabled = !image;
  }

  #reset() {
    Object.assign(this, { reads: [], of: this.session.image?.id ?? null });
    this.choices.clear();
    this.session.others = [];
    for (const id of ['reads', 'agreement']) byId(id).replaceChildren();
    byId('adjudicate').hidden = true;
    byId('reads-empty').hidden = false;
  }

  async #become(reader) {
    if (!reader || reader === this.session.project.reader) return;
    await this.session.queue.settled;
    await post('/session', { reader });
    location.reload(); // another reader sees other masks
  }

  /** Fetch what all readers drew on this image, and how far they agree. */
  async load() {
    const { image, frame } = this.session;
    const [{ reads }, agreement] = await Promise.all([ask(`/images/${image.id}/reads?frame=${frame}`),
      ask(`/images/${image.id}/agreement`).catch((error) => ({ agreement: [], why: error.message }))]);
    if (image.id !== this.session.image.id) return;
    this.of = image.id;
    this.reads = reads;
    byId('reads-empty').hidden = reads.length > 0;
    byId('reads').replaceChildren(...reads.map((read, i) => this.#read(read, i)));
    showAgreement(agreement);
    byId('adjudicate').hidden = !reads.length;
    this.#showOthers();
  }

  #read({ reader, state, objects }, place) {
    const own = reader === this.session.project.reader;
    const color = colorOf(place + 1);
    const swatch = make('span', { className: 'swatch' });
    swatch.style.background = color;
    const shown = make('input', { type: 'checkbox', checked: !own, disabled: own, on: { change: () => this.#showOthers() } });
    shown.dataset.reader = reader;
    return make('li', {}, make('label', {}, shown, swatch, `${reader}${own ? ' (you)' : ''}: ${state ?? ''}, ${objects.length} object${objects.length === 1 ? '' : 's'}`),
      make('ul', { className: 'choices' }, ...objects.map((object) => this.#choice(reader, object))));
  }

  #choice(reader, object) {
    const name = object.label ?? `object ${object.number}`;
    const box = make('input', { type: 'checkbox', on: {
      change: ({ target }) => (target.checked ? this.choices.add(object.id) : this.choices.delete(object.id)),
    } });
    return make('li', {}, make('label', { title: `Take ${name} of ${reader} into the adjudicated reading` }, box, `take ${name}`));
  }

  #showOthers() {
    const shown = new Set([...document.querySelectorAll('#reads input[data-reader]:checked')].map(({ dataset }) => dataset.reader));
    this.session.others = this.reads.flatMap(({ reader, objects }, i) => (!shown.has(reader) || reader === this.session.project.reader ? []
      : objects.map((object) => ({ ...object, crop: cropOf(object.mask?.mask), color: colorOf(i + 1), by: reader, other: true })).filter(({ crop }) => crop)));
    this.changed();
  }

  async #adjudicate() {
    if (!this.choices.size) throw new Error('Nothing is taken yet; tick the objects that the adjudicated reading takes.');
    const choices = [...this.choices];
    this.choices.clear();
    const { adjudications } = await post(`/images/${this.session.image.id}/adjudicate`, { choices });
    byId('adjudicated').textContent = `The adjudicated reading has ${adjudications.length} object${adjudications.length > 1 ? 's' : ''}; every reader’s own masks stay.`;
    await this.load();
  }
}

function showAgreement({ agreement, why }) {
  if (!agreement.length) {
    byId('agreement').replaceChildren(make('caption', { textContent: why ?? 'Masks of two readers with the same label are compared here.' }));
    return;
  }
  const head = make('tr', {}, ...['Label', 'Readers', 'Dice', 'HD95'].map((textContent) => make('th', { textContent, scope: 'col' })));
  byId('agreement').replaceChildren(head, ...agreement.map(({ label, readers, frames, missed, dice, hd95, unit }) => make('tr', {
    title: `${frames} frame${frames > 1 ? 's' : ''}, in ${missed} of which only one has it`,
  }, make('th', { textContent: label, scope: 'row' }), make('td', { textContent: readers.join(' – ') }),
  make('td', { textContent: dice.toFixed(3) }), make('td', { textContent: hd95 === null ? '–' : `${hd95.toFixed(1)} ${unit}` }))));
}
