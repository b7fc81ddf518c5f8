// The API page: Swagger UI, in which every example runs with one click. Without a chosen file, samples are sent.

const FIELDS = { "/classify_image": "image", "/classify_images": "images" };
const NOTE = "\n\nExecuted on this page without a file, the request sends samples of the model.";
const KEY = "relu-pipeline-key"; // the storage key of the web page

/** Return the UTF-8 of a string as the value of a header, in which each character is a byte. */
const inUtf8 = (words) => String.fromCharCode(...new TextEncoder().encode(words));

const fieldOf = (request) => FIELDS[`/${request.url.split("/").pop()}`];

const isForm = (request) => request.headers["Content-Type"] === "multipart/form-data";

function hasFile(request) {
  const values = request.body instanceof FormData ? [...request.body.values()] : [request.body];
  return values.some((value) => value instanceof Blob && value.size > 0);
}

/** Return the first images of `/samples`; none after an error, which the request itself will report. */
async function samples(headers) {
  const response = await fetch("samples", { headers });
  const { image } = response.ok ? await response.json() : { image: [] };
  return image.slice(0, 2).map(toFile);
}

function toFile({ image, label }) {
  const bytes = Uint8Array.from(atob(image), (character) => character.charCodeAt(0));
  return new File([bytes], `${label}.png`, { type: "image/png" });
}

function toForm(field, files) {
  const form = new FormData();
  for (const file of field === "images" ? files : files.slice(0, 1)) form.append(field, file);
  return form;
}

async function complete(request) {
  const key = sessionStorage.getItem(KEY);
  const authorization = request.headers.Authorization ?? (key === null ? null : `Bearer ${key}`);
  const headers = authorization === null ? {} : { Authorization: inUtf8(authorization) };
  Object.assign(request.headers, headers);
  const field = fieldOf(request);
  if (field !== undefined && !hasFile(request)) {
    const files = await samples(headers);
    request.body = isForm(request) ? toForm(field, files) : files[0];
    if (!isForm(request) && files.length > 0) request.headers["Content-Type"] = files[0].type;
  }
  return request;
}

/** Disable Swagger UI's validation, so that the service reports invalid requests. */
const skipValidation = {
  oas3: { wrapSelectors: { validateBeforeExecute: () => () => true, validateShallowRequired: () => () => [] } },
};

const components = ({ React, getComponent }) => ({
  // Swagger UI looks up this component, which exists only under another name, and would log an error.
  JsonSchema_string_binary: (properties) => React.createElement(getComponent("JsonSchema_string"), properties),
  OperationServers: () => null, // no choice of a server
});

async function show() {
  const spec = await (await fetch("docs.json")).json();
  const paths = Object.keys(FIELDS).filter((path) => path in spec.paths); // none if the service has no image model
  for (const path of paths) spec.paths[path].post.description += NOTE;
  SwaggerUIBundle({
    spec,
    domNode: document.getElementById("docs"),
    deepLinking: true,
    tryItOutEnabled: true,
    defaultModelsExpandDepth: 0,
    plugins: [(system) => ({ statePlugins: skipValidation, components: components(system) })],
    requestInterceptor: complete,
  });
}

show();
