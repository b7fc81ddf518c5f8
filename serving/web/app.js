// The web page of the service. It uses the same endpoints as any other client.

const TASKS = ["image", "text"];
const KEY = "relu-pipeline-key";
const POLL_MS = 5000;
const TINY_PX = 64;
const SHA_CHARS = 8;
const MAX_NAMES = 12;
const NO_BREAK = "\u00a0";

const byId = (id) => document.getElementById(id);
const fromTemplate = (id) => byId(`${id}-template`).content.firstElementChild.cloneNode(true);
const fillWidth = (element, fraction) => element.style.setProperty("width", `${100 * Math.min(1, fraction)}%`);

// --- the service ----------------------------------------------------------------------------------------------------

class ServiceError extends Error {
  constructor(status, title, message) {
    super(message);
    this.status = status;
    this.title = title;
  }
}

const AWAY = "It may have stopped, or it closed the connection because the file is too large.";
const TITLES = {
  401: "The service requires a key",
  413: "The input is too large",
  429: "The service is busy",
};

/** Return the result of `read` for the response. Throws ServiceError, or AbortError if the request was cancelled. */
async function ask(path, options = {}, read = (response) => response.json()) {
  const headers = new Headers(options.headers);
  const key = sessionStorage.getItem(KEY);
  if (key !== null) headers.set("Authorization", `Bearer ${inUtf8(key)}`);
  try {
    const response = await fetch(path, { ...options, headers });
    if (response.ok) return await read(response);
    throw await problemOf(response);
  } catch (error) {
    if (error instanceof ServiceError || error.name === "AbortError") throw error;
    throw new ServiceError(0, "The service does not respond", AWAY);
  }
}

/** Return the UTF-8 of a string as the value of a header, in which each character is a byte. */
const inUtf8 = (words) => String.fromCharCode(...new TextEncoder().encode(words));

async function problemOf(response) {
  const content = await response.json().catch(() => null);
  const message = content?.error?.message ?? `The service returned status ${response.status}.`;
  const otherwise = response.status < 500 ? "The input is not valid" : "The service failed";
  const title = TITLES[response.status] ?? otherwise;
  return new ServiceError(response.status, title, message);
}

// --- predictions --------------------------------------------------------------------------------------------------------

const running = {};
let unanswered = null; // the request to repeat once the user has entered the key

/** Request a prediction. A newer request of the same task cancels one that still runs. */
async function classify(task, request, truth = null) {
  const panel = byId(task);
  running[task]?.abort();
  const control = new AbortController();
  running[task] = control;
  panel.setAttribute("aria-busy", "true");
  try {
    const started = performance.now();
    const answer = await ask(`classify_${task}`, { method: "POST", signal: control.signal, ...request });
    showAnswer(panel, answer, performance.now() - started, truth);
    await followModels();
  } catch (error) {
    if (error.name === "AbortError") return;
    showProblem(panel, error);
    if (error.status === 401) askForKey(() => classify(task, request, truth));
  } finally {
    if (running[task] === control) panel.removeAttribute("aria-busy");
  }
}

function classifyImage(file, truth = null) {
  preview(file);
  const body = new FormData();
  body.append("image", file);
  return classify("image", { body }, truth);
}

function classifyText(text, truth = null) {
  return classify("text", { body: JSON.stringify({ text }), headers: { "Content-Type": "application/json" } }, truth);
}

function showAnswer(panel, answer, milliseconds, truth) {
  const content = byId("answer-template").content.cloneNode(true);
  content.querySelector(".label").textContent = answer.label;
  if (truth !== null) {
    const verdict = answer.label === truth ? "correct" : "wrong";
    content.querySelector(".truth").textContent = `${verdict}; the label is ${truth}`;
  }
  content.querySelector(".bars").append(...answer.top.map(bar));
  const { name, version, sha256 } = answer.model;
  const latency = `${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)} ms round trip`;
  const parts = [latency, `${name} ${version}`, shortened(sha256)];
  content.querySelector(".signature").textContent = parts.map((part) => part.replaceAll(" ", NO_BREAK)).join(" · ");
  const place = panel.querySelector(".answer");
  place.replaceChildren(content);
  place.scrollIntoView({ block: "nearest" });
  panel.querySelector("[role=status]").textContent = `Prediction: ${answer.label}, ${percent(answer.probability)}`;
}

const shortened = (sha256) => `sha256 ${sha256.slice(0, SHA_CHARS)}`;

function bar({ label, probability }) {
  const item = fromTemplate("bar");
  item.querySelector(".name").textContent = label;
  item.querySelector(".value").textContent = percent(probability);
  const fill = item.querySelector(".fill");
  requestAnimationFrame(() => requestAnimationFrame(() => fillWidth(fill, probability))); // the bar grows from 0
  return item;
}

function percent(fraction) {
  if (fraction > 0.999) return "> 99.9 %";
  return fraction < 0.001 ? "< 0.1 %" : `${(100 * fraction).toFixed(1)} %`;
}

function showProblem(panel, error) {
  const content = fromTemplate("problem");
  content.querySelector(".label").textContent = error.title;
  content.querySelector(".reason").textContent = error.message;
  const place = panel.querySelector(".answer");
  place.replaceChildren(content);
  place.scrollIntoView({ block: "nearest" });
  panel.querySelector("[role=status]").textContent = "";
}

// --- inputs ---------------------------------------------------------------------------------------------------------

function preview(file) {
  const picture = document.querySelector(".preview");
  URL.revokeObjectURL(picture.src);
  picture.src = URL.createObjectURL(file);
  picture.alt = `The image that was sent: ${file.name}`;
}

function showPreview(event) {
  const picture = event.target;
  picture.classList.toggle("tiny", picture.naturalWidth <= TINY_PX);
  picture.hidden = event.type === "error";
}

function takeImages() {
  const picker = byId("file");
  picker.addEventListener("change", () => {
    const [file] = picker.files;
    if (file) classifyImage(file);
    picker.value = ""; // the same file can be chosen again
  });
  for (const type of ["load", "error"]) document.querySelector(".preview").addEventListener(type, showPreview);
  document.addEventListener("paste", (event) => {
    const file = [...event.clipboardData.files].find(({ type }) => type.startsWith("image/"));
    if (!file || !tasks.includes("image")) return;
    event.preventDefault();
    classifyImage(file);
  });
  takeDrops();
}

/** Accept drops on the whole page: a browser opens a file that is dropped elsewhere. */
function takeDrops() {
  const holdsFiles = (event) => event.dataTransfer.types.includes("Files");
  const mark = (dragging) => document.body.classList.toggle("dragging", dragging);
  document.addEventListener("dragover", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    mark(true);
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) mark(false);
  });
  document.addEventListener("drop", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    mark(false);
    if (tasks.includes("image")) classifyImage(event.dataTransfer.files[0]);
  });
}

function takeTexts() {
  const words = byId("words");
  document.querySelector(".write").addEventListener("submit", (event) => {
    event.preventDefault();
    classifyText(words.value);
  });
  words.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    classifyText(words.value);
  });
}

// --- samples --------------------------------------------------------------------------------------------------------

const SAMPLE_BUTTONS = { image: imageSample, text: textSample };

async function showSamples() {
  const samples = await ask("samples");
  for (const task of tasks) {
    const panel = byId(task);
    panel.querySelector(".samples").replaceChildren(...samples[task].map(SAMPLE_BUTTONS[task]).map(inList));
    panel.querySelector(".samples-block").hidden = samples[task].length === 0;
  }
}

function inList(element) {
  const item = document.createElement("li");
  item.append(element);
  return item;
}

function imageSample({ image, label }) {
  const button = fromTemplate("image-sample");
  button.querySelector("img").src = `data:image/png;base64,${image}`;
  button.querySelector(".true").textContent = label;
  const bytes = Uint8Array.from(atob(image), (character) => character.charCodeAt(0));
  const file = new File([bytes], `${label}.png`, { type: "image/png" });
  button.addEventListener("click", () => classifyImage(file, label));
  return button;
}

function textSample({ text, label }) {
  const button = fromTemplate("text-sample");
  button.querySelector(".true").textContent = label;
  button.querySelector(".excerpt").textContent = text;
  button.addEventListener("click", () => {
    byId("words").value = text;
    classifyText(text, label);
  });
  return button;
}

// --- the models -----------------------------------------------------------------------------------------------------

let tasks = []; // the tasks of the service's models; empty until they are known
const shown = {}; // by task, the manifest and precision of the model whose samples and heat map are on the page

/** Show the panels of the tasks whose endpoints are in the API document, which requires no key. */
async function showTasks() {
  const { paths } = await ask("docs.json");
  tasks = TASKS.filter((task) => `/classify_${task}` in paths);
  for (const task of tasks) byId(task).hidden = false;
}

/** Show the state of the models, and the samples and heat maps of new models. */
async function followModels() {
  try {
    if (tasks.length === 0) await showTasks();
    const info = await ask("info");
    const changed = tasks.filter((task) => showModel(task, info));
    await Promise.all(changed.map(showHealth));
    if (changed.length) await showSamples();
    say(null);
  } catch (error) {
    if (error.status === 401) askForKey();
    else say(`${error.title}. ${error.message} This page retries every ${POLL_MS / 1000} seconds.`);
  }
}

function say(words) {
  byId("notice").hidden = words === null;
  if (words !== null) byId("notice").textContent = words;
}

/** Show the state of a model, and return whether the model has changed. */
function showModel(task, info) {
  const [manifest, precision, refused] = [info.models[task], info.precision[task], info.refused[task]];
  const card = cardOf(task);
  showDrift(card.querySelector(".drift"), task, info.drift[task]);
  card.querySelector(".refused").hidden = refused === null;
  card.querySelector(".refused").textContent = `New model files were rejected: ${refused}`;
  const described = JSON.stringify([manifest, precision]);
  if (shown[task] === described) return false;
  shown[task] = described;
  const { sha256, accuracy, baseline } = graphOf(manifest, precision);
  const put = (name, words) => (card.querySelector(name).textContent = words);
  put("h3", manifest.name);
  put(".version", manifest.version);
  put(".graph", `${precision}, ${shortened(sha256)}`);
  card.querySelector(".graph").title = sha256;
  put(".accuracy", `${(100 * accuracy).toFixed(1)} %`);
  card.querySelector(".model-card").hidden = !("card.html" in manifest.files);
  put(".zeros", rangeOf(Object.values(baseline).map(({ mean }) => 100 * mean)));
  byId(task).querySelector(".knows").textContent = `Classes: ${listed(shortList(manifest.labels))}.`;
  byId(task).querySelector(".knows").title = manifest.labels.length > MAX_NAMES ? listed(manifest.labels) : "";
  return true;
}

function graphOf({ files, int8, test_metrics, relu_baseline }, precision) {
  return precision === "int8"
    ? { sha256: files["model.int8.onnx"], accuracy: int8.accuracy, baseline: int8.relu_baseline }
    : { sha256: files["model.onnx"], accuracy: test_metrics.accuracy, baseline: relu_baseline };
}

function cardOf(task) {
  const found = byId(`model-${task}`);
  if (found) return found;
  const card = fromTemplate("model");
  card.id = `model-${task}`;
  card.querySelector(".model-card").href = `card/${task}.html`;
  card.querySelector(".model-card").addEventListener("click", saveWithKey);
  card.querySelector("img").alt = `Heat maps of the training of the ${task} network, by layer (row) and epoch ` +
    "(column): zero fraction of the outputs, dead units, magnitude of the activations and of the gradients.";
  byId("models").append(card);
  return card;
}

function rangeOf(values) {
  if (values.length === 0) return "the network has no ReLU layer";
  const [low, high] = [Math.min(...values), Math.max(...values)].map((value) => value.toFixed(0));
  return low === high ? `${low} %` : `${low} to ${high} %`;
}

const shortList = (names) =>
  names.length > MAX_NAMES ? [...names.slice(0, MAX_NAMES), `${names.length - MAX_NAMES} more`] : names;
const listed = (names) => new Intl.ListFormat("en").format(names);

async function showHealth(task) {
  const picture = await ask(`relu_health/${task}.png`, {}, (response) => response.blob());
  const image = cardOf(task).querySelector("img");
  URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(picture); // the browser would request a URL in the page without the key
}

/** Fetch the target of a link with the key, and save it: the browser would follow the link without the key. */
async function saveWithKey(event) {
  if (sessionStorage.getItem(KEY) === null) return;
  event.preventDefault();
  const path = event.target.getAttribute("href");
  try {
    const url = URL.createObjectURL(await ask(path, {}, (response) => response.blob()));
    const link = Object.assign(document.createElement("a"), { href: url, download: path.replace("/", "-") });
    link.click();
    URL.revokeObjectURL(url);
  } catch (error) {
    if (error.status === 401) askForKey();
    else say(`${error.title}. ${error.message}`);
  }
}

function showDrift(place, task, drift) {
  const { value, threshold, window, rows_seen, raised_since, too_few, watches } = drift;
  place.classList.toggle("raised", raised_since !== null);
  fillWidth(place.querySelector(".fill"), value === null ? rows_seen / window : value / threshold);
  place.querySelector(".track").hidden = too_few !== null;
  place.querySelector(".state").textContent = describeDrift(drift);
  place.querySelector(".watches").textContent = `It compares ${watches}.`;
  place.querySelector(".meaning").hidden = raised_since === null;
  place.querySelector(".meaning").textContent = raised_since === null ? "" : explainDrift(task, drift);
}

function describeDrift({ value, threshold, window, rows_seen, raised_since, too_few }) {
  if (too_few !== null) return `not available: ${too_few}`;
  if (value === null) return `not known yet: ${rows_seen} of ${window} examples`;
  const index = value.toFixed(2);
  const limit = Number(threshold.toFixed(2));
  if (raised_since === null) return `${index}, below the threshold of ${limit}`;
  return `${index}, above the threshold of ${limit} since ${new Date(raised_since).toLocaleString()}`;
}

// Inputs of the model's classes that differ from the validation split.
const OTHER_SOURCES = {
  image: "photographs that were taken, cropped or scaled in another way than those of the data set",
  text: "texts of another length, style or source than those of the data set",
};

function explainDrift(task, { window, threshold, by_signal }) {
  const raised = Object.keys(by_signal).filter((name) => by_signal[name] > threshold);
  const layers = raised.filter((name) => name !== "confidence");
  const ways = [];
  if (layers.length) ways.push(`the zero fractions of the layers ${listed(shortList(layers))}`);
  if (layers.length < raised.length) ways.push("the confidence of the predictions");
  return `The last ${window} ${task}s differ from the validation split in ${listed(ways)}. The predictions may still ` +
    `be right: ${OTHER_SOURCES[task]} raise this alarm, too. Compare the inputs with the samples above, and check ` +
    "some predictions by hand. If many are wrong, train on such examples.";
}

// --- the key --------------------------------------------------------------------------------------------------------

function askForKey(request = unanswered) {
  unanswered = request;
  const tried = sessionStorage.getItem(KEY) !== null;
  sessionStorage.removeItem(KEY);
  showKey();
  byId("key-note").textContent = tried ? "The service rejected this key." : "";
  const form = byId("key-form");
  if (!form.hidden) return;
  form.hidden = false;
  byId("key").focus();
}

function showKey() {
  const used = sessionStorage.getItem(KEY) !== null;
  byId("forget").hidden = !used;
  document.querySelector("footer nav").hidden = used; // the browser follows links without the key
}

function takeKey() {
  byId("key-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    sessionStorage.setItem(KEY, byId("key").value);
    byId("key-form").hidden = true;
    byId("key").value = "";
    showKey();
    await followModels();
    if (!byId("key-form").hidden) return;
    const request = unanswered;
    unanswered = null;
    await request?.();
  });
  byId("forget").addEventListener("click", () => {
    sessionStorage.removeItem(KEY);
    showKey();
    followModels();
  });
}

// --- start ----------------------------------------------------------------------------------------------------------

takeImages();
takeTexts();
takeKey();
showKey();
followModels();
setInterval(() => {
  if (!document.hidden && byId("key-form").hidden) followModels();
}, POLL_MS);
