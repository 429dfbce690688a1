// Labels, keys, the look, and what the model does.

import { patch, post, remove } from '../api.js';
import { ACTIONS, FIXED, shownKey } from '../shortcuts.js';
import { byId, make } from '/shared/page/elements.js';

const LOOKS = { system: 'light dark', dark: 'dark', light: 'light' };
const LOOK = 'ultrasam.look'; // each browser's own

export class Settings {
  /** `page` holds session, shortcuts, say(sentence) and changed(). */
  constructor({ session, shortcuts, say, changed }) {
    Object.assign(this, { session, shortcuts, say, changed });
    const look = byId('look');
    look.value = localStorage[LOOK] in LOOKS ? localStorage[LOOK] : 'dark'; // for a dim room, whatever the system is
    look.addEventListener('change', () => {
      localStorage[LOOK] = look.value;
      document.documentElement.style.colorScheme = LOOKS[look.value];
    });
    document.documentElement.style.colorScheme = LOOKS[look.value];
    byId('views').addEventListener('change', ({ target }) => this.#save({ views: target.checked }));
    byId('key-stride').addEventListener('change', ({ target }) => this.#save({ key_stride: Math.max(Number(target.value) || 1, 1) }));
    byId('label-add').addEventListener('click', () => this.#addLabel());
    byId('label-new').addEventListener('keydown', ({ key }) => key === 'Enter' && this.#addLabel());
    byId('keys-reset').addEventListener('click', () => this.#save({ shortcuts: {} }));
  }

  get settings() {
    return this.session.project.settings;
  }

  async #tell(action) {
    try {
      await action();
    } catch (error) {
      this.say(error.message);
    }
    this.show();
    this.changed();
  }

  #save(settings) {
    return this.#tell(async () => {
      this.session.project.settings = { ...this.settings, ...await patch('/settings', settings) };
      this.shortcuts.changed = this.settings.shortcuts ?? {};
    });
  }

  /** Give labels that have none the digits that are free. */
  async giveDigits() {
    const { labels } = this.session.project;
    for (const label of labels.filter(({ key }) => !key)) {
      const free = [...'1234567890'].find((digit) => !labels.some(({ key }) => key === digit));
      if (free) Object.assign(label, await patch(`/labels/${label.id}`, { key: free }));
    }
    this.show();
  }

  #addLabel() {
    const name = byId('label-new').value.trim();
    byId('label-new').value = '';
    return this.#tell(async () => {
      if (name) this.session.project.labels.push(await post('/labels', { name }));
      await this.giveDigits();
    });
  }

  show() {
    const { project } = this.session;
    byId('views').checked = Boolean(project.settings.views);
    byId('key-stride').value = project.settings.key_stride ?? 5;
    byId('label-names').replaceChildren(...project.labels.map(({ name }) => make('option', { value: name })));
    byId('labels').replaceChildren(...project.labels.map((label) => this.#label(label)));
    byId('labels-empty').hidden = project.labels.length > 0;
    const rows = ACTIONS.map(({ name, text }) => [shownKey(this.shortcuts.keyFor(name)), text]);
    byId('key-list').replaceChildren(...[...FIXED, ...rows].map(([key, text]) => make('div', {}, make('dt', { textContent: key }), make('dd', { textContent: text }))));
    byId('shortcuts').replaceChildren(...ACTIONS.map((action) => this.#shortcut(action)));
  }

  #label(label) {
    const { id, name, color, key } = label;
    const change = (fields) => this.#tell(async () => Object.assign(label, await patch(`/labels/${id}`, fields)));
    const keys = make('select', { title: 'Digit', aria: { label: `Digit of ${name}` }, on: { change: ({ target }) => change({ key: target.value || null }) } },
      ...['', ...'1234567890'].map((value) => make('option', { value, textContent: value || '–', selected: value === (key ?? '') })));
    return make('li', { className: 'label' },
      make('input', { type: 'color', value: color.toLowerCase(), title: 'Color', aria: { label: `Color of ${name}` }, on: { change: ({ target }) => change({ color: target.value }) } }),
      make('input', { value: name, maxLength: 80, aria: { label: `Name of label ${name}` }, on: { change: ({ target }) => change({ name: target.value.trim() }) } }), keys,
      make('button', { textContent: '✕', className: 'icon', title: `Remove ${name}; refused while objects have it`, aria: { label: `Remove label ${name}` }, on: {
        click: () => this.#tell(async () => {
          await remove(`/labels/${id}`);
          this.session.project.labels = this.session.project.labels.filter((other) => other !== label);
        }),
      } }));
  }

  #shortcut({ name, text }) {
    const button = make('button', { textContent: shownKey(this.shortcuts.keyFor(name)), title: 'Click, then press another key', aria: { label: `Key of: ${text}` } });
    button.addEventListener('click', () => {
      button.textContent = 'press a key …';
      this.shortcuts.recording = (key) => {
        const conflict = key && this.shortcuts.conflict(name, key);
        if (conflict) this.say(conflict);
        if (!key || conflict) this.show();
        else this.#save({ shortcuts: { ...this.shortcuts.changed, [name]: key } });
      };
    });
    return make('li', {}, make('span', { textContent: text }), button);
  }
}
