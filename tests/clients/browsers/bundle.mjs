// Makes one script of what web pages use: node bundle.mjs pages.mjs pages.js

import { fileURLToPath } from "node:url";
import commonjs from "@rollup/plugin-commonjs";
import json from "@rollup/plugin-json";
import resolve from "@rollup/plugin-node-resolve";
import { rollup } from "rollup";

const [input, file] = process.argv.slice(2);
// The pages aren't beside these modules.
const modulePaths = [fileURLToPath(new URL("node_modules", import.meta.url))];
const plugins = [resolve({ browser: true, modulePaths }), commonjs(), json()];
const bundle = await rollup({ input, plugins, context: "window", logLevel: "silent" });
await bundle.write({ file, format: "iife", inlineDynamicImports: true });
