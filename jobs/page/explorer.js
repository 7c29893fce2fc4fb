"use strict";
// Shows one user at a time: a searchable list, for mouse and keyboard, and the model's ranking of one impression.
{
  const examples = JSON.parse(document.getElementById("example-data").textContent);
  const box = document.getElementById("explorer-box");

  // Texts come from logs, so they are only set as text, never as markup.
  const create = (tag, kind, text) => {
    const element = document.createElement(tag);
    if (kind) element.className = kind;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const figure = (value) => (value === null || value === undefined ? "–" : value.toFixed(3));
  const signed = (value) => (value === null ? "–" : value.toFixed(2).replace(/^-(0\.00)$/, "$1").replace("-", "−"));
  const day = (time) => String(time ?? "").replace("T", " ").replace(/(\.\d+)?(\+00:00|Z)$/, "");

  if (box && examples.length) {
    const search = document.getElementById("search");
    const order = document.getElementById("order");
    const list = document.getElementById("users");
    const words = examples.map((one) =>
      [one.user_id, one.impression_id, ...[...one.history, ...one.candidates].flatMap((news) => [news.id, news.title, news.category])]
        .join("\n").toLowerCase());
    let shown = [];
    let chosen = 0;

    const choose = (place) => {
      if (!shown.length) return;
      chosen = Math.max(0, Math.min(shown.length - 1, place));
      [...list.children].forEach((item, at) => item.setAttribute("aria-selected", String(at === chosen)));
      const item = list.children[chosen];
      list.setAttribute("aria-activedescendant", item.id);
      search.setAttribute("aria-activedescendant", item.id);
      const above = item.offsetTop - list.offsetTop;
      if (above < list.scrollTop) list.scrollTop = above;
      else if (above + item.offsetHeight > list.scrollTop + list.clientHeight) list.scrollTop = above + item.offsetHeight - list.clientHeight;
      show(shown[chosen]);
    };
    const fill = () => {
      const asked = search.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
      shown = examples.filter((_, at) => asked.every((word) => words[at].includes(word)));
      if (order.value !== "given") {
        const sign = order.value === "best" ? -1 : 1;
        shown.sort((one, other) => sign * ((one.auc ?? 0.5) - (other.auc ?? 0.5)));
      }
      list.replaceChildren(...shown.map((one, at) => {
        const item = create("li", "", one.user_id);
        item.id = `user-${at}`;
        item.setAttribute("role", "option");
        item.append(create("span", "", `AUC ${figure(one.auc)} · ${one.history.length} read · ${one.candidates.length} shown`));
        item.addEventListener("click", () => choose(at));
        return item;
      }));
      document.getElementById("found").textContent = `${shown.length} of ${examples.length} impressions`;
      if (shown.length) choose(0);
      else {
        for (const each of [list, search]) each.removeAttribute("aria-activedescendant");
        document.getElementById("looked-at").replaceChildren(create("p", "soft", "No impression matches."));
      }
    };
    const handleKey = (event) => {
      const page = 10;
      const places = { ArrowDown: chosen + 1, ArrowUp: chosen - 1, PageDown: chosen + page, PageUp: chosen - page };
      if (event.currentTarget === list) Object.assign(places, { Home: 0, End: shown.length - 1 });
      if (event.key === "Escape") { search.value = ""; fill(); }
      if (!(event.key in places)) return;
      event.preventDefault();
      choose(places[event.key]);
    };

    const show = (one) => {
      const at = document.getElementById("looked-at");
      const clicks = one.candidates.filter((news) => news.clicked);
      const head = create("h3", "", `User ${one.user_id}`);
      const best = clicks.length ? Math.min(...clicks.map((news) => news.rank)) : null;
      const ranks = best === null ? "nothing was clicked" : `first clicked news at rank ${best} of ${one.candidates.length}`;
      const summary = create("p", "soft", `Impression ${one.impression_id} · ${day(one.time)} · AUC ${figure(one.auc)} · ${ranks}`);
      const read = create("ol", "history");
      read.append(...[...one.history].reverse().map((news) => {
        const item = create("li", "", "");
        item.append(create("span", "", news.title || news.id), " ", create("span", "tag", news.category));
        return item;
      }));
      if (!one.history.length) read.append(create("li", "soft", "Nothing: the user is new."));
      read.tabIndex = 0;
      read.setAttribute("aria-label", "What the user had read");
      at.replaceChildren(head, summary, create("h3", "", `Read before, newest first (${one.history.length})`), read,
        create("h3", "", "Shown, as the model ranks them"), rankedList(one));
    };
    const rankedList = (one) => {
      const scores = one.candidates.map((news) => news.score).filter((score) => score !== null);
      const low = Math.min(...scores);
      const span = Math.max(...scores) - low || 1;
      const rows = create("ol", "ranked");
      for (const news of [...one.candidates].sort((a, b) => a.rank - b.rank)) {
        const row = create("li", news.clicked ? "candidate clicked" : "candidate");
        const title = create("span", "title", news.title || news.id);
        title.append(" ", create("span", "tag", news.category));
        if (news.clicked) title.append(" ", create("span", "mark", "✓ clicked"));
        const bar = create("span", "bar");
        bar.setAttribute("aria-hidden", "true");
        const fill = create("i");
        fill.style.width = news.score === null ? "0" : `${4 + 96 * (news.score - low) / span}%`;
        bar.append(fill);
        row.append(create("span", "rank", `${news.rank}.`), title, bar, create("span", "score", signed(news.score)));
        rows.append(row);
      }
      rows.tabIndex = 0;
      rows.setAttribute("aria-label", "What was shown, best first");
      return rows;
    };

    search.addEventListener("input", fill);
    order.addEventListener("change", fill);
    search.addEventListener("keydown", handleKey);
    list.addEventListener("keydown", handleKey);
    box.hidden = false;
    fill();
  }
}
