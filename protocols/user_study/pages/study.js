// The page of a participant. What is stored where is decided by a backend: the server's, or this browser's own storage
// where the study is a folder on a disk. Both answer with a state: {stage, done, total, stopped, coming: [this, next]}.
"use strict";

const START = JSON.parse(document.getElementById("start").textContent);
const $ = (id) => document.getElementById(id);
const PAGES = ["code", "consent", "prepare", "rate", "done", "stopped"].filter($);

// -- backends ----------------------------------------------------------------------------------------------------------

class Server {
  async send(action, body) {
    const answer = await fetch(`${START.base}/${action}`, {
      method: body ? "POST" : "GET",
      headers: body ? { "Content-Type": "application/json" } : {},
      body: body && JSON.stringify(body),
      cache: "no-store",
      signal: AbortSignal.timeout(20000),
    });
    // 409: this tab was behind; the answer carries the state as it is now.
    if (answer.ok || answer.status === 409) return answer.json();
    const retry = answer.status === 429 || answer.status === 408 || answer.status >= 500;
    const error = new Error((await answer.json().catch(() => ({}))).error || `status ${answer.status}`);
    error.final = !retry;
    throw error;
  }
  state() { return this.send("state"); }
  consent() { return this.send("consent", {}); }
  rate(answer) { return this.send("rating", answer); }
  stop(ratings) { return this.send("stop", { ratings }); }
}

class Files {
  constructor(code) {
    this.code = code;
    this.plan = START.plans[code];
    this.key = `user-study:${START.study}:${code}`;
  }
  read() {
    return JSON.parse(localStorage.getItem(this.key)) || { consented_at: null, stopped: null, answers: [] };
  }
  write(record) {
    localStorage.setItem(this.key, JSON.stringify(record));
    return this.state();
  }
  async state() {
    const { consented_at, stopped, answers } = this.read();
    const done = answers.length, total = this.plan.length;
    const stage = stopped ? "stopped" : !consented_at ? "consent" : done === total ? "done" : "rate";
    const coming = stage === "rate" ? this.plan.slice(done, done + 2).map((item) => START.items[item]) : [];
    return { stage, done, total, stopped, coming };
  }
  async consent() {
    const record = this.read();
    record.consented_at ??= new Date().toISOString();
    return this.write(record);
  }
  async rate(answer) {
    const record = this.read();
    if (!record.stopped && this.plan[record.answers.length] === answer.item) {
      record.answers.push({ ...answer, at: new Date().toISOString() });
      this.write(record);
    }
    return this.state();
  }
  async stop(ratings) {
    const record = this.read();
    record.stopped = ratings;
    if (ratings === "erase") record.answers = [];
    return this.write(record);
  }
  save() {
    const record = JSON.stringify({ study: START.study, participant: this.code, ...this.read() });
    const file = { format: START.format, schema: 1, sha256: sha256(record), record };
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(file, null, 1)], { type: "application/json" }));
    link.download = `ratings-${this.code}.json`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    return link.download;
  }
}

// SHA-256 (FIPS 180-4), for the checksum of the file: crypto.subtle is not to be had on file:// in every browser.
function sha256(text) {
  const root = (n, power) => { const x = n ** power; return ((x - Math.floor(x)) * 2 ** 32) | 0; };
  const primes = [];
  for (let n = 2; primes.length < 64; n++) if (primes.every((p) => n % p)) primes.push(n);
  const K = primes.map((p) => root(p, 1 / 3));
  const H = primes.slice(0, 8).map((p) => root(p, 1 / 2));
  const turn = (x, n) => (x >>> n) | (x << (32 - n));
  const bytes = new TextEncoder().encode(text);
  const padded = new Uint8Array(Math.ceil((bytes.length + 9) / 64) * 64);
  padded.set(bytes);
  padded[bytes.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setUint32(padded.length - 8, Math.floor(bytes.length / 2 ** 29));
  view.setUint32(padded.length - 4, bytes.length << 3);
  const w = new Int32Array(64);
  for (let block = 0; block < padded.length; block += 64) {
    for (let i = 0; i < 16; i++) w[i] = view.getInt32(block + 4 * i);
    for (let i = 16; i < 64; i++) {
      const s0 = turn(w[i - 15], 7) ^ turn(w[i - 15], 18) ^ (w[i - 15] >>> 3);
      const s1 = turn(w[i - 2], 17) ^ turn(w[i - 2], 19) ^ (w[i - 2] >>> 10);
      w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    let [a, b, c, d, e, f, g, h] = H;
    for (let i = 0; i < 64; i++) {
      const t1 = (h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + K[i] + w[i]) | 0;
      const t2 = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + t1) | 0, c, b, a, (t1 + t2) | 0];
    }
    [a, b, c, d, e, f, g, h].forEach((value, i) => { H[i] = (H[i] + value) | 0; });
  }
  return H.map((x) => (x >>> 0).toString(16).padStart(8, "0")).join("");
}

// -- what is on the screen -----------------------------------------------------------------------------------------------

let backend = null;
let state = null;
let busy = false;
let video = null; // the element that is shown
let ahead = null; // the element in which the next video loads
let runs = 0; // how often this video was played to its end
let shownAt = 0;

function show(page) {
  for (const id of PAGES) $(id).hidden = id !== page;
  $("bar").hidden = page !== "rate";
  document.body.dataset.page = page;
  scrollTo(0, 0);
  document.querySelector(`#${page} h1`).focus({ preventScroll: true });
}

function say(text) { $("live").textContent = text; }

function trouble(text) {
  $("trouble").textContent = text || "";
  $("trouble").hidden = !text;
}

function render(next) {
  const same = state && state.stage === next.stage && state.done === next.done && document.body.dataset.page === "rate";
  state = next;
  if (same) return; // nothing has moved on: what is half answered on the screen stays
  if (state.stage === "rate") {
    if (state.done === 0 && !sessionStorage.getItem("prepared:" + START.study)) show("prepare");
    else showVideo();
    return;
  }
  if (video) video.pause();
  if (state.stage === "stopped") {
    $("stopped-keep").hidden = state.stopped !== "keep";
    $("stopped-erase").hidden = state.stopped !== "erase";
    $("erase-stopped").hidden = state.stopped === "erase";
    for (const button of document.querySelectorAll("#stopped .save")) button.hidden = state.stopped === "erase";
  }
  show(state.stage);
}

// Hands a change to the backend; on a bad connection tries again until it is through. One at a time: a double click
// sends nothing twice.
async function change(action, ...given) {
  if (busy) return;
  busy = true;
  document.body.setAttribute("aria-busy", "true");
  for (let wait = 1000; ; wait = Math.min(2 * wait, 15000)) {
    try {
      const next = await backend[action](...given);
      trouble("");
      busy = false;
      document.body.removeAttribute("aria-busy");
      return render(next);
    } catch (error) {
      if (error.final || error.name === "QuotaExceededError" || error.name === "SecurityError") {
        trouble(`This could not be saved (${error.message}). Please load the page again.`);
        busy = false;
        return;
      }
      trouble("No connection to the study. Nothing is lost: this page goes on as soon as the connection is back.");
      await new Promise((done) => setTimeout(done, wait));
    }
  }
}

// -- one video -----------------------------------------------------------------------------------------------------------

function load(item) {
  const element = document.createElement("video");
  element.playsInline = true;
  element.disablePictureInPicture = true;
  element.preload = "auto";
  element.tabIndex = -1;
  element.className = "waiting";
  element.dataset.item = item.item;
  element.setAttribute("aria-label", "The video to rate");
  element.src = item.media;
  $("frame").append(element);
  return element;
}

function showVideo() {
  const [item, next] = state.coming;
  const old = video;
  video = ahead && ahead.dataset.item === item.item ? ahead : load(item);
  ahead = null;
  if (old) old.remove();
  for (const element of $("frame").querySelectorAll("video")) if (element !== video) element.remove();
  video.className = "";
  video.onended = watched;
  video.onerror = broken;
  video.onplay = video.onpause = buttons;
  if (video.error) broken();
  runs = 0;
  shownAt = performance.now();
  $("reference").hidden = !item.reference;
  if (item.reference) $("reference-picture").src = item.reference;
  $("rating-form").reset();
  for (const fieldset of fieldsets()) fieldset.disabled = true;
  $("progress").value = state.done / state.total;
  $("count").textContent = `${state.done + 1} of ${state.total}`;
  $("rate-title").textContent = `Video ${state.done + 1} of ${state.total}`;
  buttons();
  show("rate");
  $("play").focus({ preventScroll: true });
  say(`Video ${state.done + 1} of ${state.total}. Press Play and watch it to the end.`);
  // The next video loads once this one is here, so that it never waits for the next.
  const current = video;
  const loadNext = () => { if (video === current && next && !ahead) ahead = load(next); };
  if (video.readyState >= 4) loadNext(); else video.addEventListener("canplaythrough", loadNext, { once: true });
  requestAnimationFrame(drawPlayed);
}

function fieldsets() { return [...document.querySelectorAll("#rating-form fieldset")]; }
function answered(fieldset) { return fieldset.querySelector("input:checked") !== null; }

function buttons() {
  const playing = !video.paused && !video.ended;
  $("play").textContent = playing ? "Playing…" : runs ? "Play again" : video.currentTime ? "Go on playing" : "Play";
  $("play").classList.toggle("main", !runs);
  $("play").classList.toggle("plain", runs > 0);
  $("play").setAttribute("aria-disabled", String(playing));
  const missing = fieldsets().filter((fieldset) => !answered(fieldset)).length;
  $("send").disabled = !runs || missing > 0;
  $("missing").textContent = !runs ? "" : missing ? `${missing} of ${fieldsets().length} scales left` : "";
  $("hint").textContent = runs
    ? "Now rate the video. You can play it again as often as you like."
    : "Watch the video to its end, with the sound on. The scales open after that.";
}

function drawPlayed() {
  if (document.body.dataset.page !== "rate") return;
  const share = video.duration ? video.currentTime / video.duration : 0;
  $("played").style.transform = `scaleX(${share})`;
  requestAnimationFrame(drawPlayed);
}

function play() {
  if (!video.paused && !video.ended) return;
  if (video.error) { retry(); return; }
  video.play().catch((error) => {
    if (error.name !== "AbortError" && !video.error) trouble(`The video cannot be played (${error.message}).`);
  });
}

function watched() {
  runs += 1;
  trouble("");
  const first = runs === 1;
  for (const fieldset of fieldsets()) fieldset.disabled = false;
  buttons();
  if (!first) return;
  say("The video has ended. Please rate it.");
  const fieldset = fieldsets()[0];
  fieldset.querySelector("input").focus({ preventScroll: true });
  fieldset.scrollIntoView({ block: "nearest", behavior: calm() ? "auto" : "smooth" });
}

function calm() { return matchMedia("(prefers-reduced-motion: reduce)").matches; }

function broken() {
  trouble("The video could not be loaded. Check your connection, then press Try again.");
  $("play").textContent = "Try again";
  $("play").setAttribute("aria-disabled", "false");
}

function retry() {
  trouble("");
  video.load();
  video.play().catch(() => {}); // a failure to load comes back as an error event
}

function playedShares() {
  const part = video.ended || !video.duration ? 0 : video.currentTime / video.duration;
  return Math.round(1000 * (runs + part)) / 1000;
}

function send(event) {
  event.preventDefault();
  if ($("send").disabled || busy) return;
  video.pause();
  const ratings = {};
  for (const name of START.questions) ratings[name] = Number($("rating-form").elements[name].value);
  const seconds = Math.round(performance.now() - shownAt) / 1000;
  change("rate", { item: video.dataset.item, ratings, watched: playedShares(), seconds });
}

// Digits answer the question that has the focus, or else the first open one, and go on to the next. They work only
// within the form, so that no key acts where it is not expected (WCAG 2.1.4).
function digit(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || !/^[1-9]$/.test(event.key) || !runs) return;
  const open = fieldsets().find((fieldset) => !answered(fieldset));
  const fieldset = event.target.closest("fieldset") || open;
  const input = fieldset && fieldset.querySelector(`input[value="${event.key}"]`);
  if (!input) return;
  event.preventDefault();
  input.checked = true;
  buttons();
  const next = fieldsets().find((other) => !answered(other));
  const target = next ? next.querySelector("input") : $("send");
  target.focus({ preventScroll: true });
  target.closest("fieldset, .send").scrollIntoView({ block: "nearest" });
}

// -- wiring --------------------------------------------------------------------------------------------------------------

function prepareSound() {
  const tones = $("tones");
  tones.src = START.tones_file;
  $("play-tones").onclick = () => {
    tones.currentTime = 0;
    tones.play().catch((error) => { $("tones-answer").textContent = `The sound cannot be played (${error.message}).`; });
  };
  for (const button of document.querySelectorAll(".tone")) {
    button.onclick = () => {
      const right = Number(button.dataset.tones) === START.tones;
      for (const other of document.querySelectorAll(".tone")) other.setAttribute("aria-pressed", String(other === button));
      $("tones-answer").textContent = right
        ? "Right, your sound works."
        : "That is not the number of tones. Turn the sound up and play it once more.";
      $("ready").disabled = !right;
      if (right) $("ready").focus();
    };
  }
  $("ready").onclick = () => {
    sessionStorage.setItem("prepared:" + START.study, "yes");
    showVideo();
  };
}

function wire() {
  prepareSound();
  $("consent-form").onsubmit = (event) => { event.preventDefault(); change("consent"); };
  $("rating-form").onsubmit = send;
  $("rating-form").onchange = buttons;
  $("rating-form").onkeydown = digit;
  $("play").onclick = play;
  $("leave").onclick = () => { video.pause(); $("stop").showModal(); };
  $("carry-on").onclick = () => $("stop").close();
  $("stop-keep").onclick = () => { $("stop").close(); change("stop", "keep"); };
  $("stop-erase").onclick = () => { $("stop").close(); change("stop", "erase"); };
  for (const id of ["erase-late", "erase-stopped"]) $(id).onclick = () => $("erase").showModal();
  $("erase-no").onclick = () => $("erase").close();
  $("erase-yes").onclick = () => { $("erase").close(); change("stop", "erase"); };
  for (const button of document.querySelectorAll(".save")) {
    button.onclick = () => {
      const name = backend.save();
      for (const note of document.querySelectorAll(".save-note")) note.textContent = `Saved as ${name} in your downloads.`;
    };
  }
  // A tab that comes to the front again may be behind another one.
  const refresh = () => { if (!document.hidden && backend && !busy) backend.state().then(render).catch(() => {}); };
  document.addEventListener("visibilitychange", refresh);
  addEventListener("storage", refresh);
}

function begin(code) {
  backend = new Files(code);
  try {
    localStorage.setItem(backend.key, localStorage.getItem(backend.key) || "null");
  } catch {
    trouble("This browser does not let the page keep anything. Please leave private browsing, or use another browser.");
    return;
  }
  backend.state().then(render);
}

function askForCode() {
  show("code");
  $("code-field").focus();
  $("code-form").onsubmit = (event) => {
    event.preventDefault();
    const code = $("code-field").value.trim().toLowerCase();
    if (Object.hasOwn(START.plans, code)) begin(code);
    else $("code-wrong").textContent = "This code is not known. Please type it exactly as it was given to you.";
  };
}

wire();
if (START.mode === "server") {
  backend = new Server();
  render(START.state);
} else {
  const code = (new URLSearchParams(location.search).get("code") || location.hash.slice(1)).toLowerCase();
  if (Object.hasOwn(START.plans, code)) begin(code);
  else askForCode();
}
