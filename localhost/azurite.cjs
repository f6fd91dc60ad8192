// Runs Azurite for as long as somebody holds the other end of standard input: when the parent ends,
// even by SIGKILL, the pipe closes and Azurite shuts down in order, which writes its data to disk.
// Says which queue has got a message and after how many seconds it is there, and which container has got a blob,
// so that nobody polls in vain.
// Copies blobs without loading them: to see whether a source may be read, Azurite gets all of it as one text,
// which takes twice its size in memory and fails from 512 MB on, the longest text there is. A byte tells the same.
// Loads neither reports to its maker, nor cookies, nor SQL databases: none is used, and they are half of its start.
"use strict";

const { subscribe } = require("node:diagnostics_channel");
const Module = require("node:module");

const UNUSED = { applicationinsights: {}, "tough-cookie": {}, sequelize: { Model: class {} } };
const load = Module._load;
Module._load = (name, ...rest) => UNUSED[name] ?? load.call(Module, name, ...rest);

const MESSAGES = /^\/[^/]+\/([^/?]+)\/messages[/?]?/;
const BLOB = /^\/[^/]+\/([^/?]+)\/[^?]/;
const BLOB_PARTS = /[?&]comp=(?!blocklist)/;
const LONGEST_SHUTDOWN_MS = 5000;

// A parent that is gone reads no output either; a failed write must not stop the shutdown.
process.stdout.on("error", () => {});
process.stderr.on("error", () => {});
process.stdin.on("close", () => {
  setTimeout(() => process.exit(1), LONGEST_SHUTDOWN_MS).unref();
  process.kill(process.pid, "SIGTERM");
});
process.stdin.resume();

subscribe("http.server.response.finish", ({ request, response }) => {
  const url = request.originalUrl ?? request.url;
  const { method } = request;
  if (response.statusCode >= 300 || (method !== "POST" && method !== "PUT")) return;
  const message = MESSAGES.exec(url);
  const blob = method === "PUT" && response.statusCode !== 204 && !BLOB_PARTS.test(url) && BLOB.exec(url);
  if (message) {
    const seconds = new URL(url, "http://localhost").searchParams.get("visibilitytimeout") ?? 0;
    process.stdout.write(`message in ${message[1]} after ${seconds}\n`);
  } else if (blob) {
    process.stdout.write(`blob in ${blob[1]}\n`);
  }
});

const axios = require("axios");
const get = axios.get;
axios.get = async (url, options) => {
  if (new URL(url).searchParams.get("comp") !== "metadata") return get(url, options);
  const answer = await get(url, { ...options, headers: { ...options?.headers, Range: "bytes=0-0" } });
  const isReadable = answer.status === 206 || answer.status === 416; // 416: it is empty
  return isReadable ? { ...answer, status: 200 } : answer;
};

require("azurite/dist/src/azurite.js");
