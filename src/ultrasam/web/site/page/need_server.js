// Modules are not loaded from files on a disk; this script is, and says so.
if (location.protocol === 'file:') {
  document.querySelector('#empty').textContent =
    'Browsers do not run this page from a file. Start a server in its folder: python -m http.server, and open ' +
    'http://localhost:8000.';
  document.querySelector('#state').textContent = '';
}
