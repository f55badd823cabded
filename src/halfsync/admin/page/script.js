"use strict";
// Each event has all that is true now. What is shown per second is the difference of two (docs/status.md).
const PHASES = ["running", "queued", "receiving", "sending", "new", "handshake", "idle", "lingering", "open"];
const WORDS = {
  running: "with a worker", queued: "in the queue", receiving: "sending a request", sending: "reading a response",
  new: "new", handshake: "shaking hands", idle: "idle", lingering: "closing", open: "open",
};
const POINTS = 300, POINTS_LEAST = 60, SLOTS = 48, WORKERS_MOST = 64, LOST_MS = 2500;
const byId = (id) => document.getElementById(id);
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const sum = (list, of) => list.reduce((total, one) => total + of(one), 0);

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function number(value) {
  if (value >= 1e6) return `${(value / 1e6).toFixed(value < 1e7 ? 2 : 1)} M`;
  if (value >= 1e5) return `${Math.round(value / 1e3)} k`;
  return value >= 100 || Number.isInteger(value) ? Math.round(value).toLocaleString("en") : value.toFixed(1);
}

function time(seconds) {
  if (seconds < 0.001) return seconds > 0 ? `${(seconds * 1e3).toFixed(1)}\u00a0ms` : "0\u00a0ms";
  if (seconds < 0.9995) return `${Math.round(seconds * 1e3)}\u00a0ms`;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)}\u00a0s`;
  const minutes = Math.floor(seconds / 60), hours = Math.floor(minutes / 60), days = Math.floor(hours / 24);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${days} d ${hours % 24} h`;
}

// Take as many children of an element as there are things to show, and fill each.
function fill(parent, things, make_, show) {
  while (parent.children.length < things.length) parent.append(make_());
  while (parent.children.length > things.length) parent.lastChild.remove();
  things.forEach((thing, index) => show(parent.children[index], thing));
}

function sized(canvas) {
  const scale = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  return [context, width, height];
}

// --- the two halves ---

function showConnections(phases) {
  const [context, width, height] = sized(byId("dots"));
  const total = sum(PHASES, (phase) => phases[phase]);
  let pitch = 20, each = 1;
  const room = () => Math.floor((width + 3) / pitch) * Math.floor((height + 3) / pitch);
  while (pitch > 6 && room() < total) pitch -= 1;
  while (room() * each < total) each += 1;
  const columns = Math.max(1, Math.floor((width + 3) / pitch));
  let at = 0;
  for (const phase of PHASES) {
    context.fillStyle = color(phase);
    for (let dot = Math.ceil(phases[phase] / each); dot > 0; dot -= 1, at += 1) {
      context.beginPath();
      const x = (at % columns + 0.5) * pitch - 1.5, y = (Math.floor(at / columns) + 0.5) * pitch - 1.5;
      context.arc(x, y, pitch / 2 - 1.5, 0, 7);
      context.fill();
    }
  }
  byId("dots").title = each > 1 ? `Each dot stands for ${each} connections` : "";
  fill(byId("phases"), PHASES.filter((phase) => phases[phase]), () => {
    return make("div", "", make("i"), make("dt"), make("dd"));
  }, (row, phase) => {
    row.className = phases[phase] ? "" : "none";
    row.children[0].style.background = `var(--${phase})`;
    put(row.children[1], WORDS[phase]);
    put(row.children[2], number(phases[phase]));
  });
}

function showQueue(length, oldest) {
  put(byId("queued"), number(length));
  fill(byId("slots"), Array.from({ length: SLOTS }, (_, index) => index < length), () => make("i"),
    (slot, full) => { slot.className = full ? "full" : ""; });
  const age = byId("age");
  age.className = `age ${length && oldest > 1 ? "bad" : length && oldest > 0.1 ? "warn" : ""}`;
  age.replaceChildren(...(length ? ["the oldest has waited ", make("b", "", time(oldest))] : ["nothing waits"]));
}

// Each worker keeps its place: threads are known by their numbers, from when they were first seen.
const seats = new Map();  // of each process: thread to seat

function seatsOf(process, working) {
  if (!seats.has(process.pid)) seats.set(process.pid, []);
  const known = seats.get(process.pid), most = Math.max(process.threads, working.length);
  for (const { key } of working) {
    if (known.includes(key)) continue;
    const free = known.findIndex((other) => !working.some((one) => one.key === other));
    if (known.length < most || free < 0) known.push(key); else known[free] = key;
  }
  if (known.length > most) seats.set(process.pid, known.filter((key) => working.some((one) => one.key === key)));
  const placed = seats.get(process.pid);
  return Array.from({ length: most }, (_, index) => working.find((one) => one.key === placed[index]) || null);
}

function barWidth(seconds) {  // a logarithm: 1 ms is empty, a minute is full
  return Math.max(3, Math.min(100, (Math.log10(Math.max(seconds, 0.001)) + 3) / 4.78 * 100));
}

function showWorkers(data) {
  const rows = [];
  for (const one of data.workers) one.key = `${one.pid}/${one.thread}`;
  for (const process of data.processes) {
    const working = data.workers.filter((one) => one.process === process.number);
    for (const one of seatsOf(process, working)) rows.push({ one, process });
  }
  rows.splice(WORKERS_MOST, rows.length, ...rows.slice(WORKERS_MOST).filter(({ one }) => one));
  const shown = rows.slice(0, WORKERS_MOST), total = sum(data.processes, (process) => process.threads);
  put(byId("busy"), number(data.workers.length + data.left_out));
  put(byId("threads"), total ? `of ${total} at work` : "at work");
  byId("workers").classList.toggle("wide", shown.length > 8);
  fill(byId("workers"), shown, () => {
    const button = make("button", "", make("span", "what", make("b"), make("span")), make("span", "time"),
      make("span", "track", make("i")));
    button.type = "button";
    button.addEventListener("click", () => { if (button.worker) showDetail(button.worker); });
    return make("li", "", button);
  }, (item, { one, process }) => {
    const button = item.firstChild, [what, spent, track] = button.children;
    button.worker = one;
    button.disabled = !one;
    item.className = one ? (one.seconds >= 1 ? "slow" : "") : "rests";
    const place = data.processes.length > 1 ? `process ${process.number}` : "";
    put(what.firstChild, one ? titleOf(one) : "idle");
    put(what.lastChild, [one ? one.client : "", place].filter(Boolean).join(" · "));
    put(spent, one ? time(one.seconds) : "");
    track.firstChild.style.width = one ? `${barWidth(one.seconds)}%` : "0";
  });
  const more = data.workers.length + data.left_out - shown.filter(({ one }) => one).length;
  byId("more").hidden = more <= 0;
  put(byId("more"), `and ${more} more at work`);
}

function titleOf(one) {
  if (!one.method) return "a turn of a stream";
  return `${one.method} ${one.path}${one.path_length ? "…" : ""}`;
}

// --- where a worker is ---

async function showDetail(worker) {
  const dialog = byId("detail"), stack = byId("detail-stack");
  put(byId("detail-title"), titleOf(worker));
  put(byId("detail-about"), `of ${worker.client}, in process ${worker.pid}`);
  const ids = [["request id", worker.request_id], ["trace id", worker.trace_id]].filter(([, id]) => id);
  byId("detail-ids").hidden = !ids.length;
  put(byId("detail-ids"), ids.map((each) => each.join(" ")).join(", "));
  put(stack, "asking for its stack …");
  if (!dialog.open) dialog.showModal();
  for (let tries = 0; tries < 100 && dialog.open; tries += 1) {
    const answer = await (await fetch(tries ? "status?stacks=kept" : "status?stacks")).json();
    const found = answer.workers.find((one) => one.pid === worker.pid && one.thread === worker.thread);
    if (!found || found.seconds + 0.5 < worker.seconds) {
      put(stack, "It has ended.");
      return;
    }
    put(byId("detail-about"), `of ${found.client}, in process ${found.pid}, for ${time(found.seconds)}`);
    if (!found.stack_awaited || tries > 20 && found.stack) {
      put(stack, found.stack || "It runs no Python now.");
      return;
    }
    if (tries === 5) put(stack, "Not to be had yet: a thread of that process keeps the GIL.");
    await new Promise((wake) => setTimeout(wake, tries < 5 ? 60 : 400));
  }
}

// --- the last minutes ---

const past = [];  // one point for each second

function perSecond(of) {
  return past.map((point, index) => index
    ? Math.max(0, of(point) - of(past[index - 1])) / Math.max(0.2, point.at - past[index - 1].at) : null);
}

const SPARKS = [
  ["Requests", "async", () => [perSecond((point) => point.requests)], (value) => [number(value), "per second"]],
  ["Workers at work", "running", () => [past.map((point) => point.busy)], (value) => [number(value), ""]],
  ["Connections", "async", () => [past.map((point) => point.open)], (value) => [number(value), "open"]],
  ["Refused", "bad", () => [perSecond((point) => point.refused)], (value) => [number(value), "per second"]],
];

function drawLine(context, values, width, height, most, shade, filled) {
  const points = Math.max(POINTS_LEAST, values.length), step = width / (points - 1), from = points - values.length;
  let open = -1;
  context.beginPath();
  values.forEach((value, index) => {
    if (value === null) {
      open = -1;
      return;
    }
    const x = (from + index) * step, y = height - 2 - value / most * (height - 8);
    if (open < 0) context.moveTo(open = x, y); else context.lineTo(x, y);
  });
  context.strokeStyle = shade;
  context.lineWidth = filled ? 1.5 : 1;
  context.lineJoin = "round";
  context.stroke();
  if (filled && open >= 0) {
    context.lineTo(width, height);
    context.lineTo(open, height);
    context.globalAlpha = 0.13;
    context.fillStyle = shade;
    context.fill();
    context.globalAlpha = 1;
  }
}

function showSparks() {
  fill(byId("sparks"), SPARKS, () => {
    return make("div", "spark", make("h2"), make("p", "", make("span"), make("small")), make("canvas"));
  }, (card, [title, shade, of, say]) => {
    const lines = of(), last = lines.map((line) => line[line.length - 1] ?? null);
    put(card.children[0], title);
    const [value, unit] = last.some((one) => one === null) ? ["–", ""] : say(...last);
    put(card.children[1].firstChild, value);
    put(card.children[1].lastChild, unit);
    const [context, width, height] = sized(card.children[2]);
    const most = Math.max(1e-9, ...lines.flat().filter((one) => one !== null));
    lines.forEach((line, index) => drawLine(context, line, width, height, most, color(shade), index === 0));
  });
}

function remember(data) {
  const point = {
    at: data.time, requests: data.requests, refused: data.refused,
    busy: data.workers.length + data.left_out, open: sum(data.processes, (process) => process.open),
  };
  if (past.length && data.time - past[past.length - 1].at < 0.95) return;
  past.push(point);
  if (past.length > POINTS) past.shift();
  showSparks();
}

// --- tables ---

function cells(row, values) {
  fill(row, values, () => make("td"), (cell, [text, className, note]) => {
    if (cell.className !== className) cell.className = className;
    put(cell.firstChild || cell.appendChild(make("span")), text);
    put(cell.children[1] || cell.appendChild(make("small")), note || "");
  });
}

function showProcesses(data) {
  const shades = { serving: "good", booting: "warn", closing: "warn", closed: "warn" };
  fill(byId("processes"), data.processes, () => make("tr"), (row, one) => cells(row, [
    [`${one.number}`, "", one.pid ? `pid ${one.pid}` : ""], [one.state, shades[one.state] || "", one.model],
    [one.generation ? `${one.generation}` : "–", "n"], [time(one.uptime), "n"],
    [one.threads ? `${one.working} of ${one.threads}` : `${one.working}`, "n"],
    [`${one.stuck}`, one.stuck ? "n bad" : "n"], [number(one.open), "n"], [number(one.requests), "n"],
  ]));
}

function showRefusals(data) {
  byId("none").hidden = data.refusals.length > 0;
  byId("refusals").closest(".scroll").hidden = !data.refusals.length;
  fill(byId("refusals"), data.refusals.slice(0, 12), () => make("tr"), (row, one) => cells(row, [
    [one.ago < 1 ? "now" : time(Math.floor(one.ago)), "n"], [one.status ? `${one.status}` : "closed", "n"],
    [one.reason, "text"],
    [one.method ? `${one.method} ${one.path}${one.path_length ? "…" : ""}` : "–", "text"], [one.client, ""],
  ]));
}

function showLanes(lanes) {
  byId("lanes-panel").hidden = !lanes || !lanes.length;
  if (!lanes || !lanes.length) return;
  const keys = Object.keys(lanes[0]), head = byId("lanes-panel").querySelector("thead");
  fill(head, [keys], () => make("tr"), (row) => fill(row, keys, () => make("th"), (cell, key) => {
    cell.className = key === "name" ? "" : "n";
    put(cell, key.replaceAll("_", " "));
  }));
  fill(byId("lanes"), lanes, () => make("tr"), (row, lane) => {
    cells(row, keys.map((key) => key === "name" ? [lane.name, ""]
      : [key !== "oldest" ? number(lane[key]) : lane.waiting ? time(lane.oldest) : "–", "n"]));
  });
}

function showState(data) {
  const state = byId("state");
  put(state, data.shutting_down ? "shutting down" : data.ready ? "ready" : "not ready");
  state.className = `pill ${data.ready ? "good" : data.shutting_down ? "warn" : "bad"}`;
  put(byId("name"), data.name || "halfsync");
  const processes = data.processes.length;
  const models = [...new Set(data.processes.map((one) => one.model))].filter(Boolean);
  put(byId("about"), `halfsync ${data.halfsync} · ${models.join(", ") || "starting"} · `
    + `${processes} ${processes === 1 ? "process" : "processes"} · up ${time(data.uptime)}`);
  document.title = `${data.workers.length + data.left_out} at work · ${data.name || "halfsync"}`;
}

// --- events ---

let latest = null, lost = 0;

function show(data) {
  latest = data;
  data.processes.sort((one, other) => one.number - other.number);
  const phases = Object.fromEntries(PHASES.map((phase) => [phase, data.connections[phase] || 0]));
  put(byId("open"), number(sum(PHASES, (phase) => phases[phase])));
  showState(data);
  showConnections(phases);
  document.querySelector(".queue").hidden = !data.queue;
  byId("machine").classList.toggle("short", !data.queue);
  if (data.queue) showQueue(data.queue.length, data.queue.oldest);
  showWorkers(data);
  remember(data);
  showProcesses(data);
  showRefusals(data);
  showLanes(data.lanes);
  byId("main").classList.remove("stale");
  clearTimeout(lost);
  lost = setTimeout(() => {
    byId("main").classList.add("stale");
    put(byId("state"), "no answer");
    byId("state").className = "pill bad";
  }, LOST_MS);
}

// After a network error a browser connects again by itself, but not after an answer that is no stream of events.
function connect() {
  const events = new EventSource("events");
  events.addEventListener("message", (event) => show(JSON.parse(event.data)));
  events.addEventListener("error", () => { if (events.readyState === EventSource.CLOSED) setTimeout(connect, 2000); });
}

connect();
addEventListener("resize", () => { if (latest) show(latest); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  if (latest) show(latest);
  showSparks();
});
