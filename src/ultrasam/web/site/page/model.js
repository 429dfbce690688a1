// The page's side of worker.js.

/** Runs the network; of previews, only the newest is computed. */
export class Model {
  /** On `provider` 'wasm' or 'webgpu'; `loaded` is called with the share of the model's files that is loaded. */
  constructor({ provider = 'wasm', loaded = () => {} } = {}) {
    Object.assign(this, { provider, loaded });
    // A worker from a blob keeps the page's rules about connections (CSP); one from a file would have none.
    const source = `import ${JSON.stringify(new URL('./worker.js', import.meta.url).href)};`;
    const address = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }));
    this.worker = new Worker(address, { type: 'module' });
    this.waiting = new Map();
    this.next = 1;
    this.preview = null;
    this.worker.onmessage = ({ data }) => {
      if (data.loaded === undefined) this.#answered(data);
      else this.loaded(data.loaded);
    };
    this.worker.onerror = (event) => this.#failed(event.message || 'The network could not be started.');
  }

  static threads() {
    return self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency || 1) : 1;
  }

  /** Load the network; resolves to what is known of it. */
  async load(threads) {
    return (await this.ask('load', { threads, provider: this.provider })).answer;
  }

  stop() {
    this.worker.terminate();
    this.#failed('The network was stopped.');
  }

  /** Ask the worker; resolves to {answer, milliseconds}. */
  ask(action, values) {
    return new Promise((resolve, reject) => {
      const id = this.next++;
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, action, values });
    });
  }

  /** As `ask('predict', …)`, or null if a newer preview has replaced it before it began. */
  askPreview(values) {
    this.preview?.resolve(null);
    return new Promise((resolve, reject) => {
      this.preview = { values, resolve, reject };
      this.#startPreview();
    });
  }

  #startPreview() {
    if (!this.preview || this.waiting.size) return;
    const { values, resolve, reject } = this.preview;
    this.preview = null;
    this.ask('predict', values).then(resolve, reject);
  }

  #answered({ id, answer, error, milliseconds }) {
    const { resolve, reject } = this.waiting.get(id);
    this.waiting.delete(id);
    if (error === undefined) resolve({ answer, milliseconds });
    else reject(new Error(error));
    this.#startPreview();
  }

  #failed(message) {
    for (const { reject } of this.waiting.values()) reject(new Error(message));
    this.waiting.clear();
  }
}
