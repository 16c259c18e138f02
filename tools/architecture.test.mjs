// The folder tree is the architecture: these tests hold the package graph, the folder graph and the house habits that a program can see.
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";
import { test } from "node:test";

const allowed = {
  protocol: [],
  policy: ["protocol"],
  guard: ["protocol", "policy"],
  client: ["protocol"],
  authority: ["protocol", "policy"],
  testing: ["protocol", "policy", "guard", "client", "authority"],
  cli: ["protocol", "policy", "guard", "client", "authority"],
};
const sources = globSync("packages/*/src/**/*.ts").filter((file) => !file.includes("/gen/"));
const isTest = (file) => file.endsWith(".test.ts") || /\/(conformance|testdata)\//.test(file);
const packageOf = (file) => file.split("/")[1];
const imports = (file) =>
  [...readFileSync(file, "utf8").matchAll(/^\s*(?:import|export)[^"';]*?from\s+"([^"]+)"|import\(\s*"([^"]+)"\s*\)/gm)].map(
    (match) => match[1] ?? match[2],
  );

test("packages depend one way only", () => {
  const wrong = [];
  for (const file of sources.filter((file) => !isTest(file))) {
    for (const name of imports(file)) {
      const other = /^@brevet\/([a-z-]+)/.exec(name)?.[1];
      if (other !== undefined && other !== packageOf(file) && !allowed[packageOf(file)]?.includes(other))
        wrong.push(`${file} imports ${name}`);
    }
  }
  assert.deepEqual(wrong, []);
});

test("nothing reaches into another package's folders", () => {
  const wrong = sources.flatMap((file) =>
    imports(file)
      .filter((name) => name.startsWith(".") && packageOf(normalize(join(dirname(file), name))) !== packageOf(file))
      .map((name) => `${file} imports ${name}`),
  );
  assert.deepEqual(wrong, []);
});

test("what a package imports, its package.json names", () => {
  const wrong = [];
  for (const file of sources) {
    const manifest = JSON.parse(readFileSync(`packages/${packageOf(file)}/package.json`, "utf8"));
    const named = new Set([
      ...Object.keys(manifest.dependencies ?? {}),
      ...(isTest(file) ? Object.keys(manifest.devDependencies ?? {}) : []),
      manifest.name,
    ]);
    for (const name of imports(file)) {
      if (name.startsWith(".") || name.startsWith("node:")) continue;
      const dependency = name.startsWith("@") ? name.split("/").slice(0, 2).join("/") : name.split("/")[0];
      if (dependency === "@brevet/testing" && isTest(file)) continue;
      if (!named.has(dependency)) wrong.push(`${file} imports ${name}`);
    }
  }
  assert.deepEqual(wrong, []);
});

test("folders do not import each other in a circle", () => {
  const graph = new Map();
  for (const file of sources.filter((file) => !isTest(file))) {
    const from = dirname(file);
    for (const name of imports(file).filter((name) => name.startsWith("."))) {
      const to = dirname(normalize(join(from, name)));
      if (to !== from && !to.startsWith(`${from}/`) && !from.startsWith(`${to}/`)) graph.set(from, (graph.get(from) ?? new Set()).add(to));
    }
  }
  const circles = [...graph].flatMap(([from, targets]) =>
    [...targets].filter((to) => from < to && graph.get(to)?.has(from)).map((to) => `${from} <-> ${to}`),
  );
  assert.deepEqual(circles, []);
});

test("folders are at most two deep under src, and none is a drawer", () => {
  const wrong = sources.filter((file) => {
    const inside = relative(join("packages", packageOf(file), "src"), file).split("/");
    return (
      inside.length > 3 ||
      inside.some((part) => /^(core-utils|common|utils?|helpers?|types|misc|shared|lib)(\.ts)?$/.test(part)) ||
      (inside.length > 1 && inside.at(-1) === "index.ts")
    );
  });
  assert.deepEqual(wrong, []);
});

test("exports are named, one by one", () => {
  const wrong = sources.filter((file) => /^export (default|\* )/m.test(readFileSync(file, "utf8")));
  assert.deepEqual(wrong, []);
});

test("rules read no clock and no randomness", () => {
  const rules = sources.filter(
    (file) =>
      !isTest(file) &&
      /packages\/(policy\/src|authority\/src\/elevation\/(decide|evolve|due)|protocol\/src\/(status|reason|token))/.test(file),
  );
  const wrong = rules.filter((file) =>
    /\b(Date\.now|new Date\(\)|Math\.random|performance\.now|setTimeout|setInterval)\b/.test(readFileSync(file, "utf8")),
  );
  assert.deepEqual(wrong, []);
});

test("the wall clock is read in one place only", () => {
  const wrong = sources.filter(
    (file) =>
      !isTest(file) && !file.endsWith("protocol/src/time/clock.ts") && /\bDate\.now\(|new Date\(\)/.test(readFileSync(file, "utf8")),
  );
  assert.deepEqual(wrong, []);
});

test("only main ends the process", () => {
  const wrong = sources.filter(
    (file) => !isTest(file) && !file.endsWith("/main.ts") && /\bprocess\.exit\(/.test(readFileSync(file, "utf8")),
  );
  assert.deepEqual(wrong, []);
});

test("each capability opens with what it owns", () => {
  const wrong = sources.filter(
    (file) =>
      !isTest(file) &&
      !readFileSync(file, "utf8")
        .replace(/^#!.*\n/, "")
        .startsWith("//"),
  );
  assert.deepEqual(wrong, []);
});
