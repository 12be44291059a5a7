/** The API's description for people, out of its OpenAPI. */

import { byId, make } from "./dom.js";

const api = await (await fetch("/openapi.json")).json();
const resolve = (schema) => (schema?.$ref ? api.components.schemas[schema.$ref.split("/").at(-1)] : schema);

function example(schema, depth = 0) {
  const found = resolve(schema);
  if (!found || depth > 5) return null;
  if ("example" in found) return found.example;
  if (found.examples?.length) return found.examples[0];
  if ("default" in found) return found.default;
  if ("const" in found) return found.const;
  if (found.anyOf) return example(found.anyOf[0], depth + 1);
  if (found.type === "array") return [example(found.items, depth + 1)];
  if (found.properties) return Object.fromEntries(Object.entries(found.properties).map(([name, one]) => [name, example(one, depth + 1)]));
  return { string: "…", integer: 0, number: 0, boolean: false }[found.type] ?? null;
}

function fields(operation) {
  const form = operation.requestBody?.content["multipart/form-data"]?.schema.properties ?? {};
  const rows = Object.entries(form).map(([name, schema]) => [name, "form", schema]);
  for (const one of operation.parameters ?? []) rows.push([one.name, one.in, { ...one.schema, description: one.description }]);
  if (!rows.length) return null;
  const words = (schema) => [schema.description ?? schema.items?.description, schema.enum?.join(", "), "default" in schema ? `default ${schema.default}` : ""].filter(Boolean).join("; ");
  return make("table", {}, make("tbody", {}, rows.map(([name, place, schema]) => make("tr", {}, make("th", { scope: "row" }, make("code", {}, name)), make("td", {}, place), make("td", {}, words(schema))))));
}

function answers(operation) {
  return make("table", {}, make("tbody", {}, Object.entries(operation.responses).map(([status, one]) => make("tr", {}, make("th", { scope: "row" }, status), make("td", {}, one.description)))));
}

function route(path, verb, operation) {
  const schema = operation.responses["200"]?.content?.["application/json"]?.schema;
  const sample = schema && Object.keys(schema).length ? example(schema) : null;
  return make(
    "section",
    {},
    make("h2", {}, make("span", { class: "verb" }, verb.toUpperCase()), make("code", {}, path)),
    make("p", {}, operation.description ?? ""),
    fields(operation),
    answers(operation),
    sample ? make("pre", { tabindex: 0, "aria-label": `Example answer of ${path}` }, JSON.stringify(sample, null, 2)) : null,
  );
}

byId("about").textContent = api.info.description.replaceAll("**", "");
byId("routes").append(...Object.entries(api.paths).flatMap(([path, verbs]) => Object.entries(verbs).map(([verb, operation]) => route(path, verb, operation))));
