// What a web page does with a file that somebody chose: one function per library.
//
// Each takes the file and a wish, and comes to {status, body, asked}: the last answer as the page's
// code sees it (status 0 is a "network error") and, by tus, the requests' methods and offsets.

import Uppy from "@uppy/core";
import UppyTus from "@uppy/tus";
import XHRUpload from "@uppy/xhr-upload";
import axios from "axios";
import { Dropzone } from "dropzone";
import * as tus from "tus-js-client";

Dropzone.autoDiscover = false;

// Patience for a line that is cut; none where a refusal is to be seen at once.
const delays = (wish) => (wish.retry ? [500, 1000, 2000, 4000, 8000] : []);

const tusAnswer = (error) => ({
  status: error.originalResponse?.getStatus() ?? 0,
  body: error.originalResponse?.getBody() ?? String(error),
});

const recording = (asked) => (request) => {
  asked.push([request.getMethod(), Number(request.getHeader("Upload-Offset") ?? 0)]);
};

const tusUpload = (file, wish) =>
  new Promise((resolve) => {
    const asked = [];
    new tus.Upload(file, {
      endpoint: wish.endpoint,
      headers: wish.headers,
      metadata: { filename: wish.name, filetype: file.type },
      retryDelays: delays(wish),
      onBeforeRequest: recording(asked),
      onError: (error) => resolve({ ...tusAnswer(error), asked }),
      onSuccess: ({ lastResponse }) => resolve({ status: lastResponse.getStatus(), body: "", asked }),
    }).start();
  });

const uppy = async (file, wish, plugin, options, answer) => {
  const app = new Uppy({ allowMultipleUploads: false });
  let refused;
  app.on("upload-error", (_, error, response) => (refused = answer(error, response)));
  app.use(plugin, { endpoint: wish.endpoint, headers: wish.headers, ...options });
  app.addFile({ name: wish.name, type: file.type, data: file });
  const { successful } = await app.upload();
  return refused ?? { status: successful[0].response.status, body: JSON.stringify(successful[0].response.body) };
};

const uppyTus = async (file, wish) => {
  const asked = [];
  const options = { retryDelays: delays(wish), onBeforeRequest: recording(asked) };
  return { ...(await uppy(file, wish, UppyTus, options, tusAnswer)), asked };
};

const uppyXhr = (file, wish) =>
  uppy(file, wish, XHRUpload, { fieldName: "file" }, (error, response) => ({
    status: error.request?.status ?? response?.status ?? 0,
    body: error.request?.responseText ?? String(error),
  }));

const dropzone = (file, wish) =>
  new Promise((resolve) => {
    const options = { url: wish.endpoint, headers: wish.headers, maxFilesize: null, ...wish.options };
    const zone = new Dropzone(document.createElement("form"), options);
    zone.on("success", (sent) => resolve({ status: sent.xhr.status, body: sent.xhr.responseText }));
    zone.on("error", (_, message, xhr) =>
      resolve({ status: xhr?.status ?? 0, body: xhr?.responseText ?? String(message) }),
    );
    zone.addFile(wish.name === file.name ? file : new File([file], wish.name));
  });

const base64 = (blob) =>
  new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.readAsDataURL(blob);
  });

// One request, and its answer with headers; what came of a body before the line was cut is kept.
const axiosSend = async (file, wish) => {
  let data;
  if (wish.kind === "raw") data = file.slice(wish.offset);
  if (wish.kind === "form") {
    data = new FormData();
    data.append("file", file, wish.name);
  }
  const pieces = [];
  let answer;
  try {
    answer = await axios.request({
      method: wish.method,
      url: wish.endpoint,
      headers: wish.headers,
      data,
      // Only fetch gives a body piece by piece; only XMLHttpRequest tells an upload's progress.
      adapter: data === undefined ? "fetch" : "xhr",
      responseType: data === undefined ? "stream" : "text",
      validateStatus: () => true,
    });
    if (data !== undefined) pieces.push(answer.data);
    else if (answer.data) for (const reader = answer.data.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      pieces.push(value);
    }
  } catch (error) {
    return { status: 0, error: `${error}: ${error.cause}`, headers: {}, body: await base64(new Blob(pieces)) };
  }
  return { status: answer.status, headers: { ...answer.headers }, body: await base64(new Blob(pieces)) };
};

const link = (_, wish) => {
  const anchor = document.createElement("a");
  anchor.href = wish.endpoint;
  document.body.append(anchor);
  anchor.click();
  return { status: 0, body: "" };
};

window.clients = { tus: tusUpload, uppyTus, uppyXhr, dropzone, axios: axiosSend, link };
