// Builds the page: node build.mjs [--static FOLDER]. Without FOLDER it goes where `cae-run --page` looks for it, which
// serves the models itself; FOLDER gets them too, so that any host of static files can serve it.
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url)), package_ = join(here, "..", "cae_runtime");
const BUILT = "built.json"; // in FOLDER: the names of what was built, which the next build may replace and delete
const forHosts = folderForHosts(process.argv.slice(2));
const made = forHosts || join(package_, "page"), out = `${made}.partial.${process.pid}`; // renamed at the end
const models = readdirSync(join(package_, "models")).filter((name) => /^denoise.*\.onnx$/.test(name))
  .sort((a, b) => order(a) - order(b));
const POLICY = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; " +
  "img-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'";

const HEADERS = {
  "Content-Security-Policy": `${POLICY}; frame-ancestors 'none'`,
  "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp", // threads need both
  "Cross-Origin-Resource-Policy": "same-origin", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
};

rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
const options = {
  bundle: true, minify: true, format: "esm", target: "es2022", legalComments: "none", absWorkingDir: here,
  conditions: ["onnxruntime-web-use-extern-wasm"], logLevel: "warning",
};
await build({
  ...options, splitting: true, outdir: out, chunkNames: "[name]-[hash]",
  entryPoints: { page: "src/page/main.ts", network: "src/network/worker.ts", files: "src/files/worker.ts" },
});
cpSync(join(here, "static"), out, { recursive: true });
writeFileSync(join(out, "index.html"), readFileSync(join(out, "index.html"), "utf8").replace("%CSP%", POLICY));
writeFileSync(join(out, "headers.json"), JSON.stringify(HEADERS));
cpSync(join(here, "..", "..", "assets", "samples", "chelsea-sigma15.png"), join(out, "sample.png"));
mkdirSync(join(out, "ort"));
const ort = join(here, "node_modules", "onnxruntime-web", "dist");
for (const stem of ["ort-wasm-simd-threaded", "ort-wasm-simd-threaded.asyncify"])
  for (const suffix of ["mjs", "wasm"]) cpSync(join(ort, `${stem}.${suffix}`), join(out, "ort", `${stem}.${suffix}`));
writeFileSync(join(out, "models.json"), JSON.stringify(models.map((name) => ({
  name: name.replace(".onnx", ""), size: statSync(join(package_, "models", name)).size,
}))));
writeFileSync(join(out, "licenses.txt"), licenses("onnxruntime-web", "fast-png", "fflate", "iobuffer"));
const own = filesIn(out);
const later = own.filter((name) => /asyncify|webgpu/.test(name)); // WebGPU's are kept where they are used
const kept = own.filter((name) => !later.includes(name) && !/licenses|headers/.test(name));
const hash = createHash("sha256");
for (const name of own) hash.update(name).update(readFileSync(join(out, name)));
for (const name of models) hash.update(readFileSync(join(package_, "models", name)));
const version = hash.digest("hex").slice(0, 16);
writeFileSync(join(out, "index.html"), readFileSync(join(out, "index.html"), "utf8").replace("%VERSION%", version));
await build({
  ...options, entryPoints: { sw: "src/sw.ts" }, outdir: out,
  define: {
    FILES: JSON.stringify(["./", ...kept, ...models.map((name) => `models/${name}`)]),
    LATER: JSON.stringify(later),
    HEADERS: JSON.stringify(HEADERS),
    VERSION: JSON.stringify(version),
  },
});
if (forHosts) for (const name of models) cpSync(join(package_, "models", name), join(out, "models", name));
if (forHosts) replaceBuilt();
else {
  rmSync(made, { recursive: true, force: true });
  renameSync(out, made);
}
console.log(`${made}: ${(size(made) / 1e6).toFixed(1)} MB`);

/** The FOLDER of `--static`, or null; ends with 2 where it is missing, or is not this program's to replace. */
function folderForHosts(given) {
  if (!given.length) return null;
  const [option, folder] = given;
  if (option !== "--static" || given.length > 2) wrong(`${given.join(" ")} is not known: the only option is --static FOLDER.`);
  if (!folder) wrong("--static needs a FOLDER that the page is written to, such as --static site.");
  if (existsSync(folder) && !statSync(folder).isDirectory()) wrong(`${folder} is a file: choose a folder.`);
  if (existsSync(folder) && readdirSync(folder).length && !builtIn(folder))
    wrong(`${folder} has files, and no ${BUILT} of an earlier build: choose an empty folder, or one that does not exist.`);
  return resolve(folder);
}

/** Puts the new files into FOLDER, deletes those of the last build that are no longer needed, and leaves all others. */
function replaceBuilt() {
  const list = join(made, BUILT), before = builtIn(made) ?? [];
  const names = filesIn(out), foreign = names.find((name) => existsSync(join(made, name)) && !before.includes(name));
  if (foreign) {
    rmSync(out, { recursive: true });
    wrong(`${join(made, foreign)} is not of the last build, and the page has a file of this name: move it away.`);
  }
  mkdirSync(made, { recursive: true });
  writeFileSync(list, JSON.stringify([...new Set([...before, ...names])]));
  for (const name of names) {
    mkdirSync(dirname(join(made, name)), { recursive: true });
    renameSync(join(out, name), join(made, name));
  }
  for (const name of before.filter((each) => !names.includes(each) && inside(each))) rmSync(join(made, name), { force: true });
  writeFileSync(list, JSON.stringify(names));
  rmSync(out, { recursive: true });
}

/** The names of what the last build wrote into a folder; null if none did. */
function builtIn(folder) {
  try {
    return JSON.parse(readFileSync(join(folder, BUILT), "utf8")).map(String);
  } catch {
    return null;
  }
}

/** The names of the files in a folder and below, with slashes. */
function filesIn(folder) {
  const all = readdirSync(folder, { recursive: true }).filter((name) => statSync(join(folder, name)).isFile());
  return all.map((name) => name.replaceAll("\\", "/")).sort();
}

function inside(name) {
  return resolve(made, name).startsWith(made + sep);
}

function wrong(why) {
  console.error(`build.mjs: ${why}`);
  process.exit(2);
}

/** The default first, then the quicker ones, then the better ones; each before its version in 8-bit integers. */
function order(name) {
  return (name.includes("best") ? 4 : name.includes("fast") ? 2 : 0) + Number(name.includes("int8"));
}

function size(folder) {
  return readdirSync(folder, { recursive: true }).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
}

function licenses(...packages) {
  return packages.map((name) => {
    const file = ["LICENSE", "LICENSE.md", "LICENSE.txt"].map((each) => join(here, "node_modules", name, each)).find(existsSync);
    return `${name}\n\n${file ? readFileSync(file, "utf8") : "MIT License, see the project's page"}`;
  }).join("\n\n----\n\n");
}
