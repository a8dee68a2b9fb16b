// Light, dark, or as the system has it: a classic script in the head, so that nothing flashes in the other colours.
(() => {
  "use strict";
  const KEY = "lookout.theme";
  const THEMES = ["auto", "light", "dark"];

  function kept() {
    try {
      const found = localStorage.getItem(KEY);
      return THEMES.includes(found) ? found : "auto";
    } catch {
      return "auto"; // the browser keeps nothing for this site
    }
  }

  function wear(theme) {
    document.documentElement.dataset.theme = theme;
  }

  function turn(button) {
    const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length];
    try {
      localStorage.setItem(KEY, next);
    } catch {
      // it holds until the page is left
    }
    wear(next);
    button.textContent = `Theme: ${next}`;
  }

  wear(kept());
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    if (!button) return;
    button.textContent = `Theme: ${document.documentElement.dataset.theme}`;
    button.addEventListener("click", () => turn(button));
  });
})();
