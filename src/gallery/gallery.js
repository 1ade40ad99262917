"use strict";
// The page's behaviour: lay out, filter, enlarge, compare.

// ---------------------------------------------------------------- filter and sort

const TESTS = {
  is: (value, wanted) => text(value) === wanted || String(value) === wanted || (typeof value === "number" && wanted !== "" && value === Number(wanted)),
  not: (value, wanted) => !TESTS.is(value, wanted),
  least: (value, wanted) => typeof value === "number" && value >= Number(wanted),
  most: (value, wanted) => typeof value === "number" && value <= Number(wanted),
  contains: (value, wanted) => String(value).toLowerCase().includes(wanted.toLowerCase()),
};

function visible() {
  const key = byId("sort").value;
  const sign = byId("descending").checked ? -1 : 1;
  const kept = RUNS.map((_, i) => i)
    .filter((i) => RUNS[i].picture || settings(i).length)
    .filter((i) => filters.every(({ field, how, value }) => TESTS[how](valueOf(i, field), value)));
  const missing = (i) => key !== "" && valueOf(i, key) === null;
  return kept.sort((a, b) => missing(a) - missing(b) || sign * (key ? compareValues(valueOf(a, key), valueOf(b, key)) : a - b) || a - b);
}

byId("filter").addEventListener("submit", (event) => {
  event.preventDefault();
  const [field, how, input] = [byId("filter-field").value, byId("filter-how").value, byId("filter-value")];
  const number = ["least", "most"].includes(how);
  input.setCustomValidity(number && (input.value.trim() === "" || Number.isNaN(Number(input.value))) ? "A number" : "");
  if (!input.reportValidity()) return;
  filters.push({ field, how, value: input.value.trim() });
  input.value = "";
  showFilters();
});
byId("filter-value").addEventListener("input", (event) => event.target.setCustomValidity(""));
byId("filter-how").addEventListener("change", () => byId("filter-value").setCustomValidity(""));
byId("filter-field").addEventListener("change", suggest);

function suggest() {
  const values = DATA.keys[byId("filter-field").value] ?? [];
  byId("filter-values").replaceChildren(...values.slice(0, 100).map((value) => make("option", { value: value === null ? "–" : String(value) })));
}

function showFilters() {
  const words = byId("filter-how").options;
  byId("filters").replaceChildren(
    ...filters.map((filter) => {
      const how = [...words].find((option) => option.value === filter.how).textContent;
      const remove = () => {
        filters.splice(filters.indexOf(filter), 1);
        showFilters();
        byId("filter-value").focus();
      };
      const button = make("button", { type: "button", "aria-label": `Remove filter: ${filter.field} ${how} ${filter.value}`, onclick: remove }, `${filter.field} ${how} ${filter.value} ✕`);
      return make("li", {}, button);
    }),
  );
  layOut();
}

// ---------------------------------------------------------------- the grid

function cell(run) {
  if (cells.has(run)) return cells.get(run);
  const { picture, thumbnail, width, height, status } = RUNS[run];
  const figure = make("figure", { class: "cell", "data-run": run });
  if (picture) {
    const image = make("img", { loading: "lazy", decoding: "async", width, height, src: thumbnail, alt: `Pastiche: ${describe(run)}` });
    figure.append(make("button", { type: "button", class: "picture", title: RUNS[run].name, onclick: () => enlarge(run) }, image));
  } else {
    figure.append(make("a", { class: "missing", href: `#problem-${run}`, title: RUNS[run].reason }, `${status}: no picture`));
  }
  const box = make("input", { type: "checkbox", "aria-label": `Compare curves of ${describe(run)}`, onchange: (event) => choose(run, event.target.checked) });
  figure.append(make("figcaption", {}, make("span", { class: "settings" }), make("span", { class: "values" }), make("label", {}, box, " curve")));
  cells.set(run, figure);
  return figure;
}

function caption(run, without) {
  const figure = cell(run);
  const keys = settings(run, without);
  const words = keys.slice(0, 3).map((key) => `${key} ${text(RUNS[run].keys[key])}`).join(", ");
  const parts = Object.keys(DATA.keys).length ? words + (keys.length > 3 ? " …" : "") : RUNS[run].name;
  const status = RUNS[run].picture && RUNS[run].status !== "done" ? `${RUNS[run].status}: ` : "";
  figure.querySelector(".settings").textContent = status + parts;
  const shown = [...document.querySelectorAll("#shown input:checked")].map((box) => box.value);
  const sort = byId("sort").value;
  if (sort in DATA.numbers && !shown.includes(sort)) shown.push(sort);
  figure.querySelector(".values").replaceChildren(
    ...shown
      .filter((name) => RUNS[run].numbers[name] !== null)
      .flatMap((name) => [`${name} `, make("b", {}, text(RUNS[run].numbers[name])), " "]),
  );
  return figure;
}

function groupBy(runs, key) {
  const groups = new Map((DATA.keys[key] ?? [null]).map((value) => [value, []]));
  for (const run of runs) groups.get(key ? RUNS[run].keys[key] : null).push(run);
  return [...groups].filter(([, members]) => members.length);
}

const breakable = (key) => key.split(/(?<=[._])/).flatMap((part) => [part, make("wbr")]);

function layOut() {
  const [rows, columns] = [byId("rows").value, byId("columns").value];
  const runs = visible();
  const axes = [rows, columns].filter(Boolean);
  let content;
  if (rows && columns && rows !== columns) {
    const across = groupBy(runs, columns);
    const most = (value) => Math.max(1, ...groupBy(runs, rows).map(([, members]) => members.filter((run) => RUNS[run].keys[columns] === value).length));
    const widths = new Map(across.map(([value]) => [value, Math.min(4, Math.ceil(Math.sqrt(most(value))))]));
    const body = groupBy(runs, rows).map(([value, members]) =>
      make("tr", {}, make("th", { scope: "row", title: String(value) }, text(value)), ...across.map(([other]) => {
        const here = members.filter((run) => RUNS[run].keys[columns] === other);
        return make("td", {}, make("div", { class: "cells", style: `--across: ${widths.get(other)}` }, ...here.map((run) => caption(run, axes))));
      })),
    );
    const over = make("tr", { class: "names" }, make("td"), make("th", { scope: "colgroup", colspan: across.length }, columns));
    const head = make("tr", {}, make("td", { class: "names" }, ...breakable(rows)), ...across.map(([value]) => make("th", { scope: "col", title: String(value) }, text(value))));
    content = make("table", { class: "grid" }, make("thead", {}, over, head), make("tbody", {}, ...body));
  } else if (axes.length) {
    const groups = groupBy(runs, axes[0]);
    const wide = groups.length < runs.length ? "wide" : "";
    content = make("div", { class: "grid groups" }, ...groups.map(([value, members]) =>
      make("section", { class: wide, style: "margin: 0" }, make("h3", { title: String(value) }, make("small", {}, `${axes[0]} `), text(value)), make("div", { class: "cells" }, ...members.map((run) => caption(run, axes)))),
    ));
  } else {
    content = make("div", { class: "grid cells" }, ...runs.map((run) => caption(run, [])));
  }
  byId("grid").replaceChildren(content);
  order = [...byId("grid").querySelectorAll(".cell")].map((figure) => Number(figure.dataset.run));
  byId("status").textContent = `${order.length} of ${RUNS.length} runs shown`;
  colour();
  drawTable();
  drawSoon();
}

// ---------------------------------------------------------------- moving between runs

function neighbour(from, key) {
  const buttons = [...byId("grid").querySelectorAll("button.picture")];
  const here = buttons.findIndex((button) => Number(button.closest(".cell").dataset.run) === from);
  if (here < 0) return null;
  if (key === "ArrowLeft") return buttons[here - 1];
  if (key === "ArrowRight") return buttons[here + 1];
  const middle = (button) => {
    const box = button.getBoundingClientRect();
    return { x: box.left + box.width / 2, top: box.top, bottom: box.bottom };
  };
  const start = middle(buttons[here]);
  const away = (box) => (key === "ArrowDown" ? box.top - start.bottom : start.top - box.bottom);
  const candidates = buttons
    .map((button) => ({ button, box: middle(button) }))
    .filter(({ box }) => away(box) > -1)
    .map(({ button, box }) => ({ button, distance: 4 * away(box) + Math.abs(box.x - start.x) }))
    .sort((a, b) => a.distance - b.distance);
  return candidates[0]?.button;
}

function move(from, event) {
  if (!event.key.startsWith("Arrow") || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return null;
  const button = neighbour(from, event.key);
  event.preventDefault();
  return button ?? null;
}

byId("grid").addEventListener("keydown", (event) => {
  if (event.target.matches("button.picture")) move(Number(event.target.closest(".cell").dataset.run), event)?.focus();
});

// ---------------------------------------------------------------- enlarged

const viewer = byId("viewer");

function entries(list, pairs) {
  byId(list).replaceChildren(...pairs.flatMap(([name, value]) => [make("dt", {}, name), make("dd", { title: String(value) }, text(value))]));
}

function enlarge(run) {
  open = run;
  const { name, picture, width, height, inputs, numbers, keys, reason, command } = RUNS[run];
  byId("viewer-title").textContent = describe(run) === name ? name : `${describe(run)} (${name})`;
  byId("stage").style.setProperty("--aspect", width && height ? width / height : 1.5);
  byId("stage").classList.toggle("pair", Boolean(picture && inputs.content));
  for (const [id, source, words] of [["before", picture && inputs.content, "Content"], ["after", picture, `Pastiche: ${describe(run)}`]]) {
    byId(id).hidden = !source;
    byId(id).alt = words;
    if (source) byId(id).src = source;
    else byId(id).removeAttribute("src");
  }
  for (const id of ["split", "split-hint"]) byId(id).hidden = !(picture && inputs.content);
  byId("viewer-inputs").replaceChildren(...Object.entries(inputs).map(([input, source]) => {
    const words = input.replace("_", " ").replace(/^./, (letter) => letter.toUpperCase());
    return make("figure", {}, make("a", { href: source, target: "_blank" }, make("img", { src: source, alt: words })), make("figcaption", {}, words));
  }));
  entries("viewer-numbers", Object.entries(numbers).filter(([, value]) => value !== null));
  entries("viewer-keys", Object.entries(keys).filter(([, value]) => value !== null));
  byId("viewer-reason").textContent = reason;
  byId("viewer-command").textContent = command ?? "";
  byId("viewer-chosen").checked = chosen.has(run);
  byId("previous").disabled = !neighbour(run, "ArrowLeft");
  byId("next").disabled = !neighbour(run, "ArrowRight");
  if (!viewer.open) viewer.showModal();
  if (!viewer.contains(document.activeElement) || document.activeElement.disabled) byId("viewer-title").focus();
}

function step(button) {
  if (button) enlarge(Number(button.closest(".cell").dataset.run));
}

function split() {
  byId("stage").style.setProperty("--split", `${byId("split").value}%`);
}

viewer.addEventListener("keydown", (event) => {
  if (event.target !== byId("split")) step(move(open, event));
});
viewer.addEventListener("click", (event) => {
  if (event.target === viewer) viewer.close(); // the backdrop
});
viewer.addEventListener("close", () => {
  cells.get(open)?.querySelector("button.picture")?.focus();
  open = null;
});
byId("close").addEventListener("click", () => viewer.close());
byId("previous").addEventListener("click", () => step(neighbour(open, "ArrowLeft")));
byId("next").addEventListener("click", () => step(neighbour(open, "ArrowRight")));
byId("viewer-chosen").addEventListener("change", (event) => choose(open, event.target.checked));
byId("split").addEventListener("input", split);
// After a drag the arrow keys belong to the runs again.
byId("split").addEventListener("pointerup", () => byId("viewer-title").focus());
for (const button of document.querySelectorAll("[data-open]")) {
  button.addEventListener("click", () => enlarge(Number(button.dataset.open)));
}

// ---------------------------------------------------------------- chosen runs

function choose(run, on) {
  if (on) chosen.add(run);
  else chosen.delete(run);
  colour();
  drawSoon();
}

function colour() {
  const places = new Map([...chosen].map((run, i) => [run, i]));
  for (const [run, figure] of cells) {
    figure.classList.toggle("chosen", places.has(run));
    figure.querySelector("input").checked = places.has(run);
    figure.style.setProperty("--colour", colourOf(places.get(run) ?? 0));
  }
}

byId("choose-all").addEventListener("click", () => {
  for (const run of order) chosen.add(run);
  colour();
  drawSoon();
});
byId("choose-none").addEventListener("click", () => {
  chosen.clear();
  colour();
  drawSoon();
});

// ---------------------------------------------------------------- the table

function drawTable() {
  if (!byId("table").open) return;
  const [keys, numbers] = [Object.keys(DATA.keys), Object.keys(DATA.numbers)];
  const sortBy = (name) => {
    byId("descending").checked = byId("sort").value === name && !byId("descending").checked;
    byId("sort").value = name;
    layOut();
    byId("table").querySelectorAll("th button").forEach((button) => button.textContent === name && button.focus());
  };
  const sorted = (name) => (byId("sort").value === name ? { "aria-sort": byId("descending").checked ? "descending" : "ascending" } : {});
  const head = [...keys, ...numbers].map((name) => make("th", { scope: "col", ...sorted(name) }, make("button", { type: "button", onclick: () => sortBy(name) }, name)));
  const body = visible().map((run) =>
    make("tr", {}, make("th", { scope: "row" }, RUNS[run].picture ? make("button", { type: "button", onclick: () => enlarge(run) }, RUNS[run].name) : RUNS[run].name),
      ...[...keys, ...numbers].map((name) => make("td", { class: typeof valueOf(run, name) === "number" ? "number" : "" }, text(valueOf(run, name))))),
  );
  byId("table").querySelector("div").replaceChildren(make("table", {}, make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Run"), ...head)), make("tbody", {}, ...body)));
}

// ---------------------------------------------------------------- begin

for (const id of ["rows", "columns", "sort", "descending"]) byId(id).addEventListener("change", layOut);
byId("shown").addEventListener("change", layOut);
byId("table").addEventListener("toggle", drawTable);
byId("size").addEventListener("input", (event) => document.documentElement.style.setProperty("--cell", `${event.target.value}px`));
for (const id of ["curve-term", "curve-log", "scatter-x", "scatter-y", "scatter-colour", "scatter-log"]) byId(id)?.addEventListener("change", drawSoon);
for (const form of document.forms) form.addEventListener("submit", (event) => event.preventDefault());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawSoon);
byId("size").value = parseInt(getComputedStyle(document.documentElement).getPropertyValue("--cell"), 10);
suggest();
layOut();
const watcher = new IntersectionObserver((seen) => {
  for (const { target, isIntersecting } of seen) {
    if (isIntersecting) near.add(target.id);
    else near.delete(target.id);
  }
  drawSoon();
}, { rootMargin: "200px" });
for (const plot of document.querySelectorAll(".plot")) watcher.observe(plot);
