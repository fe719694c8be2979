// Runs before the page is drawn, so that it never flashes in another theme.
(() => {
  const stored = (name) => {
    try {
      return localStorage.getItem(`albertine.${name}`);
    } catch {
      return null; // where storage is forbidden nothing is remembered
    }
  };
  document.documentElement.dataset.theme = stored("theme") ?? "auto";
  document.documentElement.lang = /^zh/i.test(stored("language") ?? navigator.language) ? "zh" : "en";
})();
