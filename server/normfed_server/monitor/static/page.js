"use strict";
// Everything is set as text, never as HTML: names and reasons come from other machines.
const COLOURS = ["#2c7fb8", "#d95f0e", "#31a354", "#756bb1", "#c51b8a", "#8c6d31", "#17a2a2", "#636363"];

function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
  for (const child of children) node.append(child);
  return node;
}

function svg(tag, attributes, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const moment = (text) => { const at = new Date(text); return isNaN(at) ? "" : at.toLocaleString([], { day: "2-digit", month: "short", hour: "2-digit", minute: "2-digit" }); };
const number = (value, digits) => value === null || value === undefined ? "–" : value.toFixed(digits);

function site(s) {
  const words = s.state !== "accepted" ? [s.state, "plain"]
    : s.shown === "awaits approval" ? [s.shown, "look"]
    : !s.online ? ["not connected", "bad"]
    : s.working_on.length ? ["at work", "good"] : ["connected", "good"];
  const card = el("article", { class: "card" }, el("div", { class: "head" }, el("h3", {}, s.name), el("span", { class: "word " + words[1] }, words[0])));
  if (s.since && s.state === "accepted") card.append(el("p", {}, "since " + moment(s.since)));
  for (const reason of s.reasons) card.append(el("p", { class: "look" }, reason));
  return card;
}

const FLEET = [["site", (s) => s.name], ["state", (s) => s.shown], ["normfed", (s) => s.machine.normfed], ["flwr", (s) => s.machine.flwr], ["torch", (s) => s.machine.torch],
  ["Python", (s) => s.machine.python], ["GPU", (s) => s.machine.gpu], ["people at most", (s) => s.people], ["last heard", (s) => moment(s.heard)], ["fits", (s) => s.fits]];

function fleet(sites) {
  const table = el("table", { class: "fleet" }, el("thead", {}, el("tr", {}, ...FLEET.map(([title]) => el("th", {}, title)))));
  for (const s of sites) {
    const row = el("tr", {});
    for (const [title, of] of FLEET) {
      const value = of(s), empty = value === null || value === undefined || value === "";
      const tone = title === "fits" ? { yes: "good", no: "bad" }[value] || "plain" : empty ? "plain" : "";
      row.append(el("td", { "data-title": title, class: tone + (empty ? " empty" : "") }, empty ? "–" : String(value)));
    }
    const body = el("tbody", {}, row);
    const notes = s.unfit.map((why) => ["bad", why]);
    if (s.shut_out_next) notes.push(["look", `works with servers up to ${s.server_up_to}: update it before this server goes further`]);
    for (const [tone, why] of notes) body.append(el("tr", { class: "why" }, el("td", { colspan: FLEET.length, class: tone }, why)));
    table.append(body);
  }
  return table;
}

function chart(history) {
  const width = 480, height = 150, left = 44, bottom = 20, top = 8;
  const names = [...new Set(history.flatMap((r) => Object.keys(r.loss)))].sort();
  const values = history.flatMap((r) => Object.values(r.loss)).filter((v) => v !== null);
  const low = Math.min(...values), high = Math.max(...values), span = high - low || 1;
  const first = history[0].round, rounds = Math.max(1, history[history.length - 1].round - first);
  const x = (round) => left + (width - left - 8) * (round - first) / rounds;
  const y = (value) => top + (height - top - bottom) * (1 - (value - low) / span);
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "loss of every site over the rounds" });
  for (const value of [low, high]) {
    picture.append(svg("line", { x1: left, x2: width - 8, y1: y(value), y2: y(value), stroke: "currentColor", "stroke-opacity": .15 }));
    picture.append(svg("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, value.toPrecision(3)));
  }
  picture.append(svg("text", { x: left, y: height - 4 }, "round " + first));
  picture.append(svg("text", { x: width - 8, y: height - 4, "text-anchor": "end" }, history[history.length - 1].round));
  names.forEach((name, i) => {
    const points = history.filter((r) => r.loss[name] !== undefined && r.loss[name] !== null).map((r) => `${x(r.round)},${y(r.loss[name])}`);
    picture.append(svg("polyline", { points: points.join(" "), fill: "none", stroke: COLOURS[i % COLOURS.length], "stroke-width": 2 }));
  });
  return [picture, names];
}

function lastRound(round, names) {
  const table = el("table", {}, el("tr", {}, ...["site", "loss", "seconds", ""].map((t) => el("th", {}, t))));
  for (const name of Object.keys(round.outcomes).sort()) {
    const outcome = round.outcomes[name], there = outcome === "took part";
    const label = el("td", {});
    const i = names.indexOf(name);
    if (i >= 0) { const dot = svg("svg", { viewBox: "0 0 10 10", class: "dot" }); dot.append(svg("circle", { cx: 5, cy: 5, r: 4, fill: COLOURS[i % COLOURS.length] })); label.append(dot); }
    label.append(name);
    table.append(el("tr", {}, label, el("td", {}, number(round.loss[name], 3)), el("td", {}, number(round.site_seconds[name], 1)), el("td", { class: there ? "good" : "look" }, outcome)));
  }
  return table;
}

function run(r) {
  const tone = { open: "plain", finished: "good", failed: "bad" }[r.state] || "look";
  const card = el("article", { class: "run" });
  card.append(el("div", { class: "head" }, el("h3", {}, r.name), el("span", { class: "word " + tone }, r.state)));
  const pages = [[r.report, "report.html", "report"], [r.privacy, "privacy.html", "privacy of its patients"]].filter(([there]) => there);
  if (pages.length) card.append(el("p", {}, ...pages.flatMap(([, file, text], i) => [i ? " · " : "", el("a", { href: `runs/${encodeURIComponent(r.name)}/${file}` }, text)])));
  for (const sentence of r.withdrawn) card.append(el("p", {}, el("span", { class: "look" }, sentence)));
  if (r.why) card.append(el("p", { class: tone }, r.why));
  const others = Object.entries(r.models).filter(([name]) => name !== "federated").map(([name, [done, all]]) => `${name} ${done}/${all}`);
  card.append(el("progress", { max: Math.max(1, r.rounds), value: r.round }));
  let text = `round ${r.round} of ${r.rounds}`;
  if (r.ends) text += `, the last ends about ${clock(r.ends)}`;
  if (r.evaluated) text += `; ${r.evaluated} models tested`;
  card.append(el("p", {}, text));
  if (others.length) card.append(el("p", {}, "beside it: " + others.join(", ")));
  const away = Object.entries(r.waiting).filter(([, online]) => !online).map(([name]) => name);
  const here = Object.entries(r.waiting).filter(([, online]) => online).map(([name]) => name);
  if (here.length) card.append(el("p", {}, "at work: " + here.join(", ")));
  if (away.length) card.append(el("p", { class: "look" }, "waited for, not connected: " + away.join(", ")));
  if (r.history.length) {
    const last = r.history[r.history.length - 1], [picture, names] = chart(r.history);
    const energy = last.energy_wh === null ? "" : ", about " + (last.energy_wh >= 1 ? number(last.energy_wh, 1) + " Wh" : number(last.energy_wh * 1000, 0) + " mWh") + " at the sites";
    const left = el("div", {}, picture, el("p", {}, `last round: ${number(last.seconds, 1)} s, ${number(last.megabytes.out, 2)} MB out, ${number(last.megabytes.back, 2)} MB back${energy}`), lastRound(last, names));
    card.append(el("div", { class: "columns" }, left, lines(r)));
  } else card.append(lines(r));
  return card;
}

function lines(r) {
  const list = el("ul", {});
  for (const line of r.lines) list.append(el("li", { class: line.mark }, el("time", {}, clock(line.time)), line.text));
  return list;
}

function show(state) {
  document.title = state.name + " – normfed monitor";
  document.getElementById("name").textContent = state.name;
  const down = Object.entries(state.services).filter(([, s]) => !s.pid).map(([name]) => name);
  document.getElementById("server").textContent = `${state.address} · normfed ${state.version}, protocol ${state.protocol} · ${down.length ? "down: " + down.join(", ") : "server well"} · certificate for ${state.certificate_days} more days`;
  document.getElementById("sites").replaceChildren(...(state.sites.length ? state.sites.map(site) : [el("p", { class: "empty" }, "No site is enrolled yet.")]));
  document.getElementById("fleet").replaceChildren(state.sites.length ? fleet(state.sites) : el("p", { class: "empty" }, "No site is enrolled yet."));
  document.getElementById("runs").replaceChildren(...(state.runs.length ? state.runs.map(run) : [el("p", { class: "empty" }, "No runs yet.")]));
}

const source = new EventSource("events");
const link = document.getElementById("link");
source.onmessage = (message) => { show(JSON.parse(message.data)); link.textContent = "live"; link.className = "good"; };
source.onerror = () => { link.textContent = "no connection to the server; trying again"; link.className = "bad"; };
