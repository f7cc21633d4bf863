// The Node tus server as its documentation sets it up: @tus/server over @tus/file-store.
// node tus_server.mjs SOCKET DIRECTORY
import { createServer } from "node:http";
import { FileStore } from "@tus/file-store";
import { Server } from "@tus/server";

const [socket, directory] = process.argv.slice(2);
const tus = new Server({ path: "/files", relativeLocation: true, datastore: new FileStore({ directory }) });
const server = createServer((request, response) => tus.handle(request, response));
// A body may take longer than Node's default of five minutes.
server.requestTimeout = 0;
server.listen(socket);
