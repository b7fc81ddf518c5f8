// The API page: Swagger UI where every example runs at one click, images too.
"use strict";

// What is sent where no file was chosen, by path: as a multipart field, or alone as the raw body.
const FIELDS = { "/classify_image": "image", "/classify_images": "images" };
const FORM = "multipart/form-data";

const toFile = ({ image, label }) => {
  const bytes = Uint8Array.from(atob(image), (character) => character.charCodeAt(0));
  return new File([bytes], `${label}.png`, { type: "image/png" });
};

// Swagger UI asks its store for the body to send; here is where an empty one becomes a sample.
const samplesAsDefault = (files) => ({ Im }) => {
  const isEmpty = (value) => value === undefined || value === null || value === "" || value.size === 0;
  const sample = (path, mediaType) => {
    if (mediaType !== FORM) return files[0];
    return Im.Map({ [FIELDS[path]]: Im.Map({ value: path === "/classify_images" ? Im.List(files) : files[0] }) });
  };
  const hasFile = (path, body) => {
    const value = Im.Map.isMap(body) ? body.getIn([FIELDS[path], "value"]) : body;
    return !isEmpty(Im.List.isList(value) ? value.filterNot(isEmpty) : value);
  };
  const requestBodyValue = (original, { oas3Selectors }) => (state, path, method) => {
    const body = original(state, path, method);
    if (!(path in FIELDS) || hasFile(path, body)) return body;
    return sample(path, oas3Selectors.requestContentType(path, method) ?? FORM);
  };
  const validateBeforeExecute = (original) => (state, pathMethod) =>
    pathMethod[0] in FIELDS || original(state, pathMethod);
  return { statePlugins: { oas3: { wrapSelectors: { requestBodyValue, validateBeforeExecute } } } };
};

const show = async () => {
  const [spec, samples] = await Promise.all(["docs.json", "samples"].map(async (path) => (await fetch(path)).json()));
  SwaggerUIBundle({
    spec,
    domNode: document.getElementById("docs"),
    deepLinking: true,
    tryItOutEnabled: true,
    plugins: [samplesAsDefault(samples.image.slice(0, 2).map(toFile))],
  });
};

show();
