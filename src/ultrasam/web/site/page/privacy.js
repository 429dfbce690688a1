// Shows that nothing leaves this computer: the page's rules, and what it has loaded so far.

import { byId } from './elements.js';

/** Show the rules and count requests to other addresses, of which there should be none. */
export function showPrivacy({ threads, offline }) {
  const elsewhere = new Set();
  let refused = 0;
  const show = () => {
    const count = elsewhere.size;
    byId('privacy-text').textContent =
      `Your pictures stay in this browser: the page's rules (CSP) allow no connection but to ${location.host}, ` +
      `which the page and its model come from. Requests elsewhere so far: ${count}` +
      `${refused ? `, refused: ${refused}` : ''}. ` +
      `${offline() ? 'Ready for use without a network. ' : ''}` +
      `The model runs on ${threads} thread${threads > 1 ? 's' : ''}` +
      `${threads > 1 || self.crossOriginIsolated ? '' : ' (the server does not allow more)'}.`;
  };
  new PerformanceObserver((list) => {
    for (const { name } of list.getEntries()) {
      const { protocol, origin } = new URL(name);
      if (protocol.startsWith('http') && origin !== location.origin) elsewhere.add(name);
    }
    show();
  }).observe({ type: 'resource', buffered: true });
  document.addEventListener('securitypolicyviolation', () => { refused++; show(); });
  show();
  return show;
}
