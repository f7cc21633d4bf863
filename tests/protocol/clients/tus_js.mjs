// tus-js-client, driven by a test: node tus_js.mjs '{"endpoint": ..., "token": ..., "file": ...}'
//
// Options of tus.Upload come under "options" as they are. Beside them:
//   stream       the file as a stream of unknown length
//   abortAt      abort once so many bytes are on their way
//   terminate    and tell the server so
//   holdAt       before the PATCH at or behind this offset: print {"holding": offset}, wait for a line
//   store        a file that remembers upload URLs from one run to the next; resume from it
// Prints a line of JSON per request, one per answer, and one at the end: {"ok", "url", "status", "body", "error"}.

import { createReadStream, existsSync } from "node:fs";
import { once } from "node:events";
import { PassThrough, Readable, Transform } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import * as tus from "tus-js-client";

const wish = JSON.parse(process.argv[2]);
const print = (line) => process.stdout.write(JSON.stringify(line) + "\n");
let held = wish.holdAt === undefined;
let sent = 0;

const source = () => {
  const file = createReadStream(wish.file);
  return wish.stream ? file.pipe(new PassThrough()) : file;
};

const end = (line) => {
  print({ url: upload.url, ...line });
  process.exit(0);
};

const abort = async () => {
  // What was sent last is to reach the server, and parts are remembered together, when all have a URL.
  do await sleep(200);
  while (wish.store && !existsSync(wish.store));
  await upload.abort(Boolean(wish.terminate));
  end({ ok: false, error: "aborted" });
};

// Bodies stand still at the byte at which the upload is to be aborted.
const stopping = (body) => {
  const stop = new Transform({
    transform(piece, _, next) {
      if (sent >= wish.abortAt) return;
      sent += piece.length;
      next(null, piece);
      if (sent >= wish.abortAt) abort();
    },
  });
  return Object.assign(body.pipe(stop), { size: body.size });
};

class Stack extends tus.DefaultHttpStack {
  createRequest(method, url) {
    const request = super.createRequest(method, url);
    const send = request.send.bind(request);
    request.send = (body) =>
      send(body instanceof Readable && wish.abortAt !== undefined ? stopping(body) : body);
    return request;
  }
}

const options = {
  endpoint: wish.endpoint,
  headers: { Authorization: `Bearer ${wish.token}` },
  retryDelays: null,
  httpStack: new Stack(),
  ...wish.options,
  onBeforeRequest: async (request) => {
    print({ asking: request.getMethod() });
    const offset = Number(request.getHeader("Upload-Offset") ?? -1);
    if (held || request.getMethod() !== "PATCH" || offset < wish.holdAt) return;
    held = true;
    print({ holding: offset });
    await once(process.stdin, "data");
  },
  onAfterResponse: (request, response) =>
    print({ method: request.getMethod(), status: response.getStatus() }),
  onSuccess: ({ lastResponse }) =>
    end({ ok: true, status: lastResponse.getStatus(), body: lastResponse.getBody() }),
  onError: (error) =>
    end({ ok: false, error: String(error), status: error.originalResponse?.getStatus() ?? 0 }),
};
if (wish.store) {
  options.urlStorage = new tus.FileUrlStorage(wish.store);
  options.storeFingerprintForResuming = true;
  options.removeFingerprintOnSuccess = true;
}

const upload = new tus.Upload(source(), options);
if (wish.store) {
  const [previous] = await upload.findPreviousUploads();
  if (previous) upload.resumeFromPreviousUpload(previous);
}
upload.start();
