"use strict";
// Draws every chart in the colours of the theme, and redraws it when the theme or the width changes.
{
  const { charts, night } = JSON.parse(document.getElementById("chart-data").textContent);
  const config = { responsive: true, displayModeBar: false, scrollZoom: false, doubleClick: false };

  // Returns a deep copy with each colour replaced according to `tones`.
  const recoloured = (value, tones) => {
    if (typeof value === "string") return tones[value] ?? value;
    if (Array.isArray(value)) return value.map((inner) => recoloured(inner, tones));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, recoloured(inner, tones)]));
    }
    return value;
  };
  // On a narrow page, puts each row's value below its label and makes the rows higher.
  const wrapLabels = (layout, width) => {
    const labels = (layout.annotations ?? []).filter((each) => each.text.includes("  <b>"));
    if (!labels.some((each) => each.text.replace(/<.*?>|&\w+;/g, "").length * 7.2 > width)) return;
    for (const each of labels) each.text = each.text.replace("  <b>", "<br><b>");
    layout.height += 18 * labels.length;
  };
  const draw = () => {
    const tones = theme.isDark() ? night : {};
    for (const [key, plot] of Object.entries(charts)) {
      const { data, layout } = recoloured(plot, tones);
      const at = document.getElementById(`chart-${key}`);
      wrapLabels(layout, at.clientWidth);
      Plotly.react(at, data, layout, config);
    }
  };
  const button = document.getElementById("theme");
  const showName = () => { button.textContent = theme.isDark() ? "Light" : "Dark"; };
  const changed = () => { showName(); draw(); };
  button.setAttribute("aria-label", "Change between light and dark");
  button.hidden = false;
  button.addEventListener("click", () => { theme.choose(theme.isDark() ? "light" : "dark"); changed(); });
  theme.asked.addEventListener("change", changed);
  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (window.innerWidth !== width) requestAnimationFrame(draw);
    width = window.innerWidth;
  });
  changed();
}
