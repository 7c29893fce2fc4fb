"use strict";
// Light or dark theme: the system's until the user chooses one. Runs before anything is drawn.
const theme = {
  asked: window.matchMedia("(prefers-color-scheme: dark)"),
  isDark() {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : theme.asked.matches;
  },
  choose(name) {
    document.documentElement.dataset.theme = name;
    try { localStorage.setItem("feedloop-theme", name); } catch { /* a page from a file may have no storage */ }
  },
};
try {
  const kept = localStorage.getItem("feedloop-theme");
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
} catch { /* as above */ }
