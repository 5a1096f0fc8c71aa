// Draws what /api/v1/events says. Only shows; sends nothing but its request for the stream.
"use strict";

const TOKEN = "tieline-admin-token";
const SILENCE_MS = 5000;
const RETRY_MS = [500, 1000, 2000, 5000];

const $ = (id) => document.getElementById(id);
let state = null;
let history = { coverage: [], rotations: [], told: [] };
/** The process's calendar minus ours, in milliseconds. */
let skew = 0;
let heardAt = 0;
let range = 3600;

// ── The stream ──────────────────────────────────────────────────────────────────────────────────────────────────────────

async function watch() {
  for (let attempt = 0; ; attempt += 1) {
    try {
      await read(() => { attempt = 0; });
    } catch {
      // Told by the silence, below.
    }
    await new Promise((go) => setTimeout(go, RETRY_MS[Math.min(attempt, RETRY_MS.length - 1)]));
  }
}

/** One stream from its request to its end. */
async function read(opened) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const response = await fetch("/api/v1/events", { headers, cache: "no-store" });
  if (response.status === 401) return askForToken(token !== null);
  if (!response.ok || !response.body) {
    link("bad", response.status === 503 ? "too many pages are open" : `answered ${response.status}`);
    return;
  }
  $("door").hidden = true;
  opened();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    let end;
    while ((end = text.indexOf("\n\n")) >= 0) {
      take(text.slice(0, end));
      text = text.slice(end + 2);
    }
  }
}

function take(block) {
  let name = "", data = "";
  for (const line of block.split("\n")) {
    if (line.startsWith("event:")) name = line.slice(6).trim();
    if (line.startsWith("data:")) data += line.slice(5);
  }
  if (name === "state") {
    state = JSON.parse(data);
    skew = Date.parse(state.now) - Date.now();
    heardAt = Date.now();
    link("good", "watching");
    drawState();
  } else if (name === "history") {
    history = JSON.parse(data);
    drawTold();
    drawTimeline();
  }
}

/** Waits until somebody gives a token. */
function askForToken(refused) {
  sessionStorage.removeItem(TOKEN);
  link("watch", "waiting for the token");
  $("door").hidden = false;
  put($("refused"), refused ? "This token was not accepted." : "");
  $("token").focus();
  return new Promise((given) => {
    $("door").onsubmit = (event) => {
      event.preventDefault();
      sessionStorage.setItem(TOKEN, $("token").value.trim());
      $("token").value = "";
      given();
    };
  });
}

function link(mood, words) {
  $("link").dataset.mood = mood;
  put($("link"), words);
}

// ── Small helpers ───────────────────────────────────────────────────────────────────────────────────────────────────────

/** Changes a text only where it differs, so that neither screen readers nor selections are disturbed. */
function put(node, words) {
  if (node.textContent !== words) node.textContent = words;
}

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** Replaces what is inside only where it differs. */
function fill(node, children) {
  const fresh = make("div", {}, ...children);
  if (node.dataset.drawn === fresh.innerHTML) return;
  node.dataset.drawn = fresh.innerHTML;
  node.replaceChildren(...fresh.childNodes);
}

const now = () => Date.now() + skew;
const number = (value) => Number(value).toLocaleString("en");
const clock = (at) => new Date(at).toISOString().slice(11, 19);
const day = (at) => new Date(at).toISOString().slice(0, 10);
/** A moment; the day stands with it where it is not today's. */
const moment = (at) => day(at) === day(now()) ? clock(at) : `${day(at)} ${clock(at)}`;

function span(seconds) {
  const s = Math.max(0, seconds);
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 120) return `${Math.round(s)} s`;
  if (s < 7200) return `${Math.floor(s / 60)} min`;
  if (s < 172800) return `${Math.floor(s / 3600)} h ${Math.floor(s % 3600 / 60)} min`;
  return `${Math.floor(s / 86400)} days`;
}

function bytes(size) {
  const units = ["B", "KiB", "MiB", "GiB"];
  let unit = 0;
  while (size >= 1024 && unit < units.length - 1) { size /= 1024; unit += 1; }
  return `${unit === 0 ? size : size.toFixed(1)} ${units[unit]}`;
}

/** A time that grows or shrinks on its own: `tick` writes it. */
function running(kind, at, none = "–") {
  if (!at) return document.createTextNode(none);
  return make("span", { "data-run": kind, "data-at": at, title: `${at}` });
}

/** On a phone a row is a card, in which each cell says what it is. */
function labelled(body, rows) {
  const heads = [...body.closest("table").querySelectorAll("th")].map((head) => head.textContent);
  for (const row of rows) {
    if (row.cells.length === heads.length) [...row.cells].forEach((one, at) => {
      one.setAttribute("data-label", heads[at]);
      if (one.textContent === "–") one.classList.add("blank");
    });
  }
  fill(body, rows);
}

function tick() {
  for (const node of document.querySelectorAll("[data-run]")) {
    const seconds = (Date.parse(node.dataset.at) - now()) / 1000;
    const words = {
      since: () => span(-seconds),
      ago: () => `${span(-seconds)} ago`,
      in: () => seconds > 0 ? `in ${span(seconds)}` : "now",
    }[node.dataset.run]();
    put(node, words);
  }
  const quiet = Date.now() - heardAt;
  const stale = heardAt > 0 && quiet > SILENCE_MS;
  document.body.classList.toggle("stale", stale);
  if (stale) link("bad", `no word from the process for ${span(quiet / 1000)}; asking again`);
}

// ── The state ───────────────────────────────────────────────────────────────────────────────────────────────────────────

function drawState() {
  $("verdict").hidden = false;
  $("rest").hidden = false;
  put($("about"), `${state.version} · epoch ${state.epoch} · since ${day(state.started)} ${clock(state.started)}`);
  for (const question of ["live", "losing", "fault"]) drawAnswer($(question), state.verdict[question]);
  const { live, losing, fault } = state.verdict;
  put($("spoken"), `Live: ${live.words}. Losing anything: ${losing.words}. Fault: ${fault.words}.`);
  document.title = `${live.mood === "good" && losing.mood !== "bad" ? "live" : "NOT WELL"} · tieline`;
  drawSessions();
  drawSinks();
  drawGaps();
  drawFacts();
  drawRefusals();
  drawFile();
  drawTimeline();
  tick();
}

function drawAnswer(card, answer) {
  card.dataset.mood = answer.mood;
  put(card.querySelector(".words"), answer.words);
  put(card.querySelector(".why"), answer.why);
  const next = answer.next ? [`${answer.next} `] : [];
  if (answer.due) next.push("Next attempt ", running("in", answer.due), ".");
  fill(card.querySelector(".next"), next);
  fill(card.querySelector(".also"), answer.also.map((words) => make("li", {}, `Also: ${words}`)));
}

const MOODS = { live: "good", settling: "overlap", draining: "overlap" };

function pill(mood, words) {
  return make("span", { class: "pill", "data-mood": mood }, words);
}

function cell(content, attributes = {}) {
  return make("td", attributes, content ?? "–");
}

function empty(columns, words) {
  return [make("tr", {}, make("td", { colspan: columns, class: "none" }, words))];
}

function drawSessions() {
  const rows = state.sessions.map((one) => make("tr", {},
    cell(`${one.shard}`), cell(`${one.leg}`), cell(one.id), cell(pill(MOODS[one.state] ?? "watch", one.state)), cell(running("since", one.since)),
    cell(running("ago", one.last_frame)), cell(running("ago", one.last_event)), cell(running("in", one.retry_at)),
    cell(one.last_words ?? "–", { class: "long" })));
  labelled($("sessions"), rows.length ? rows : empty(9, "No session yet."));
}

function drawSinks() {
  const rows = state.sinks.map((one) => make("tr", {},
    cell(one.name), cell(one.connected ? pill("good", "connected") : pill("bad", "not connected")),
    cell(number(one.waiting_events), { class: "n" }), cell(bytes(one.waiting_bytes), { class: "n" }), cell(running("since", one.oldest_waiting)),
    cell(number(one.delivered), { class: "n" }), cell(number(one.parked), { class: one.parked ? "n caution" : "n" }),
    cell(number(one.refused), { class: one.refused ? "n alarm" : "n" }), cell(one.last_error ?? "–", { class: "long" })));
  labelled($("sinks"), rows.length ? rows : empty(9, "No sink."));
}

function where(gap) {
  return gap.sink ? `sink ${gap.sink}` : `shard ${gap.shard}`;
}

function gaps() {
  return [...[...state.gaps.open].reverse(), ...state.gaps.recent];
}

function drawGaps() {
  const shown = gaps();
  const rows = shown.map((gap) => make("tr", {},
    cell(`${gap.number}`), cell(where(gap)), cell(gap.cause.replaceAll("_", " ")), cell(moment(gap.from)),
    cell(gap.to ? moment(gap.to) : make("span", { class: "alarm" }, "open")),
    cell(gap.to ? span(gap.seconds) : running("since", gap.from), { class: "n" }),
    cell(gap.certainty), cell(gap.action ?? "–", { class: "long" })));
  labelled($("gaps"), rows.length ? rows : empty(8, "None is known."));
  const older = state.gaps.total - shown.length;
  put($("gap-total"), `${number(state.gaps.total)} so far${older > 0 ? `, ${number(older)} older ones not shown` : ""}`);
}

function fact(name, value, small) {
  const dd = make("dd", {}, ...[value].flat());
  if (small) dd.append(make("small", {}, ...[small].flat()));
  return make("div", {}, make("dt", {}, name), dd);
}

function gauge(used, most) {
  const meter = make("meter", { min: 0, max: most, value: used, high: most * 0.8, optimum: 0, "aria-label": `${used} of ${most}` });
  return [`${number(used)} of ${number(most)}`, meter];
}

function drawFacts() {
  const { login, channels, topics, stream } = state;
  const inUse = login.secret ? `number ${login.secret} in use` : "none in use yet";
  const fresh = login.newest_secret && login.newest_secret !== login.secret ? `; number ${login.newest_secret} is the newest` : "";
  const facts = [
    fact("Secret", login.credentials_rejected ? make("span", { class: "alarm" }, "refused by Genesys") : `${inUse}${fresh}`,
      [`from ${login.source || "–"}, seen `, running("ago", login.newest_secret_seen, "never")]),
    fact("Token", login.token_expires ? ["ends ", running("in", login.token_expires)] : "none",
      login.last_error ? [login.last_error, ...(login.retry_at ? [" – next attempt ", running("in", login.retry_at)] : [])] : "replaced well before"),
    fact("Channels of the OAuth client", channels.most ? gauge(channels.used, channels.most) : "–", "one more silently ends a live one"),
    ...budgets(),
    fact("Topics", `${number(topics.permitted)} heard`, topics.rejected ? `${number(topics.rejected)} refused` : "none refused"),
    configuration(),
    fact("Events since the start", `${number(stream.published)} published`,
      `${number(stream.received)} heard, ${number(stream.duplicates)} dropped as duplicates`),
  ];
  if (login.source_error) facts.splice(1, 0, fact("The secret's source", make("span", { class: "caution" }, "cannot be read"), login.source_error));
  fill($("facts"), facts);
}

/** Budgets, as many as the process tells of: how much is left of each. */
function budgets() {
  return (state.budgets ?? []).map((one) => fact(one.name, gauge(one.used, one.most), one.words));
}

/** What is in force, and whether the file still says the same. */
function configuration() {
  const { in_force_since, pending, last_reload, file } = state.configuration;
  const mistakes = last_reload?.mistakes.length ?? 0;
  const differs = mistakes ? "the file is refused" : pending.length ? `${number(pending.length)} changed keys need a restart` : null;
  const read = last_reload ? [`${file ?? "no file"}, read again `, running("ago", last_reload.at)] : `${file ?? "no file"}, as at the start`;
  return fact("Configuration", differs ? make("span", { class: "caution" }, differs) : ["in force for ", running("since", in_force_since)], read);
}

/** What of the file is not in force, and why. */
function drawFile() {
  const { pending, last_reload } = state.configuration;
  const mistakes = last_reload?.mistakes ?? [], overridden = last_reload?.overridden ?? [];
  const lines = [
    ...mistakes.map((words) => make("li", {}, words)),
    ...pending.map((one) => make("li", {}, make("code", {}, one.key), ` needs a restart: ${one.was} is in force, ${one.now} is asked for`)),
    ...overridden.map((one) => make("li", {}, make("code", {}, one.key), " is changed in vain: ", make("code", {}, one.variable), " stands above the file")),
  ];
  $("file").hidden = lines.length === 0;
  put($("file").querySelector("summary"), mistakes.length ? "The configuration file is refused, and changes nothing" : "Not all of the configuration file is in force");
  fill($("file").querySelector("ul"), lines);
}

function drawRefusals() {
  const { rejected, refusals } = state.topics;
  $("refusals").hidden = rejected === 0;
  put($("refusals").querySelector("summary"), `${number(rejected)} topics are refused by Genesys`);
  fill($("refusals").querySelector("ul"), refusals.map((one) => make("li", {}, make("code", {}, one.topic), `: ${one.reason}`)));
}

// ── The last hours ──────────────────────────────────────────────────────────────────────────────────────────────────────

function drawTold() {
  const lines = [...history.told].reverse().map((line) => make("li", { "data-level": line.level },
    make("time", { datetime: line.at }, clock(line.at)), make("span", {}, line.words)));
  fill($("told"), lines.length ? lines : [make("li", {}, make("span", {}, "Nothing yet."))]);
}

function drawTimeline() {
  if (!state) return;
  const to = now(), from = to - range * 1000;
  const lanes = [];
  // A plan may have holes: a shard that nothing is left of leaves its number free.
  for (const shard of state.shard_numbers.length ? state.shard_numbers : [0]) lanes.push(lane(shard, from, to));
  for (const sink of new Set(gaps().filter((gap) => gap.sink).map((gap) => gap.sink))) lanes.push(sinkLane(sink, from, to));
  $("lanes").replaceChildren(...lanes);
  $("fewer").hidden = state.redundancy === 1;
  drawAxis(from, to);
}

/** A piece between two moments, or nothing where it lies outside. */
function piece(kind, begin, end, from, to, title) {
  const left = Math.max(begin, from), right = Math.min(end, to);
  if (right <= left) return [];
  const node = make("i", { class: `span ${kind}`, title });
  node.style.left = `${100 * (left - from) / (to - from)}%`;
  node.style.width = `${100 * (right - left) / (to - from)}%`;
  return [node];
}

function gapPieces(of, from, to) {
  return of.flatMap((gap) => piece(`gap ${gap.certainty}`, Date.parse(gap.from), gap.to ? Date.parse(gap.to) : to, from, to,
    `gap ${gap.number} (${gap.cause}), ${clock(gap.from)} to ${gap.to ? clock(gap.to) : "now"}`));
}

const KINDS = { deaf: "not connected", fewer: "one leg of two", live: "live", overlap: "overlap" };

function lane(shard, from, to) {
  const normal = state.redundancy;
  const kind = (sessions) => sessions === 0 ? "deaf" : sessions > normal ? "overlap" : sessions < normal ? "fewer" : "live";
  const pieces = history.coverage.filter((one) => one.shard === shard).flatMap((one) => piece(kind(one.sessions), Date.parse(one.from),
    one.to ? Date.parse(one.to) : to, from, to, `${KINDS[kind(one.sessions)]}, ${one.sessions} session(s), from ${clock(one.from)}`));
  const own = gaps().filter((gap) => !gap.sink && gap.shard === shard);
  const within = own.filter((gap) => !gap.to || Date.parse(gap.to) > from);
  const rotations = history.rotations.filter((one) => one.shard === shard && Date.parse(one.from) > from);
  const marks = rotations.map((one) => {
    const node = make("i", { class: "mark", title: `rotation (${one.trigger}) at ${clock(one.from)}` });
    node.style.left = `${100 * (Date.parse(one.from) - from) / (to - from)}%`;
    return node;
  });
  const lost = within.reduce((sum, gap) => sum + (gap.to ? Date.parse(gap.to) : to) - Math.max(from, Date.parse(gap.from)), 0) / 1000;
  const words = `Shard ${shard}: ${within.length} gaps of ${span(lost)} in all and ${rotations.length} rotations in the last ${span(range)}`;
  return row(`shard ${shard}`, words, [...pieces, ...gapPieces(own, from, to), ...marks], within.length ? span(lost) : "no gap");
}

function sinkLane(sink, from, to) {
  const own = gaps().filter((gap) => gap.sink === sink);
  return row(sink, `Gaps of sink ${sink}: ${own.length}`, gapPieces(own, from, to), "");
}

function row(name, words, pieces, sum) {
  const track = make("div", { class: "track", role: "img", "aria-label": words }, ...pieces);
  return make("div", { class: "lane" }, make("span", { class: "name" }, name), track, make("span", { class: "sum" }, sum));
}

function drawAxis(from, to) {
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((part) => {
    const at = from + part * (to - from);
    const node = make("span", {}, part === 1 ? "now" : clock(at).slice(0, 5));
    node.style.left = `${100 * part}%`;
    return node;
  });
  $("axis").replaceChildren(...ticks);
}

for (const input of document.querySelectorAll("#range input")) {
  input.addEventListener("change", () => { range = Number(input.value); drawTimeline(); });
}
setInterval(tick, 250);
watch();
